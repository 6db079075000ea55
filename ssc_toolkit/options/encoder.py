"""Options of the encoder of a training: its architecture and the arguments of its class."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from ssc_toolkit.checks import check_bool, check_choice, check_integer, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import ENCODERS

EncoderName: TypeAlias = Literal["MelCNN", "SampleCNN", "SampleCNNXL", "TUNePlus", "ShortChunkCNN"]


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

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of the class of the encoder that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if name != "name" and value is not None}

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


def as_encoder(encoder: str | EncoderOptions) -> EncoderOptions:
    """Return options of an encoder, of which a text is the option `name`."""
    return encoder if isinstance(encoder, EncoderOptions) else EncoderOptions(name=encoder)  # type: ignore[arg-type]


def _check_strides(strides: Any) -> None:
    if not isinstance(strides, tuple | list):
        raise InputError(f"encoder.strides: expected a list of integers, got {strides!r:.100}")
    for stride in strides:
        check_integer("encoder.strides", stride)
