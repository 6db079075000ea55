"""Heads, which are classifiers or regressors on frozen embeddings, and the functions that fit them."""

from collections.abc import Callable, Mapping

from ssc_toolkit.evaluation.probing.heads.base import Head, Problem
from ssc_toolkit.evaluation.probing.heads.knn import fit_knn
from ssc_toolkit.evaluation.probing.heads.linear import fit_linear
from ssc_toolkit.evaluation.probing.heads.mlp import fit_mlp
from ssc_toolkit.evaluation.probing.heads.prototype import fit_prototypes
from ssc_toolkit.evaluation.probing.heads.weighted_layers import WEIGHTED, fit_weighted_layers

HEADS: Mapping[str, Callable[[Problem, int], Head]] = {
    "linear": fit_linear,
    "mlp": fit_mlp,
    "knn": fit_knn,
    "prototypes": fit_prototypes,
    WEIGHTED: fit_weighted_layers,
}
"""Fitting functions by method name. Each function takes a `Problem` and a seed, and returns a fitted head."""

__all__ = [
    "HEADS",
    "WEIGHTED",
    "Head",
    "Problem",
    "fit_knn",
    "fit_linear",
    "fit_mlp",
    "fit_prototypes",
    "fit_weighted_layers",
]
