"""Detection of published architectures, and mapping of their layer names to those of this library."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.encoders.sample_cnn_xl import SampleCNNXL
from ssc_toolkit.encoders.short_chunk_cnn import CHANNEL_FACTORS, ShortChunkCNN
from ssc_toolkit.encoders.tune_plus import TUNePlus

WRAPPERS = frozenset({"_orig_mod", "backbone", "encoder", "model", "module", "net", "semisupcon"})
"""Prefixes that Lightning modules, SimCLR, (Distributed)DataParallel and torch.compile add to names of weights."""

PROJECTOR_NAMES = frozenset({"proj_head", "projection_head", "projector"})
"""Names that checkpoints use for the projector, between the representation and the loss."""

PUBLISHED_HEADS = PROJECTOR_NAMES | {
    *("classifier", "fc", "finetuner", "head", "heads", "supervised_head"),
    *("accuracy", "augment", "average_precision", "criterion", "loss", "loss_fn", "roc"),
}
"""Names of modules that checkpoints contain in addition to the encoder and that do not change its embeddings."""

DENSE = frozenset({"bn", "dense1", "dense2"})
"""Names of layers after the maximum over time in the published short-chunk CNNs."""

FRONT_END = re.compile(r"^spec\.(?:spectrogram\.(window)|mel_scale\.(fb))$")
"""Names of buffers of the mel spectrogram in the published short-chunk CNNs."""

_TUNE_PLUS = (
    (re.compile(r"^conv([1-5])\.layers\."), "down", 1),
    (re.compile(r"^transposedConv([6-9])\."), "upsample", 6),
    (re.compile(r"^conv([6-9])\.layers\."), "up", 6),
    (re.compile(r"^convDown([1-4])\.layers\."), "tail", 1),
    (re.compile(r"^convDown([5-8])\.layers\."), "extra", 5),
)
"""Layers of TUNe+: published name, name of the list of layers in this library, published number of its first layer."""

_SHORT_CHUNK = {
    "conv_1": "straight.0",
    "bn_1": "straight.1",
    "conv_2": "straight.3",
    "bn_2": "straight.4",
    "conv_3": "shortcut.0",
    "bn_3": "shortcut.1",
    "conv": "0",
    "bn": "1",
}
"""Parts of a layer of the short-chunk CNNs: published names and names in this library."""


def translate_name(name: str) -> str:
    """Return the name in this library of a weight of a published network. Other names are returned unchanged."""
    for pattern, own, first in _TUNE_PLUS:
        if found := pattern.match(name):
            return f"{own}.{int(found[1]) - first}.{name[found.end() :]}"
    if found := re.match(r"^layer([1-7])\.(\w+)\.", name):
        part = _SHORT_CHUNK.get(found[2])
        return name if part is None else f"layers.{int(found[1]) - 1}.{part}.{name[found.end() :]}"
    return re.sub(r"^spec_bn\.", "scale.", re.sub(r"^convDown9\.layers\.", "last.", name))


class Architecture(NamedTuple):
    """A network that a checkpoint can contain.

    Attributes:
        name: Python expression that creates the network, such as `SampleCNN()`.
        mark: pattern that matches the end of the name of one weight. Only this network has such a weight. The
            pattern matches the published name and the name in this library.
        make: function that takes this weight and creates a network with the number of channels in the shape of the
            weight. It returns None if the network cannot have a weight of this shape.
    """

    name: str
    mark: re.Pattern[str]
    make: Callable[[Tensor], Encoder | None]


def _sample_cnn(weight: Tensor) -> Encoder:
    return SampleCNNXL() if len(weight) == SampleCNNXL.widths[-1] else SampleCNN()


def _short_chunk(weight: Tensor, residual: bool) -> Encoder | None:
    """Create an untrained short-chunk CNN with the number of channels in the shape of the given weight.

    The weight is the first one of the last layer. Return None if its shape is not that of a short-chunk CNN.
    """
    channels = len(weight) // CHANNEL_FACTORS[-1]
    if weight.shape != (CHANNEL_FACTORS[-1] * channels, CHANNEL_FACTORS[-2] * channels, 3, 3):
        return None
    return ShortChunkCNN(channels=channels, residual=residual)


ARCHITECTURES = (
    Architecture("SampleCNN(), SampleCNNXL()", re.compile(r"(?:^|\.)sequential\.10\.0\.weight$"), _sample_cnn),
    Architecture(
        "TUNePlus()",
        re.compile(r"(?:^|\.)(?:conv1\.layers|down\.0)\.0\.weight$"),
        lambda weight: TUNePlus(channels=len(weight)),
    ),
    Architecture(
        "ShortChunkCNN()",
        re.compile(r"(?:^|\.)(?:layer7\.conv|layers\.6\.0)\.weight$"),
        lambda weight: _short_chunk(weight, residual=False),
    ),
    Architecture(
        "ShortChunkCNN(residual=True)",
        re.compile(r"(?:^|\.)(?:layer7\.conv_1|layers\.6\.straight\.0)\.weight$"),
        lambda weight: _short_chunk(weight, residual=True),
    ),
)

KNOWN = ", ".join(architecture.name for architecture in ARCHITECTURES)
"""Names of the architectures that `find_architecture` detects."""


def find_architecture(weights: Mapping[str, Tensor]) -> Encoder | None:
    """Create an untrained encoder that fits the names and shapes of weights, or return None if none is detected."""
    for name, weight in weights.items():
        for architecture in ARCHITECTURES:
            if architecture.mark.search(name) and is_stored(weight) and (encoder := architecture.make(weight)):
                return encoder
    return None


def is_stored(weight: Tensor) -> bool:
    """Return whether a weight has at least two dimensions and storage for all its elements.

    Without storage, a small file could state a shape that needs any amount of memory.
    """
    return weight.dim() > 1 and 0 < weight.nbytes <= weight.untyped_storage().nbytes()
