"""Targets, which compute from labels how close two items should be.

A target is a callable that takes two blocks of labels and returns a block of weights in [0, 1], `(rows, ...), (columns,
...) -> (rows, columns)`. It never needs the whole N x N matrix. You can pass any callable with this signature as a
target.
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
