"""musiCNN: a published network that tags music, with filters of musically motivated shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssc_toolkit.checks import check_integer
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.layered import CPU_SLICE
from ssc_toolkit.encoders.log_mel import LogMel
from ssc_toolkit.errors import InputError
from ssc_toolkit.tracing import is_traced

RATE, N_FFT, HOP_LENGTH, N_MELS = 16000, 512, 256, 96
"""Settings of the mel spectrogram: sample rate in hertz, window and hop in samples, number of bands."""
PATCH_FRAMES = 187
"""Number of frames of the spectrogram in a patch, 2.98 s."""

_TIMBRAL_BANDS, _TIMBRAL_FRAMES, _TIMBRAL_CHANNELS = (38, 67), 7, 204
_TEMPORAL_FRAMES, _TEMPORAL_CHANNELS = (128, 64, 32), 51
_FRONT_CHANNELS = len(_TIMBRAL_BANDS) * _TIMBRAL_CHANNELS + len(_TEMPORAL_FRAMES) * _TEMPORAL_CHANNELS
_MID_FRAMES = 7
_EPSILON, _MOMENTUM = 1e-3, 0.01  # of the batch norms, the defaults of TensorFlow
_DROPOUT = 0.5


class MusiCNN(Encoder):
    """musiCNN of Pons and Serra 2019, "musicnn: Pre-trained convolutional neural networks for music audio tagging".

    `load_published("MTT_musicnn")` and `load_published("MSD_musicnn")` return this encoder with published weights.

    The network begins with a centered mel spectrogram (96 bands, windows of 512 samples, hops of 256 samples), on
    which log10(1 + 10000 x) is applied, and batch norm. It is divided into patches of 187 frames, and each patch is one
    frame of the encoder. The patches do not overlap, and a last patch that is incomplete is left out. An input that is
    shorter than a patch is one shorter patch. The layers of a patch are

    - `timbral`: 2-D convolutions over 7 frames and 38 or 67 bands, and the maximum over the bands
    - `temporal`: convolutions over 128, 64 or 32 frames in each band, and the maximum over the bands
    - `cnn1`, `cnn2`, `cnn3`: convolutions over 7 frames, the last two with residual connections
    - `penultimate`: maximum and mean over time of all layers, and a dense layer
    - `classifier`: the dense output layer, with a sigmoid for each tag; see `taggram`. Its parameters require no
      gradients by default. To train them, call `encoder.classifier.requires_grad_()`

    Each convolution and the first dense layer is followed by ReLU and batch norm, in this order.

    Args:
        tags: names of the tags.
        midend_channels: number of channels of `cnn1`, `cnn2` and `cnn3`.
        embedding_dim: number of units of `penultimate`.

    Raises:
        ValueError: if a number is not a positive integer.
        InputError: if `tags` is not a sequence of different names.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples), at least 257 samples at
          16 kHz
        - output: (N, embedding_dim) or (items, views, embedding_dim), the mean over the patches; with `frames=True`
          (..., patches, embedding_dim)

    References:
        Pons and Serra, "musicnn: Pre-trained convolutional neural networks for music audio tagging", ISMIR 2019
        late-breaking session, arXiv 1909.06654, github.com/jordipons/musicnn.

    Examples:
        >>> encoder = MusiCNN(tags=["piano", "drums"]).eval()
        >>> waveforms = torch.randn(2, 1, 96000)
        >>> encoder(waveforms).shape, encoder.taggram(waveforms).shape
        (torch.Size([2, 200]), torch.Size([2, 2, 2]))
        >>> encoder.layer_frames(waveforms, "temporal")["temporal"].shape
        torch.Size([2, 374, 153])
    """

    def __init__(self, tags: Sequence[str], midend_channels: int = 64, embedding_dim: int = 200) -> None:
        names = _check_tags(tags)
        channels = check_integer("midend_channels", midend_channels)
        super().__init__(
            embedding_dim=embedding_dim,
            sample_rate=RATE,
            min_samples=N_FFT // 2 + 1,
            receptive_field_samples=(PATCH_FRAMES - 1) * HOP_LENGTH + N_FFT,
        )
        self.tags = names
        self.log_mel = LogMel(
            RATE, N_FFT, HOP_LENGTH, N_MELS, min_hz=0.0, compression=1e4, center=True, mel_norm="slaney"
        )
        self.input_norm = nn.BatchNorm2d(1, _EPSILON, _MOMENTUM)
        self.timbral = nn.ModuleList(FilterBlock(_TIMBRAL_CHANNELS, bands, _TIMBRAL_FRAMES) for bands in _TIMBRAL_BANDS)
        self.temporal = nn.ModuleList(FilterBlock(_TEMPORAL_CHANNELS, 1, frames) for frames in _TEMPORAL_FRAMES)
        self.cnn1 = _convolution(_FRONT_CHANNELS, channels)
        self.cnn2 = _convolution(channels, channels)
        self.cnn3 = _convolution(channels, channels)
        width = 2 * (_FRONT_CHANNELS + 3 * channels)
        self.penultimate = nn.Sequential(
            nn.BatchNorm1d(width, _EPSILON, _MOMENTUM),
            nn.Dropout(_DROPOUT),
            nn.Linear(width, self.embedding_dim),
            nn.ReLU(),
            nn.BatchNorm1d(self.embedding_dim, _EPSILON, _MOMENTUM),
        )
        # Embeddings do not depend on the classifier. Distributed training requires a gradient of every parameter.
        self.classifier = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(self.embedding_dim, len(self.tags)))
        self.classifier.requires_grad_(False)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers. All but the last have a frame for each frame of the spectrogram in a patch."""
        return ("timbral", "temporal", "cnn1", "cnn2", "cnn3", "penultimate")

    def taggram(self, waveforms: Tensor) -> Tensor:
        """Compute the probability of each tag in each patch.

        Args:
            waveforms: as for `forward`.

        Returns:
            (..., patches, tags) probabilities, in the order of the attribute `tags`.

        Raises:
            ValueError: as for `forward`.
            TypeError: as for `forward`.
        """
        logits: Tensor = self.classifier(self(waveforms, frames=True))
        return logits.sigmoid()

    def encode_frames(self, signals: Tensor) -> Tensor:
        return self.encode_layers(signals, ["penultimate"], lambda frames: frames)["penultimate"]

    def encode_layers(
        self, signals: Tensor, names: Sequence[str], function: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        images = self.log_mel(signals)[:, None].to(self.input_norm.weight.dtype) / math.log(10)
        width = min(PATCH_FRAMES, images.shape[-1])
        count = images.shape[-1] // width
        patches = images[..., : count * width].unflatten(-1, (count, width)).movedim(3, 1).flatten(0, 1)
        # Outside of training, a few patches are computed at a time to limit the memory.
        whole = self.training or torch.is_grad_enabled() or is_traced() or patches.device.type != "cpu"
        parts = [self._patch_layers(part, names) for part in ([patches] if whole else patches.split(CPU_SLICE))]
        found = {name: torch.cat([part[name] for part in parts]) for name in names}
        return {
            name: function(frames.unflatten(0, (len(signals), count)).movedim(1, 2).flatten(2))
            for name, frames in found.items()
        }

    def _patch_layers(self, patches: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Compute the frames (N, width, frames) of layers of patches (N, 1, bands, frames), by name."""
        images = self.input_norm(patches)
        found = {
            name: torch.cat([self.stage(block, images) for block in blocks], dim=1)
            for name, blocks in (("timbral", self.timbral), ("temporal", self.temporal))
        }
        front = torch.cat([found["timbral"], found["temporal"]], dim=1)
        found["cnn1"] = self.stage(self.cnn1, front)
        found["cnn2"] = self.stage(self.cnn2, found["cnn1"]) + found["cnn1"]
        found["cnn3"] = self.stage(self.cnn3, found["cnn2"]) + found["cnn2"]
        features = torch.cat([front, found["cnn1"], found["cnn2"], found["cnn3"]], dim=1)
        # The maximum and the mean of a channel are next to each other.
        pooled = torch.stack([features.amax(dim=-1), features.mean(dim=-1)], dim=-1).flatten(1)
        found["penultimate"] = self.penultimate(pooled)[..., None]
        return {name: found[name] for name in names}


class FilterBlock(nn.Module):
    """Convolution of a spectrogram, ReLU, batch norm, and the maximum over the bands. The frames are padded with zeros.

    Args:
        channels: number of filters.
        bands: height of a filter in bands.
        frames: width of a filter in frames.

    Shape:
        - input: (N, 1, bands, frames)
        - output: (N, channels, frames)
    """

    def __init__(self, channels: int, bands: int, frames: int) -> None:
        super().__init__()
        self.padding = ((frames - 1) // 2, frames // 2)
        self.conv = nn.Conv2d(1, channels, (bands, frames))
        self.norm = nn.BatchNorm2d(channels, _EPSILON, _MOMENTUM)

    def forward(self, images: Tensor) -> Tensor:
        normalized: Tensor = self.norm(self.conv(F.pad(images, self.padding)).relu())
        return normalized.amax(dim=2)


def _convolution(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(width_in, width_out, _MID_FRAMES, padding=_MID_FRAMES // 2),
        nn.ReLU(),
        nn.BatchNorm1d(width_out, _EPSILON, _MOMENTUM),
    )


def _check_tags(tags: Sequence[str]) -> tuple[str, ...]:
    names = tuple(tags) if isinstance(tags, list | tuple) else ()
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise InputError(f"tags: expected a list of different names, got {tags!r}")
    return names
