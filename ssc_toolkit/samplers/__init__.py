"""Which views of a track, which items of a batch."""

from ssc_toolkit.samplers.balanced import BalancedBatchSampler
from ssc_toolkit.samplers.batches import NumberedBatchSampler, SampledIndex
from ssc_toolkit.samplers.budget import label_budget, uncovered_classes
from ssc_toolkit.samplers.segments import (
    AdjacentSegments,
    RandomSegments,
    SameLabelTracks,
    SameSegment,
    SegmentSampler,
    Views,
    ViewSampler,
    WeightedViews,
)
from ssc_toolkit.samplers.semi_supervised import SemiSupervisedBatchSampler

__all__ = [
    "AdjacentSegments",
    "BalancedBatchSampler",
    "NumberedBatchSampler",
    "RandomSegments",
    "SameLabelTracks",
    "SameSegment",
    "SampledIndex",
    "SegmentSampler",
    "SemiSupervisedBatchSampler",
    "ViewSampler",
    "Views",
    "WeightedViews",
    "label_budget",
    "uncovered_classes",
]
