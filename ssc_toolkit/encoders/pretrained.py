"""Encoders by name, and encoders from a folder."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from pathlib import Path

import torch
from safetensors import SafetensorError

from ssc_toolkit.encoders.base import CLASS_KEY, Encoder
from ssc_toolkit.encoders.mel_cnn import MelCNN
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.encoders.sample_cnn_xl import SampleCNNXL
from ssc_toolkit.encoders.short_chunk_cnn import ShortChunkCNN
from ssc_toolkit.encoders.tune_plus import TUNePlus
from ssc_toolkit.errors import InputError

ENCODERS: dict[str, type[MelCNN] | type[SampleCNN] | type[TUNePlus] | type[ShortChunkCNN]] = {
    "MelCNN": MelCNN,
    "SampleCNN": SampleCNN,
    "SampleCNNXL": SampleCNNXL,
    "TUNePlus": TUNePlus,
    "ShortChunkCNN": ShortChunkCNN,
}
"""Encoder classes by the name that a saved folder and the command line give them."""


def make_encoder(name: str) -> Encoder:
    """A fresh encoder with its default settings.

    Raises:
        InputError: for a name that is not in `ENCODERS`.
    """
    if name not in ENCODERS:
        raise InputError(f"encoder: there is no {name!r}; expected one of {', '.join(ENCODERS)}")
    return ENCODERS[name]()


def reinitialized(encoder: Encoder, seed: int) -> Encoder:
    """An untrained encoder of the same architecture, its weights drawn anew from the seed.

    Examples:
        >>> encoder = MelCNN()
        >>> twins = [reinitialized(encoder, seed=1).temporal[0].weight for _ in range(2)]
        >>> bool((twins[0] == twins[1]).all()), bool((twins[0] == encoder.temporal[0].weight).all())
        (True, False)
    """
    fresh = copy.deepcopy(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh


def load_encoder(folder: str | Path) -> Encoder:
    """Load the encoder that `Encoder.save_pretrained` wrote, whichever its class; in eval mode.

    Args:
        folder: with `config.json` and `model.safetensors`.

    Raises:
        InputError: if the folder holds no encoder, one of an unknown class, or weights of another model.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = MelCNN(n_mels=48).save_pretrained(folder)
        >>> load_encoder(folder).log_mel.bands.shape[1]
        48
    """
    config_path = Path(folder) / "config.json"
    if not config_path.is_file() or not (Path(folder) / "model.safetensors").is_file():
        raise InputError(
            f"encoder: {folder} is no saved encoder (no config.json with model.safetensors); "
            "give the 'encoder' folder that pretraining wrote"
        )
    try:
        name = json.loads(config_path.read_text())[CLASS_KEY]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"encoder: {config_path} does not name an encoder class ({CLASS_KEY!r})") from None
    if name not in ENCODERS:
        raise InputError(f"encoder: {config_path} is of class {name!r}; expected one of {', '.join(ENCODERS)}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints where it reads from
            return ENCODERS[name].from_pretrained(str(folder), local_files_only=True, strict=True).eval()
    except (RuntimeError, SafetensorError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"encoder: the weights in {folder} are not those of this {name}: {reason}") from error
