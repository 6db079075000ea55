"""Which views of a track, which items of a batch."""

from ssc_toolkit.samplers.batches import SampledIndex, SemiSupervisedBatchSampler
from ssc_toolkit.samplers.budget import label_budget, uncovered_classes
from ssc_toolkit.samplers.segments import AdjacentSegments, RandomSegments, ViewSampler

__all__ = [
    "AdjacentSegments",
    "RandomSegments",
    "SampledIndex",
    "SemiSupervisedBatchSampler",
    "ViewSampler",
    "label_budget",
    "uncovered_classes",
]
