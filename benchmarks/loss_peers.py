"""Losses of other libraries for large batches, written from their descriptions, and Inf-CL where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import torch
from losses import TEMPERATURE, Loss, contenders
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ssc_toolkit.losses import semi_supcon_loss

CHUNK_ROWS = 1024
"""Number of rows in a chunk, open_clip's default."""
TWO_WAYS = "two views, each the contrasts of the other"
"""Task of CLIP: the anchors are one view, the contrasts the other; the loss is the mean of both directions."""

OneWay = Callable[[Tensor, Tensor], Tensor]
"""Loss of anchors (items, dim) and contrasts (items, dim) of unit length, of which those at the same place match."""


def lightly_nt_xent(embeddings: Tensor) -> Tensor:
    """Compute NT-Xent as lightly does: four blocks of similarities, own views cut out, then a cross-entropy."""
    views = [F.normalize(view, dim=1) for view in embeddings.unbind(1)]
    count = len(embeddings)
    other = ~torch.eye(count, dtype=torch.bool, device=embeddings.device)
    rows = []
    for own, opposite in (views, views[::-1]):
        # A boolean index, as in lightly, makes the host wait for a GPU.
        within = (own @ own.T / TEMPERATURE)[other].view(count, count - 1)
        rows.append(torch.cat([own @ opposite.T / TEMPERATURE, within], dim=1))
    matches = torch.arange(count, device=embeddings.device).repeat(2)
    return F.cross_entropy(torch.cat(rows), matches)


def chunked(anchors: Tensor, contrasts: Tensor) -> Tensor:
    """Compute the loss as open_clip's chunked cross-entropy does: the backward pass computes each chunk again."""
    total = anchors.new_zeros(())
    for start in range(0, len(anchors), CHUNK_ROWS):
        rows = anchors[start : start + CHUNK_ROWS]
        matches = torch.arange(start, start + len(rows), device=rows.device)
        # Without restoring the random state, for which the host would wait for a GPU.
        options = {"use_reentrant": False, "preserve_rng_state": False}
        total = total + checkpoint(_chunk, rows, contrasts, matches, **options)
    return total / len(anchors)


def _chunk(rows: Tensor, contrasts: Tensor, matches: Tensor) -> Tensor:
    return F.cross_entropy(rows @ contrasts.T / TEMPERATURE, matches, reduction="sum")


def in_both_directions(one_way: OneWay) -> Loss:
    """Return the mean of the losses of both directions as a loss of a batch."""

    def loss(embeddings: Tensor, tags: Tensor, classes: Tensor) -> Tensor:
        first, second = (F.normalize(view, dim=1) for view in embeddings.unbind(1))
        return (one_way(first, second) + one_way(second, first)) / 2

    return loss


def contenders_of_large_batches(device: str) -> dict[str, dict[str, Loss]]:
    """Return losses by task and name; ours come first."""
    tasks = contenders()
    tasks["no labels"]["lightly NTXentLoss, restated"] = lambda z, tags, classes: lightly_nt_xent(z)
    tasks[TWO_WAYS] = {
        f"ssc_toolkit, {implementation}": in_both_directions(
            lambda anchors, contrasts, implementation=implementation: semi_supcon_loss(
                anchors, keys=contrasts, temperature=TEMPERATURE, implementation=implementation
            )
        )
        for implementation in ("tiled", "dense")
    }
    tasks[TWO_WAYS]["open_clip's chunks, restated"] = in_both_directions(chunked)
    if device == "cuda" and find_spec("inf_cl"):  # its kernels run on GPUs only
        tasks[TWO_WAYS]["Inf-CL"] = in_both_directions(inf_cl)
    elif device == "cuda":
        print("inf-cl is not installed")
    return tasks


def inf_cl(anchors: Tensor, contrasts: Tensor) -> Tensor:
    """Compute the loss with the kernels of Inf-CL."""
    from inf_cl import cal_inf_loss

    return cal_inf_loss(anchors / TEMPERATURE, contrasts, head_dim=anchors.shape[1])
