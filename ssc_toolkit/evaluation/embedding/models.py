"""Models that can be evaluated: encoders, and other callables from waveforms to embeddings."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ssc_toolkit import __version__
from ssc_toolkit.checks import check_positive
from ssc_toolkit.encoders import Encoder, EncoderAdapter, Readout, load_encoder, load_published
from ssc_toolkit.encoders.published import is_published_name
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.readout import apply_readout
from ssc_toolkit.files import read_checked_json
from ssc_toolkit.hashing import new_digest
from ssc_toolkit.options.code import call_code, check_code, is_import_path
from ssc_toolkit.options.run_settings import CHECKPOINT, SETTINGS, TRAINING
from ssc_toolkit.paths import local_path

_FILES_OF_A_RUN = (CHECKPOINT, "history.csv")
"""Names of files by which an output folder of `pretrain` is recognized."""
FUSED_TOLERANCE = 1e-4
"""Maximum distance between embeddings of a fused and the original encoder, as a fraction of their norm."""
DEFAULT_WINDOW_SECONDS = 3.0
"""Length of a window in seconds, if neither the user nor the model specifies one."""
_MAX_SAMPLES = 2**22
"""Maximum number of samples in the windows of one call of a model, such as 87 windows of 3 s at 16 kHz.

The memory for the layers of a model grows with it. A hundred values per sample take 1.6 GB.
"""
_NOT_THE_USERS = (
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[2]),
    "<",
)


class WaveformModel(Protocol):
    """Protocol of a callable that takes waveforms (N, 1, samples) and returns embeddings (N, dim).

    The attribute `sample_rate` is the sample rate of the waveforms in hertz.
    """

    sample_rate: int

    def __call__(self, waveforms: Tensor) -> Tensor: ...


class WrappedModel(nn.Module):
    """Result of `as_model`: a callable of the user, wrapped as a model that can be evaluated."""

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
                f"function: expected it to return a tensor or array (N, dim), got {type(output).__name__}; "
                "ssc_toolkit.encoders.EncoderAdapter accepts the outputs of Hugging Face models and lists of layers"
            ) from error


def as_model(
    function: Callable[..., Any],
    sample_rate: int,
    *,
    window_seconds: float | None = None,
    identity: str | None = None,
) -> WrappedModel:
    """Convert any callable from waveforms (N, samples) to embeddings (N, dim) into a model that can be evaluated.

    Args:
        function: callable that takes a float tensor (N, samples) with values from -1 to 1 and returns a tensor or array
            (N, dim). During evaluation, an `nn.Module` runs in eval mode and on its current device.
        sample_rate: sample rate, in hertz, of the waveforms that the callable expects.
        window_seconds: length, in seconds, of the windows that the callable expects. If None, 3 s are used.
        identity: unique name of the function, such as "openl3 1.2". It is required only for the embedding cache, as a
            part of its keys. An `nn.Module` needs no name, because its weights identify it.

    Raises:
        InputError: if the sample rate is not positive.

    Examples:
        >>> model = as_model(lambda waveforms: torch.fft.rfft(waveforms).abs()[:, :100], sample_rate=8000)
        >>> model(torch.randn(4, 1, 8000)).shape
        torch.Size([4, 100])
    """
    check_positive("sample_rate", sample_rate, "hertz")
    return WrappedModel(function, sample_rate, window_seconds, identity)


def open_model(source: str, *, allow_code: bool = False) -> WaveformModel:
    """Open a saved encoder, a published model, or a model that a Python function creates.

    Args:
        source: folder of a saved encoder, "MTT_musicnn", "MSD_musicnn", or "module:function". The function takes
            no arguments and returns a model. The module must be installed, or be in the working folder.
        allow_code: allow "module:function", which imports and runs code.

    Raises:
        InputError: if the folder or the function does not exist, if the function is not allowed, fails or does not
            return a model, or if the package with the weights of a published model is not installed.
    """
    if is_published_name(source):
        return load_published(source)
    source = local_path(source, "encoder")
    if Path(source).exists() or not is_import_path(source):
        encoder = load_encoder(source)
        encoder.window_seconds = read_view_seconds(Path(source))  # type: ignore[assignment]
        return encoder
    check_code("encoder", source, allow_code)
    try:
        made = call_code("encoder", source, allow_code)
    except (Exception, SystemExit) as error:  # the code of the user may raise any exception
        raise InputError(f"encoder: expected {source} to return a model, got {_describe_error(error)}") from error
    if not callable(made) or not isinstance(getattr(made, "sample_rate", None), int):
        raise InputError(
            f"encoder: expected {source} to return a callable with a sample_rate, got {type(made).__name__}; "
            "ssc_toolkit.evaluation.as_model creates one"
        )
    return made


def choose_window_seconds(model: WaveformModel, window_seconds: float | None = None) -> float:
    """Return the length of a window in seconds.

    It is the argument `window_seconds`, or the attribute `window_seconds` of the model if the argument is None, or 3 if
    both are None.

    Raises:
        InputError: if the length is not a positive finite number.
    """
    own = getattr(model, "window_seconds", None)
    seconds = window_seconds if window_seconds is not None else DEFAULT_WINDOW_SECONDS if own is None else own
    return check_positive("window_seconds", seconds, "seconds")


def hash_model(model: WaveformModel) -> str:
    """Return a hash of a model's class, settings and weights, and of the version of this library.

    Raises:
        InputError: if the model is a function without an `identity`.
    """
    digest = new_digest()
    inner = model.function if isinstance(model, WrappedModel) else model
    identity = getattr(model, "identity", None)
    if not isinstance(inner, nn.Module) and identity is None:
        raise InputError(
            "cache: expected a model with weights or an identity, got a function without one; pass identity to "
            "as_model, or do not use a cache"
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
    """Return whether a model is a module with trainable weights."""
    return isinstance(model, nn.Module) and any(weight.requires_grad for weight in model.parameters())


def find_device(model: WaveformModel) -> torch.device:
    """Return the device of the parameters of a model, or the CPU if it has no parameters."""
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def fused_if_equal(model: WaveformModel, windows: Tensor, readout: Readout | None = None) -> WaveformModel:
    """Return a fused copy of an encoder on a CPU if both give the same embeddings, otherwise the model itself.

    `Encoder.fuse` creates the copy, which is up to twice as fast.

    Args:
        model: the model, in eval mode. Only encoders with `rearrangeable = True`, such as those of this library, are
            fused.
        windows: (N, 1, samples) windows. Both encoders embed the first 8 windows.
        readout: readout of the encoder, as for `compute_embeddings`.

    Returns:
        The fused copy, if each embedding differs by at most `FUSED_TOLERANCE` of its norm. Otherwise, the model.
    """
    if not isinstance(model, Encoder) or not model.rearrangeable or model.fused or find_device(model).type != "cpu":
        return model
    fused = model.fuse()
    try:
        expected, found = (compute_embeddings(own, windows[:8], readout) for own in (model, fused))
    except InputError:  # if the model is the reason, it raises the error again later
        return model
    difference = torch.linalg.vector_norm(found - expected, dim=1)
    is_equal = difference <= FUSED_TOLERANCE * torch.linalg.vector_norm(expected, dim=1)
    return fused if bool(is_equal.all()) else model


def compute_embeddings(model: WaveformModel, windows: Tensor, readout: Readout | None = None) -> Tensor:
    """Compute the embeddings (N, dim) of windows (N, 1, samples) in float32.

    The model is called with some of the windows at a time, so that its memory does not grow with N.

    Args:
        model: the model.
        windows: the windows.
        readout: readout from `choose_readout`. None calls the model itself.

    Raises:
        InputError: if the result has another shape or is not finite, or if a model of the user raises an exception.
    """
    at_once = max(1, _MAX_SAMPLES // max(1, windows[:1].numel()))
    return torch.cat([_compute_once(model, part, readout) for part in windows.split(at_once)])


def _compute_once(model: WaveformModel, windows: Tensor, readout: Readout | None) -> Tensor:
    """Compute the embeddings of windows in one call of the model. Arguments and errors are those of the caller."""
    try:
        embeddings = apply_readout(model, windows, readout)
    except Exception as error:
        if isinstance(error, InputError) or (isinstance(model, Encoder) and not isinstance(model, EncoderAdapter)):
            raise
        raise InputError(
            f"encoder: expected embeddings of {len(windows)} windows, got the exception {_describe_error(error)}"
        ) from error
    if not isinstance(embeddings, Tensor) or embeddings.dim() != 2 or len(embeddings) != len(windows):
        found = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise InputError(f"encoder: expected ({len(windows)}, dim) for {len(windows)} windows, got {found}")
    if not embeddings.isfinite().all():
        is_trained = isinstance(model, nn.Module) and any(True for _ in model.parameters())
        reason = "its training has diverged" if is_trained else "correct the function, which is not trained"
        raise InputError(f"encoder: expected finite embeddings, got NaN or infinity; {reason}")
    return embeddings.float()


def _describe_error(error: BaseException) -> str:
    """Return a text with the type and message of an exception, and the line in a file of the user that raised it."""
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_NOT_THE_USERS)
    ]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ") + where


def read_view_seconds(folder: Path) -> float | None:
    """Return the length in seconds of the views that the encoder in a folder was trained on.

    The length is read from the file that `export` writes to the folder of the encoder, or from the settings that
    `pretrain` writes next to this folder.

    Return None if there are no settings, or if the file with this name is unrelated to `pretrain`.

    Raises:
        InputError: if the settings are damaged, or if they are missing in an output folder of `pretrain`.
    """
    if (folder / TRAINING).is_file():
        exported = read_checked_json(folder / TRAINING, "encoder", "copy the folder again").get("view_seconds")
        if isinstance(exported, (int, float)) and np.isfinite(exported) and exported > 0:
            return float(exported)
    path = folder.absolute().parent / SETTINGS
    is_run = any((path.parent / name).exists() for name in _FILES_OF_A_RUN)
    advice = f"restore it, or copy {folder} elsewhere"
    try:
        content = path.read_bytes()
    except OSError as error:
        if is_run:
            raise InputError(f"encoder: expected the settings of its training in {path}, got none; {advice}") from error
        return None
    try:
        settings = read_checked_json(path, "encoder", advice, required=False)
    except InputError:
        if is_run or b'"view_seconds"' in content or b'"checksum"' in content:  # the file is from `pretrain`
            raise
        return None
    found = settings.get("view_seconds")
    if isinstance(found, (int, float)) and np.isfinite(found) and found > 0:
        return float(found)
    if is_run:
        raise InputError(f"encoder: expected view_seconds above 0 in {path}, got {found!r}; {advice}")
    return None
