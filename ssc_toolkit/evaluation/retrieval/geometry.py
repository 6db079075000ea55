"""Hubness and anisotropy of embeddings."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from ssc_toolkit.checks import check_embeddings
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.retrieval.neighbors import find_nearest, normalize_rows

_ROWS = 4096
"""Number of embeddings that are converted to float64 at once."""


@dataclass(frozen=True)
class Geometry:
    r"""Hubness and anisotropy of N embeddings.

    The k-occurrence \(N_k(i)\) is the number of items that have item i among their k nearest neighbors. Its mean over
    the items is k. \(u_i\) is embedding i divided by its norm. \(p_d\) is singular value d of the centered embeddings,
    divided by the sum of all singular values.

    Attributes:
        hub_skewness: \(\mathrm{E}[(N_k - k)^3] / \sigma^3_{N_k}\) (Radovanovic, Nanopoulos and Ivanovic, Hubs in
            Space, JMLR 2010). It is 0 if all k-occurrences are equal.
        robin_hood: \(\sum_i |N_k(i) - k| \,/\, (2 k (N - 1))\), which is 0 if all k-occurrences are equal and near
            1 if a few items are the neighbors of all others (Feldbauer, Leodolter, Plant and Flexer, ICBK 2018).
        anti_hubs: fraction of items that are not a neighbor of any other item, \(N_k(i) = 0\).
        mean_cosine: \(\frac{1}{N (N - 1)} \sum_{i \ne j} u_i \cdot u_j\), near 0 if the directions are spread evenly, 1
            if all embeddings have the same direction (Ethayarajh, EMNLP 2019).
        effective_rank: \(\exp(-\sum_d p_d \ln p_d)\), from 1 to the embedding dimension (Roy and Vetterli, EUSIPCO
            2007).
        k: number of neighbors.
    """

    hub_skewness: float
    robin_hood: float
    anti_hubs: float
    mean_cosine: float
    effective_rank: float
    k: int

    def to_json(self) -> dict[str, float]:
        """Return the attributes as a dictionary that can be written as JSON."""
        return asdict(self)


def embedding_geometry(embeddings: np.ndarray, k: int = 10) -> Geometry:
    """Compute the hubness and anisotropy of embeddings.

    Similarities are computed in blocks, so the matrix of all pairs is not held in memory.

    Args:
        embeddings: (N, dim) embeddings of N items. Rows with NaN are ignored.
        k: number of neighbors of each item, by cosine similarity.

    Raises:
        InputError: if the embeddings do not have two dimensions, or if k is not between 1 and N - 1.

    Examples:
        >>> circle = np.exp(2j * np.pi * np.arange(24) / 24)
        >>> found = embedding_geometry(np.stack([circle.real, circle.imag], axis=1), k=2)
        >>> found.robin_hood, round(found.mean_cosine, 4), round(found.effective_rank, 4)
        (0.0, -0.0435, 2.0)
    """
    embeddings = check_embeddings(embeddings, len(embeddings), of="items")
    embeddings = embeddings[np.isfinite(embeddings).all(axis=1)]
    count = len(embeddings)
    if not 1 <= k < count:
        raise InputError(f"k: expected 1 to {count - 1} neighbors among {count} embeddings, got {k}")
    occurrence = np.bincount(find_nearest(embeddings, k).ravel(), minlength=count)
    deviation = occurrence - k
    spread = float(np.sqrt((deviation**2).mean()))
    total = normalize_rows(embeddings).sum(axis=0, dtype=np.float64)
    lengths = float((normalize_rows(embeddings) ** 2).sum(dtype=np.float64))
    return Geometry(
        hub_skewness=float((deviation.astype(float) ** 3).mean() / spread**3) if spread > 0 else 0.0,
        robin_hood=float(np.abs(deviation).sum() / (2 * k * (count - 1))),
        anti_hubs=float((occurrence == 0).mean()),
        mean_cosine=(float(total @ total) - lengths) / (count * (count - 1)),
        effective_rank=effective_rank(embeddings - embeddings.mean(axis=0)),
        k=k,
    )


def effective_rank(embeddings: np.ndarray) -> float:
    r"""Compute the effective rank of embeddings, \(\exp(-\sum_d p_d \ln p_d)\).

    \(p_d\) is singular value d of the matrix of the embeddings, divided by the sum of all singular values. Roy and
    Vetterli (EUSIPCO 2007) define the effective rank. Garrido et al. (RankMe, arXiv 2210.02885) choose the training
    with the highest effective rank of embeddings that are not centered.

    Args:
        embeddings: (N, dim) embeddings, finite.

    Returns:
        A number from 1 to the smaller of N and dim. 1 if all embeddings are zero.

    Examples:
        >>> round(effective_rank(np.eye(4)), 6), effective_rank(np.ones((4, 3)))
        (4.0, 1.0)
    """
    blocks = (np.asarray(embeddings[start : start + _ROWS], float) for start in range(0, len(embeddings), _ROWS))
    squares = np.linalg.eigvalsh(sum(block.T @ block for block in blocks)).clip(min=0)
    singular = np.sqrt(squares[squares > squares.max() * np.finfo(float).eps])
    if singular.sum() == 0:
        return 1.0
    fractions = singular / singular.sum()
    return float(np.exp(-(fractions * np.log(fractions)).sum()))
