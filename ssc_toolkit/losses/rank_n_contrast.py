"""Contrastive loss for continuous labels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.batch import as_rows, with_mask
from ssc_toolkit.losses.settings import Reduction, check_options
from ssc_toolkit.losses.temperature import LearnableTemperature, as_setting, read_temperature
from ssc_toolkit.targets.base import Target
from ssc_toolkit.targets.kernels import check_continuous, label_distance


class RankNContrastLoss(nn.Module):
    r"""Rank-N-Contrast loss (Zha et al. 2023, arXiv 2210.01189) for continuous labels.

    The loss is small if distances between embeddings have the same order as distances between labels. Each view i of
    a labeled item has an embedding \(v_i\) and is an anchor. Let \(s_{ij} = -\lVert v_i - v_j \rVert_2 / \tau\), and
    let \(d_{ij}\) be the Euclidean distance of the labels. In each term of the sum, one other view j is the positive of
    anchor i. The denominator contains the views k whose labels are at least as far from the label of i as that of j:

    $$L_i = \frac{1}{n - 1} \sum_{j \neq i} -\log
    \frac{e^{s_{ij}}}{\sum_{k \neq i,\; d_{ik} \geq d_{ij}} e^{s_{ik}}}$$

    Here n is the number of labeled views. Unlabeled views are ignored. Embeddings are not normalized. Label distances
    that differ only by rounding count as equal. Time grows as n² log n and memory as n².

    Args:
        temperature: \(\tau\), a positive number or a `LearnableTemperature`.
        reduction: "mean" or "sum" over the labeled views, or "none" for one loss per view.

    Shape:
        - embeddings: (items, views, dim), or (N, dim) with one row per view
        - labels: (items,) or (items, dimensions of the labels); for embeddings (N, dim), (N,) or (N, dimensions of the
          labels); real numbers, integers or bools
        - labeled: bool (items,) or (N,), True where labels are known; by default, all labels are known
        - output: scalar, or for reduction="none" (items, views) or (N,), 0 for unlabeled views

    Raises:
        ValueError: if a shape is invalid, or a known label is not finite.
        TypeError: if the embeddings are not floating point, or `labeled` is not bool.

    Examples:
        >>> import torch
        >>> tempo = torch.tensor([90.0, 92.0, 140.0])
        >>> loss = RankNContrastLoss()(torch.randn(3, 2, 16), labels=tempo)
    """

    def __init__(self, temperature: float | LearnableTemperature = 2.0, reduction: Reduction = "mean") -> None:
        super().__init__()
        check_options(read_temperature(temperature), reduction)
        self.temperature = as_setting(temperature)
        self.reduction = reduction

    def forward(
        self, embeddings: Tensor, labels: Tensor, *, labeled: Tensor | None = None, items: Tensor | None = None
    ) -> Tensor:
        """Compute the loss of a batch. The shapes are those in the docstring of the class.

        Args:
            embeddings: embeddings of all views.
            labels: real-valued labels of the items.
            labeled: mask of the known labels. None: all labels are known.
            items: ids of the items, accepted as by other losses. They do not change this loss.

        Returns:
            A scalar, or for reduction="none" the loss of each view.
        """
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels: RankNContrastLoss expects a tensor of numbers, got {type(labels).__name__}")
        rows = with_mask(as_rows(embeddings, labels, labeled, items, _CONTINUOUS)).flat()
        assert isinstance(rows.labels, Tensor)
        assert isinstance(rows.labeled, Tensor)
        with torch.autocast(embeddings.device.type, enabled=False):
            temperature = read_temperature(self.temperature)
            losses, valid = _rank_losses(rows.embeddings, rows.labels, rows.labeled, temperature)
        if self.reduction == "none":
            return losses.view(embeddings.shape[:-1])
        total = losses.sum()
        return total if self.reduction == "sum" else total / valid.sum().clamp(min=1)

    def extra_repr(self) -> str:
        fixed = "" if isinstance(self.temperature, nn.Module) else f"temperature={self.temperature}, "
        return f"{fixed}reduction={self.reduction!r}"


def _rank_losses(
    embeddings: Tensor, labels: Tensor, labeled: Tensor, temperature: float | Tensor
) -> tuple[Tensor, Tensor]:
    embeddings = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    if not len(labels):
        return embeddings.sum(dim=1), labeled  # the loss is 0 but stays connected to the graph
    similarities = -_distances(embeddings) / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    taken = labeled[:, None] & labeled & ~itself
    with torch.no_grad():
        # Unlabeled rows are sorted to the end, at a distance that no labeled row has.
        nearness = torch.where(taken, -_distances_of_labels(labels, labeled), torch.inf)
        nearness, order = nearness.sort(dim=1)
        # Rows at the same distance as j are in the denominator too, so the sum ends at the last row of this distance.
        last = torch.searchsorted(nearness, nearness, right=True) - 1
    ordered = similarities.gather(1, order)
    is_taken = nearness < math.inf
    denominators = torch.logcumsumexp(ordered.masked_fill(~is_taken, -torch.inf), dim=1).gather(1, last)
    pairs = torch.where(is_taken, denominators - ordered, 0)
    others = is_taken.sum(dim=1)
    return pairs.sum(dim=1) / others.clamp(min=1), others > 0


def _distances(embeddings: Tensor) -> Tensor:
    """Compute Euclidean distances (N, N) of all pairs of embeddings (N, dim), without overflow of their squares."""
    # Half of the exponent range suffices for the squares. A larger factor would make gradients subnormal numbers.
    factor = _power_of_two(embeddings.detach(), 511 if embeddings.dtype == torch.float64 else 63)
    scaled = embeddings * factor
    return torch.cdist(scaled, scaled, compute_mode="donot_use_mm_for_euclid_dist") / factor


def _power_of_two(values: Tensor, exponent: int) -> Tensor:
    """Return a power of two, 2^-exponent to 2^exponent, by which the largest absolute value is scaled to about 1."""
    largest = values.abs().amax().clamp(2.0**-exponent, 2.0**exponent)
    return torch.frexp(largest).mantissa / largest


@torch.no_grad()
def _distances_of_labels(labels: Tensor, labeled: Tensor) -> Tensor:
    """Compute distances (N, N) of labels (N, ...), rounded to multiples of the rounding error of the labels.

    For example, the distance of 0.3 and 0.2 then equals that of 0.2 and 0.1. Integers are centered first, so that
    differences of large integers, such as timestamps in nanoseconds, are exact. Labels are scaled to about 1, so that
    squared differences do not overflow. `labeled`, bool (N,), is True for known labels.
    """
    labels = labels.reshape(len(labels), -1)
    exact = torch.float32 if labels.device.type == "mps" else torch.float64
    eps = torch.finfo(labels.dtype if labels.dtype == torch.float64 else torch.float32).eps
    if not labels.is_floating_point():
        labels, eps = _centered(labels.long(), labeled[:, None]), torch.finfo(exact).eps
    labels = torch.where(labeled[:, None], labels.to(exact), 0)
    labels = labels * _power_of_two(labels, 1020 if exact == torch.float64 else 120)
    step = 16 * eps * labels.abs().sum(dim=1).max()
    return (label_distance(labels, labels, exact) / torch.where(step > 0, step, 1)).round()


def _centered(labels: Tensor, labeled: Tensor) -> Tensor:
    """Subtract from each column of integer labels the middle between the smallest and largest known label."""
    limits = torch.iinfo(labels.dtype)
    highest = torch.where(labeled, labels, limits.min).amax(dim=0)
    lowest = torch.where(labeled, labels, limits.max).amin(dim=0)
    return labels - ((highest >> 1) + (lowest >> 1) + ((highest | lowest) & 1))


class _Continuous(Target):
    """Target whose only use is the check that labels are finite real numbers."""

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return -label_distance(rows, columns)

    def check(self, labels: Tensor, labeled: Tensor) -> None:
        check_continuous("RankNContrastLoss", labels, labeled)


_CONTINUOUS = _Continuous()
