"""Samplers that select the views of a track and the items of a batch."""

from ssc_toolkit.samplers.audible import AudibleBlocks
from ssc_toolkit.samplers.balanced import BalancedBatchSampler
from ssc_toolkit.samplers.base import NumberedBatchSampler, SampledIndex
from ssc_toolkit.samplers.joined import JoinedBatchSampler
from ssc_toolkit.samplers.label_budget import label_budget, uncovered_classes
from ssc_toolkit.samplers.labeled import MixedStream, with_labeled
from ssc_toolkit.samplers.same_label import SameLabelTracks
from ssc_toolkit.samplers.segments import AdjacentSegments, RandomSegments, SameSegment, SegmentSampler
from ssc_toolkit.samplers.semi_supervised import SemiSupervisedBatchSampler
from ssc_toolkit.samplers.views import Views, ViewSampler, WeightedViews

__all__ = [
    "AdjacentSegments",
    "AudibleBlocks",
    "BalancedBatchSampler",
    "JoinedBatchSampler",
    "MixedStream",
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
    "with_labeled",
]
