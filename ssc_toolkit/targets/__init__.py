"""Label signals turned into target weights: who should be close to whom.

A target is a small callable: two blocks of labels in, a block of weights in [0, 1] out,
`(rows, ...), (columns, ...) -> (rows, columns)`. It never needs the whole N x N matrix. Any callable
with that signature works where a target is asked for.
"""

from ssc_toolkit.targets.base import Target
from ssc_toolkit.targets.combined import MaxTarget, WeightedSum
from ssc_toolkit.targets.ignore_pairs import IgnorePairs
from ssc_toolkit.targets.kernels import GaussianKernel, TempoKernel
from ssc_toolkit.targets.lookup import KeySimilarity, SimilarityMatrix
from ssc_toolkit.targets.same_class import SameClass
from ssc_toolkit.targets.shared_labels import LabelOverlap, SharedLabels

__all__ = [
    "GaussianKernel",
    "IgnorePairs",
    "KeySimilarity",
    "LabelOverlap",
    "MaxTarget",
    "SameClass",
    "SharedLabels",
    "SimilarityMatrix",
    "Target",
    "TempoKernel",
    "WeightedSum",
]
