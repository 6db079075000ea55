"""Options of the encoder of a training: its architecture and the arguments of its class."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from ssc_toolkit.checks import check_bool, check_fraction, check_integer, check_positive, nearest
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_encoder
from ssc_toolkit.options.names import ENCODERS, HUB_PREFIX, PUBLISHED_MODELS
from ssc_toolkit.paths import missing_hint, user_path

_HUB_NAME = re.compile(r"hf:[\w.-]+/[\w.-]+(@[\w./-]+)?")

_DEFAULT = "MelCNN"
"""Architecture by default."""
_OF_TRAINING = ("name", "start_from", "frozen_steps", "layer_decay")
"""Names of the options that are no arguments of the class of an encoder."""


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Architecture of the encoder and arguments of its class, or a saved encoder from which the training starts.

    Each architecture accepts some of the arguments. `ssc_toolkit.encoders` describes them. None: the default of the
    class. A saved encoder accepts only `frozen_steps` and `layer_decay`.

    Args:
        name: architecture (MelCNN, SampleCNN, SampleCNNXL, TUNePlus or ShortChunkCNN), or a saved encoder: its folder,
            the file of a published checkpoint, hf:owner/name for one on the Hugging Face Hub, MTT_musicnn or
            MSD_musicnn.
        sample_rate: sample rate of the waveforms in hertz, for all architectures. A store must have this sample rate.
        n_mels: number of mel bands, for MelCNN.
        n_fft: window length in samples, for MelCNN.
        hop_length: hop size in samples, for MelCNN.
        max_hz: upper edge of the highest mel band in hertz, for MelCNN. The default is half the sample rate.
        channels: number of channels of the first layers, for MelCNN, TUNePlus and ShortChunkCNN.
        embedding_dim: width of the embedding, for MelCNN.
        strides: ten strides, whose product is the number of samples per frame, for SampleCNN and SampleCNNXL.
        residual: whether the layers are residual, for ShortChunkCNN.
        start_from: saved encoder. `EncoderOptions(start_from=X)` is the same as `EncoderOptions(name=X)`, and moves the
            value to `name`.
        frozen_steps: number of steps at the start in which a saved encoder does not change. The default is 0.
        layer_decay: factor of the learning rate from a layer of the encoder to the layer before it, above 0 and at most
            1. The last layer and the projector have the whole learning rate. The default is 1.

    Raises:
        InputError: if `start_from` is given with a `name` other than the default, or is an architecture.

    Examples:
        >>> EncoderOptions(name="MelCNN", max_hz=8000.0).given
        {'max_hz': 8000.0}
        >>> EncoderOptions(start_from="runs/one/encoder") == EncoderOptions(name="runs/one/encoder")
        True
    """

    name: str = _DEFAULT
    sample_rate: int | None = None
    n_mels: int | None = None
    n_fft: int | None = None
    hop_length: int | None = None
    max_hz: float | None = None
    channels: int | None = None
    embedding_dim: int | None = None
    strides: tuple[int, ...] | None = None
    residual: bool | None = None
    start_from: str | None = None
    frozen_steps: int | None = None
    layer_decay: float | None = None

    def __post_init__(self) -> None:
        if self.start_from is None:
            return
        if self.name != _DEFAULT:
            raise InputError(f"encoder.start_from: expected no other encoder with it, got {self.name} as well")
        if self.start_from in ENCODERS:
            raise InputError(f"encoder.start_from: expected a saved encoder, got the architecture {self.start_from}")
        object.__setattr__(self, "name", self.start_from)
        object.__setattr__(self, "start_from", None)

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of the class of the encoder that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_TRAINING and value is not None}

    @property
    def is_saved(self) -> bool:
        """Whether the training starts from the weights of a saved encoder."""
        return self.name not in ENCODERS

    def _check_saved(self) -> None:
        """Raise InputError unless `name` is that of a saved encoder and no arguments are given. Download nothing."""
        for name, value in self.given.items():
            raise InputError(f"encoder.{name}: expected no value with a saved encoder, {self.name}, got {value}")
        path = user_path(self.name, "encoder")
        if path.is_dir():
            check_encoder(self.name)
        elif not (path.is_file() or self.name in PUBLISHED_MODELS or _HUB_NAME.fullmatch(self.name)):
            hint = nearest(self.name, ENCODERS) or missing_hint(path)
            raise InputError(
                f"encoder: expected {', '.join(ENCODERS)}, or a saved encoder (a folder, the file of a checkpoint, "
                f"{HUB_PREFIX}owner/name, {', '.join(PUBLISHED_MODELS)}), got {self.name!r:.200}{hint}"
            )

    def check(self) -> None:
        """Raise InputError if a value is invalid, or if the architecture does not accept an argument."""
        if self.frozen_steps is not None:
            check_integer("encoder.frozen_steps", self.frozen_steps, 0)
        if self.layer_decay is not None:
            check_fraction("encoder.layer_decay", self.layer_decay, allow_zero=False)
        if self.is_saved:
            self._check_saved()
            return
        if self.frozen_steps:
            raise InputError(
                f"encoder.frozen_steps: expected 0 without a saved encoder, got {self.frozen_steps} with {self.name}"
            )
        accepted = ENCODERS[self.name]
        for name, value in self.given.items():
            if name not in accepted:
                raise InputError(
                    f"encoder.{name}: expected an argument of {self.name} ({', '.join(accepted)}), got {name}"
                )
            if name == "max_hz":
                check_positive(f"encoder.{name}", value, "hertz")
            elif name == "residual":
                check_bool(f"encoder.{name}", value)
            elif name == "strides":
                _check_strides(value)
            else:
                check_integer(f"encoder.{name}", value)


def as_encoder(encoder: str | EncoderOptions) -> EncoderOptions:
    """Return options of an encoder, of which a text is the option `name`."""
    return encoder if isinstance(encoder, EncoderOptions) else EncoderOptions(name=encoder)


def _check_strides(strides: Any) -> None:
    if not isinstance(strides, tuple | list):
        raise InputError(f"encoder.strides: expected a list of integers, got {strides!r:.100}")
    for stride in strides:
        check_integer("encoder.strides", stride)
