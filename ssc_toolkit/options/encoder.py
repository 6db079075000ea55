"""Options of the encoder of a training: its architecture and the arguments of its class."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from ssc_toolkit.checks import check_bool, check_choice, check_fraction, check_integer, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import ENCODER_FILES, ENCODERS
from ssc_toolkit.paths import missing_hint, user_path

EncoderName: TypeAlias = Literal["MelCNN", "SampleCNN", "SampleCNNXL", "TUNePlus", "ShortChunkCNN"]

_OF_TRAINING = ("name", "start_from", "frozen_steps", "layer_decay")
"""Names of the options that are no arguments of the class of an encoder."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, kw_only=True)
class EncoderOptions:
    """Architecture of the encoder and arguments of its class. None: the default of the class.

    Each architecture accepts some of the arguments. `ssc_toolkit.encoders` describes them.

    Args:
        name: architecture: MelCNN, SampleCNN, SampleCNNXL, TUNePlus or ShortChunkCNN.
        sample_rate: sample rate of the waveforms in hertz, for all architectures. A store must have this sample rate.
        n_mels: number of mel bands, for MelCNN.
        n_fft: window length in samples, for MelCNN.
        hop_length: hop size in samples, for MelCNN.
        max_hz: upper edge of the highest mel band in hertz, for MelCNN. Half the sample rate gives the full band.
        channels: number of channels of the first layers, for MelCNN, TUNePlus and ShortChunkCNN.
        embedding_dim: width of the embedding, for MelCNN.
        strides: ten strides, whose product is the number of samples per frame, for SampleCNN and SampleCNNXL.
        residual: whether the layers are residual, for ShortChunkCNN.
        start_from: encoder whose weights the training starts from: folder of a saved encoder, its name on the Hugging
            Face Hub, or published checkpoint. It must have the architecture `name`. Arguments of its class are those of
            this encoder. The default is random weights.
        frozen_steps: number of steps at the start in which the encoder of `start_from` does not change. The default is
            none.
        layer_decay: factor of the learning rate from a layer of the encoder of `start_from` to the layer before it,
            above 0 and at most 1. The last layer and the projector have the whole learning rate. The default is 1.

    Examples:
        >>> EncoderOptions(name="MelCNN", max_hz=8000.0).given
        {'max_hz': 8000.0}
    """

    name: EncoderName = "MelCNN"
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

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of the class of the encoder that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if name not in _OF_TRAINING and value is not None}

    def check(self) -> None:
        """Raise InputError if a value is invalid, or if the architecture does not accept an argument."""
        check_choice("encoder", self.name, ENCODERS)
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
        self._check_start()

    def _check_start(self) -> None:
        if self.start_from is not None:
            _check_start_from(self.start_from)
        for name in ("frozen_steps", "layer_decay"):
            if (value := getattr(self, name)) is not None and self.start_from is None:
                raise InputError(f"encoder.{name}: expected encoder.start_from to use it with, got {value} without it")
        if self.frozen_steps is not None:
            check_integer("encoder.frozen_steps", self.frozen_steps, 0)
        if self.layer_decay is not None:
            check_fraction("encoder.layer_decay", self.layer_decay, allow_zero=False)


def as_encoder(encoder: str | EncoderOptions) -> EncoderOptions:
    """Return options of an encoder, of which a text is the option `name`."""
    return encoder if isinstance(encoder, EncoderOptions) else EncoderOptions(name=encoder)  # type: ignore[arg-type]


def _check_start_from(source: str) -> None:
    path = user_path(source, "encoder.start_from")
    if path.is_file() or (not path.exists() and _HUB_NAME.fullmatch(source)):
        return
    if not all((path / name).is_file() for name in ENCODER_FILES):
        raise InputError(
            f"encoder.start_from: expected the folder of a saved encoder, with {' and '.join(ENCODER_FILES)}, a name "
            f"on the Hugging Face Hub or a published checkpoint, got {source}{missing_hint(path)}"
        )


def _check_strides(strides: Any) -> None:
    if not isinstance(strides, tuple | list):
        raise InputError(f"encoder.strides: expected a list of integers, got {strides!r:.100}")
    for stride in strides:
        check_integer("encoder.strides", stride)
