"""What can be evaluated: encoders, and whatever else turns waveforms into embeddings."""

from __future__ import annotations

import hashlib
import importlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ssc_toolkit import __version__
from ssc_toolkit.encoders import Encoder, EncoderAdapter, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json

SETTINGS = "settings.json"
"""File that a training writes next to the folder of its encoder."""
DEFAULT_WINDOW_SECONDS = 3.0
"""Length of a window where neither the caller nor the model says another."""
_NOT_THE_USERS = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]),
    "<",
)


class WaveformModel(Protocol):
    """Whatever embeds waveforms: (N, 1, samples) at `sample_rate` hertz to (N, dim)."""

    sample_rate: int

    def __call__(self, waveforms: Tensor) -> Tensor: ...


class BroughtModel(nn.Module):
    """A callable of others with all that an evaluation asks of a model; `as_model` makes it."""

    def __init__(
        self, function: Callable[..., Any], sample_rate: int, window_seconds: float | None, identity: str | None
    ) -> None:
        super().__init__()
        self.function = function
        self.sample_rate = sample_rate
        self.window_seconds = window_seconds
        self.identity = identity

    def forward(self, waveforms: Tensor) -> Tensor:
        output = self.function(waveforms.mean(dim=1))
        try:
            return torch.as_tensor(output)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"function: expected it to give a tensor or array (N, dim), got {type(output).__name__}; "
                "ssc_toolkit.encoders.EncoderAdapter reads the outputs of Hugging Face's models and lists of layers"
            ) from error


def as_model(
    function: Callable[..., Any],
    sample_rate: int,
    *,
    window_seconds: float | None = None,
    identity: str | None = None,
) -> BroughtModel:
    """Bring your own model in one line: any callable from (N, samples) waveforms to (N, dim) embeddings.

    A module is put in eval mode and kept on its device.

    Args:
        function: takes a float tensor (N, samples), -1 to 1; gives a tensor or array (N, dim).
        sample_rate: hertz of the waveforms it expects.
        window_seconds: length of the windows it is made for.
        identity: what tells this function from any other, such as "openl3 1.2": embeddings of a function can be cached
            only under a name. A module needs none, for its weights tell.

    Examples:
        >>> model = as_model(lambda waveforms: torch.fft.rfft(waveforms).abs()[:, :100], sample_rate=8000)
        >>> model(torch.randn(4, 1, 8000)).shape
        torch.Size([4, 100])
    """
    if sample_rate <= 0:
        raise InputError(f"sample_rate: expected a positive number of hertz, got {sample_rate}")
    return BroughtModel(function, sample_rate, window_seconds, identity)


def open_model(source: str) -> WaveformModel:
    """The model that a command line names.

    Args:
        source: folder of a saved encoder, or "module:function", a function without arguments in an importable module
            (one in the current folder, too) that gives a model.

    Raises:
        InputError: if there is neither, or what it gives is no model.
    """
    if Path(source).exists() or not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source):
        encoder = load_encoder(source)
        encoder.window_seconds = _view_seconds(Path(source))  # type: ignore[assignment]
        return encoder
    module, name = source.split(":")
    with _importable_from_here():
        try:
            made = getattr(importlib.import_module(module), name)()
        except (Exception, SystemExit) as error:  # it is the user's code, which may raise anything
            raise InputError(f"encoder: {source} gives no model; it raises {_said(error)}") from error
    if not callable(made) or not isinstance(getattr(made, "sample_rate", None), int):
        raise InputError(
            f"encoder: {source} gives {type(made).__name__}, which is no callable with a sample_rate; "
            "ssc_toolkit.evaluation.as_model makes one"
        )
    return made


def window_seconds_of(model: WaveformModel, asked: float | None = None) -> float:
    """Length of the windows of a model: what is asked for, or what it is made for, or 3 seconds.

    Raises:
        InputError: if it is no positive number.
    """
    own = getattr(model, "window_seconds", None)
    seconds = asked if asked is not None else DEFAULT_WINDOW_SECONDS if own is None else own
    if not 0 < seconds < np.inf:
        raise InputError(f"window_seconds: expected a positive number of seconds, got {seconds}")
    return float(seconds)


def fingerprint(model: WaveformModel) -> str:
    """Hash of what a model computes: its class, settings and weights, and the version of this library.

    Raises:
        InputError: for a function without an `identity`, of which nothing can be told.
    """
    digest = hashlib.blake2b(digest_size=16)
    inner = model.function if isinstance(model, BroughtModel) else model
    identity = getattr(model, "identity", None)
    if not isinstance(inner, nn.Module) and identity is None:
        raise InputError(
            "cache: nothing tells this model from another; give it an identity (as_model) or do without a cache"
        )
    described = [__version__, type(inner).__qualname__, identity, model.sample_rate]
    if isinstance(inner, nn.Module):
        described += [repr(inner), repr(getattr(inner, "_hub_mixin_config", None))]
        for name, weight in sorted(inner.state_dict().items()):
            digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    digest.update(repr(described).encode())
    return digest.hexdigest()


def is_trainable(model: WaveformModel) -> bool:
    """Whether a model is a module with weights to train."""
    return isinstance(model, nn.Module) and any(weight.requires_grad for weight in model.parameters())


def device_of(model: WaveformModel) -> torch.device:
    """Where a model is; the CPU if it has no parameters."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


@contextmanager
def eval_mode(*models: WaveformModel) -> Iterator[None]:
    """Eval mode, without gradients; afterwards modules are back in the mode they were in."""
    modules = [model for model in models if isinstance(model, nn.Module)]
    were_training = [module.training for module in modules]
    for module in modules:
        module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, was_training in zip(modules, were_training, strict=True):
            module.train(was_training)


def embeddings_of(model: WaveformModel, windows: Tensor) -> Tensor:
    """What a model makes of windows (N, 1, samples): (N, dim) numbers in float32.

    Raises:
        InputError: if it makes something else of them, or code of others raises.
    """
    try:
        embeddings = model(windows)
    except Exception as error:
        if isinstance(error, InputError) or (isinstance(model, Encoder) and not isinstance(model, EncoderAdapter)):
            raise
        raise InputError(f"encoder: given {len(windows)} windows, it raises {_said(error)}") from error
    if not isinstance(embeddings, Tensor) or embeddings.dim() != 2 or len(embeddings) != len(windows):
        found = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise InputError(f"encoder: gives {found} for {len(windows)} windows; expected ({len(windows)}, dim)")
    if not embeddings.isfinite().all():
        raise InputError("encoder: gives embeddings that are not numbers; its training has diverged")
    return embeddings.float()


def _said(error: BaseException) -> str:
    """Type and message of an exception, and where in the user's own files it was raised."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THE_USERS)
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ") + where


def _view_seconds(folder: Path) -> float | None:
    """Return the length of the views that an encoder was trained on, if the settings of its training lie next to it.

    Raises:
        InputError: if these settings are damaged; another file of that name is passed over.
    """
    path = folder.absolute().parent / SETTINGS
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        settings = read_checked_json(path, "encoder", f"restore it, or copy {folder} elsewhere", required=False)
    except InputError:
        if b'"view_seconds"' in content or b'"checksum"' in content:  # the settings of a training
            raise
        return None
    found = settings.get("view_seconds")
    return float(found) if isinstance(found, (int, float)) and np.isfinite(found) and found > 0 else None


@contextmanager
def _importable_from_here() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
