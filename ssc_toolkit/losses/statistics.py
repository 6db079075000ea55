"""Statistics of a batch's embeddings, for logging."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.losses.batch import as_rows, with_mask
from ssc_toolkit.losses.pairs import PairSettings
from ssc_toolkit.losses.settings import LossSettings
from ssc_toolkit.losses.tiled import list_tiles
from ssc_toolkit.losses.unit_length import unit_length
from ssc_toolkit.targets import SameClass, Target
from ssc_toolkit.targets.base import Labeled, LabelTensors, TargetFunction, as_target


@torch.no_grad()
def contrastive_statistics(
    embeddings: Tensor,
    labels: LabelTensors | None = None,
    *,
    labeled: Labeled | None = None,
    items: Tensor | None = None,
    target: Target | TargetFunction | None = None,
) -> dict[str, Tensor]:
    r"""Compute statistics of the embeddings of a batch, without waiting for its device.

    Args:
        embeddings: as for `semi_supcon_loss`; need not be normalized.
        labels: as for `semi_supcon_loss`.
        labeled: as for `semi_supcon_loss`.
        items: as for `semi_supcon_loss`.
        target: as for `semi_supcon_loss`.

    Returns:
        A dict of scalar tensors on the device of the batch. z are the embeddings scaled to length 1, and E is the mean:

        - `alignment`: \(E \lVert z_i - z_j \rVert^2\) over pairs of views of one item (Wang & Isola 2020,
          arXiv 2005.10242); smaller is better
        - `uniformity`: \(\log E\, e^{-2 \lVert z_i - z_j \rVert^2}\) over all pairs of different rows; smaller is
          better
        - `positive_fraction`: mean target weight of the pairs of different rows; if all weights are 0 or 1, this is the
          fraction of positives
        - `positives_per_anchor`: mean sum of the target weights of an anchor; if all weights are 0 or 1, this is the
          mean number of positives
        - `neighbor_agreement`: mean target weight of a labeled row and the labeled row of another item that is most
          similar to it

        The mean over zero pairs is NaN.

    Raises:
        ValueError, TypeError: as for `semi_supcon_loss`.

    Examples:
        >>> import torch
        >>> views = torch.eye(4)[:, None].expand(4, 2, 4)            # identical views, orthogonal items
        >>> found = contrastive_statistics(views, labels=torch.tensor([0, 0, 1, 1]))
        >>> found["alignment"].item(), found["positives_per_anchor"].item()
        (0.0, 3.0)
    """
    target = SameClass() if target is None else as_target(target)
    rows = with_mask(as_rows(embeddings, labels, labeled, items, target)).flat()
    with torch.autocast(embeddings.device.type, enabled=False):
        z = unit_length(rows.embeddings)
        sums = {name: z.new_zeros(()) for name in ("distance", "views", "potential", "positives", "agreement", "valid")}
        known = _known(rows.labeled, len(z), z.device)
        settings = PairSettings(rows, rows, 0, LossSettings(1.0, target))
        for start, stop in list_tiles(settings):
            part = rows.part(start, stop)
            similarities = z[start:stop] @ z.T
            weights, ignored = settings.describe(start, stop)
            weights = weights.to(z.dtype)
            same_item = part.items[:, None] == rows.items
            weights.diagonal(start).zero_()
            # |a - b|² of rows of length 1; rounding can make it negative.
            distances = (2 - 2 * similarities).clamp(min=0)
            is_view = same_item.clone()
            is_view.diagonal(start).fill_(False)
            sums["distance"] += torch.where(is_view, distances, 0).sum()
            sums["views"] += is_view.sum()
            potential = torch.exp(-2 * distances)
            potential.diagonal(start).zero_()
            sums["potential"] += potential.sum()
            sums["positives"] += weights.sum()
            left_out = same_item | ~known if ignored is None else same_item | ~known | ignored
            candidates = similarities.masked_fill(left_out, -torch.inf)
            highest, nearest = candidates.max(dim=1)
            valid = known[start:stop] & (highest > -torch.inf)
            agreement = weights.gather(1, nearest[:, None]).squeeze(1)
            sums["agreement"] += torch.where(valid, agreement, 0).sum()
            sums["valid"] += valid.sum()
    pairs = len(z) * (len(z) - 1)
    return {
        "alignment": sums["distance"] / sums["views"],
        "uniformity": (sums["potential"] / pairs).log() if pairs else z.new_tensor(torch.nan),
        "positive_fraction": sums["positives"] / pairs if pairs else z.new_tensor(torch.nan),
        "positives_per_anchor": sums["positives"] / max(len(z), 1),
        "neighbor_agreement": sums["agreement"] / sums["valid"],
    }


def _known(labeled: Labeled | None, count: int, device: torch.device) -> Tensor:
    """Return a mask, bool (count,), of the items for which at least one kind of label is known."""
    if labeled is None:
        return torch.zeros(count, dtype=torch.bool, device=device)
    masks = list(labeled.values()) if isinstance(labeled, dict) else [labeled]
    known = masks[0]
    for mask in masks[1:]:
        known = known | mask
    return known
