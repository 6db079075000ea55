"""Targets: functions of labels that compute how similar the embeddings of two items should be.

A target maps the labels of R anchors, (R, ...), and the labels of C contrasts, (C, ...), to the target weights of their
pairs, (R, C), in [0, 1]. A pair with a weight above 0 is a positive of the loss. The loss calls the target for blocks
of anchors and contrasts, so the matrix of the weights of all pairs need not be in memory. You can pass any function
with these arguments and this result as a target.
"""

from ssc_toolkit.targets.base import Target
from ssc_toolkit.targets.combined import MaxTarget, WeightedSum
from ssc_toolkit.targets.ignore_pairs import IgnorePairs
from ssc_toolkit.targets.kernels import GaussianKernel, TempoKernel
from ssc_toolkit.targets.lookup import KeySimilarity, SimilarityMatrix
from ssc_toolkit.targets.same_class import SameClass
from ssc_toolkit.targets.shared_labels import LabelOverlap, SharedLabels
from ssc_toolkit.targets.taggram_cosine import TaggramCosine

__all__ = [
    "GaussianKernel",
    "IgnorePairs",
    "KeySimilarity",
    "LabelOverlap",
    "MaxTarget",
    "SameClass",
    "SharedLabels",
    "SimilarityMatrix",
    "TaggramCosine",
    "Target",
    "TempoKernel",
    "WeightedSum",
]
