"""Semi-supervised contrastive loss as a pure function."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ssc_toolkit.losses.batch import Rows, as_rows, check_same_signals
from ssc_toolkit.losses.dense import dense_losses
from ssc_toolkit.losses.distributed import (
    count_processes,
    gather_rows,
    max_over_processes,
    sum_over_processes,
)
from ssc_toolkit.losses.pairs import PairSettings
from ssc_toolkit.losses.queue import ContrastQueue
from ssc_toolkit.losses.settings import Denominator, Implementation, LossSettings, Reduction
from ssc_toolkit.losses.tiled import list_tiles, tiled_losses, tiled_sum
from ssc_toolkit.losses.unit_length import unit_length
from ssc_toolkit.losses.weighting import log_means
from ssc_toolkit.targets import SameClass, Target
from ssc_toolkit.targets.base import (
    Labeled,
    LabelTensors,
    TargetFunction,
    as_target,
    values_are_readable,
)
from ssc_toolkit.tracing import in_function_transform, is_traced_or_transformed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

MAX_DENSE_PAIRS = {"cpu": 0, "cuda": 2**24}
"""Maximum number of pairs for which `implementation="auto"` selects "dense", by device type.

On a CPU, "tiled" is faster for any number of pairs.
"""


def semi_supcon_loss(
    embeddings: Tensor,
    labels: LabelTensors | None = None,
    *,
    labeled: Labeled | None = None,
    items: Tensor | None = None,
    keys: Tensor | None = None,
    key_labels: LabelTensors | None = None,
    key_labeled: Labeled | None = None,
    key_items: Tensor | None = None,
    groups: Tensor | None = None,
    key_groups: Tensor | None = None,
    ignored: Tensor | None = None,
    anchor_weights: Tensor | None = None,
    target: Target | TargetFunction | None = None,
    temperature: float | Tensor = 0.1,
    reduction: Reduction = "mean",
    denominator: Denominator = "all",
    implementation: Implementation = "auto",
    gather: bool = False,
    label_weight: float = 1.0,
    beta: float = 0.0,
    tau_plus: float = 0.0,
    sigma: float | None = None,
    process_group: ProcessGroup | None = None,
    queue: ContrastQueue | None = None,
) -> Tensor:
    r"""Compute the semi-supervised contrastive loss of a batch in which some items are labeled.

    An item is, for example, a track, and its views are augmented segments of the track. Each view is one of the N rows
    of embeddings. Each row is an anchor. The anchor is compared with its contrasts, by default all other rows.

    Let z be the embeddings scaled to length 1, \(\tau\) the temperature, and \(s_{ij} = z_i \cdot z_j / \tau\). The
    target weight \(w_{ij}\) is 1 for two views of one item, `target(labels_i, labels_j)` for two labeled items, and 0
    for other pairs and for i = j. Contrasts with \(w_{ij} > 0\) are the positives of anchor i, and those with
    \(w_{ij} = 0\) its negatives. The loss of anchor i is

    $$L_i = \log \sum_{k \neq i} e^{s_{ik}} - \frac{1}{W_i} \sum_j w_{ij} s_{ij},
    \qquad W_i = \sum_j w_{ij}$$

    An anchor without positives has loss 0 and is not counted in the mean. If no item is labeled, this is NT-Xent (Chen
    et al. 2020, arXiv 2002.05709). If every item has a class, it is SupCon (Khosla et al. 2020, arXiv 2004.11362, eq.
    2). If some items are labeled, it is SemiSupCon (Guinot et al. 2024, arXiv 2407.13840). It is computed in float64
    for float64 embeddings, otherwise in float32.

    Args:
        embeddings: (items, views, dim), or "flat rows" (N, dim), which require `items`, `labels` or both. Floating
            point; need not be normalized.
        labels: labels of each item, (items,) or (items, ...) as `target` requires, or (N, ...) for flat rows. For a
            target of several signals (kinds of labels), a dict with one tensor per signal. None: no item is labeled.
        labeled: bool (items,) or (N,), True where the labels are known, or a dict with one mask per signal. None: all
            labels are known. Labels that are not known can have any value, such as NaN.
        items: integer ids, (items,) or (N,). Rows with the same id are views of one item. By default all ids differ.
        keys: embeddings that replace the rows of `embeddings` as contrasts, (items, views, dim) or (N, dim), such as
            embeddings from a second encoder or from earlier batches. Keys without `key_items` are views of the same
            items as `embeddings`, in the same order and with the same labels.
        key_labels: labels of the keys. Requires `key_items`.
        key_labeled: mask of the known labels of the keys. Requires `key_items`.
        key_items: integer ids of the items of the keys. A key with the id of an anchor is a view of the same item.
        groups: integer ids of groups of items, such as albums or artists, (items,) or (N,). Pairs of different items
            of one group are ignored: they are neither positives nor in the denominator.
        key_groups: groups of the keys. Requires `key_items`.
        ignored: bool (items, items), (items, items of keys), or (N, M) for M flat keys, True where a pair of different
            items is ignored. Views of one item are never ignored. With `gather`, the rows of this mask are the items of
            this process, and its columns are the items of all processes in the order of the ranks.
        anchor_weights: weights of the items, at least 0, (items,) or (N,). The loss of each anchor is multiplied by the
            weight of its item, and the mean is a weighted mean. No gradient flows through the weights.
        target: target or function that computes the weight of a pair of labeled items; `SameClass()` by default.
        temperature: positive number or scalar tensor by which the cosine similarities are divided.
        reduction: "mean" over the anchors that are counted, "sum" over all anchors, or "none" for one loss per anchor.
        denominator: "all": the first term of the loss sums over all contrasts. "negatives": it sums over the negatives
            only (decoupled contrastive learning; Yeh et al. 2022, arXiv 2110.06848). An anchor without negatives then
            has loss 0 and is not counted. Do not use "negatives" with a target whose weights are never 0.
        implementation: "dense" stores the matrix of all pairs; it can be compiled and differentiated twice. "tiled"
            computes the same value and gradient in memory proportional to N (dim + classes), and raises an error under
            `torch.func`. "auto" selects "dense" during compilation or tracing, under `torch.func`, and for small
            batches on a GPU, and otherwise "tiled".
        gather: whether the contrasts are the rows of all processes of the initialized process group; see below.
        label_weight: factor of the weights that `target` computes, at least 0. Two views of one item keep weight 1.
        beta: concentration of the hard negatives, at least 0. A higher value gives negatives that are similar to the
            anchor more weight (Robinson et al. 2021, arXiv 2010.04592); see below.
        tau_plus: probability that a negative is in fact a positive, at least 0 and below 1 (Robinson et al. 2021;
            Chuang et al. 2020, arXiv 2007.00224); see below.
        sigma: width of the weighting of positives, above 0, which gives more weight to positives that are farther from
            the anchor (Yeh et al. 2022, arXiv 2110.06848); see below. None: no weighting.
        process_group: processes whose rows `gather` uses; all processes by default.
        queue: rows of earlier batches as additional contrasts. `CrossBatchMemory` passes this argument.

    With `gather`, every process compares its own anchors with the rows of all processes. "mean" and "sum" return the
    loss of the whole batch on every process. Its gradient is multiplied by the number of processes, so the average
    that DistributedDataParallel computes is the gradient of the loss of the whole batch. "none" returns the losses of
    the anchors of this process, and their gradient is not multiplied. All processes must compute the loss equally
    often: a process whose batch is missing on the others waits for them until the timeout of the process group.

    With `beta` or `tau_plus` above 0, \(G_i\) replaces the sum over the \(N_i\) negatives of anchor i in the
    denominator. Here k are the negatives and j the positives:

    $$G_i = \max\left(\frac{N_i}{1 - \tau^+} \left[
    \frac{\sum_k e^{(1 + \beta) s_{ik}}}{\sum_k e^{\beta s_{ik}}}
    - \tau^+ \frac{\sum_j w_{ij} e^{(1 + \beta) s_{ij}}}{\sum_j w_{ij} e^{\beta s_{ij}}} \right],\;
    N_i e^{-1 / \tau}\right), \qquad
    L_i = \log \Big( G_i + \sum_{j:\, w_{ij} > 0} e^{s_{ij}} \Big) - \frac{1}{W_i} \sum_j w_{ij} s_{ij}$$

    With denominator="negatives", the logarithm contains only \(G_i\).

    With `sigma`, the second term of the loss is \(\frac{1}{W_i} \sum_j w_{ij} v_{ij} s_{ij}\) with
    \(v_{ij} = 2 - e^{c_{ij} / \sigma} / E\). Here \(c_{ij}\) are the cosine similarities, and E is the mean of
    \(\frac{1}{W_i} \sum_j w_{ij} e^{c_{ij} / \sigma}\) over all anchors with positives. No gradient flows through v.
    E requires a second pass over all pairs.

    Returns:
        A scalar, or for reduction="none" the loss of each anchor, (items, views) or (N,).

    Raises:
        ValueError: if a shape or an option is invalid, or `target` does not accept the labels.
        TypeError: if `embeddings` are not floating point, `labeled` or `ignored` is not bool, or ids are not integers.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> embeddings = torch.randn(4, 2, 8, generator=generator)   # 4 items, 2 views
        >>> labels = torch.tensor([0, 1, 0, 0])
        >>> labeled = torch.tensor([True, True, True, False])        # the last label is not known
        >>> loss = semi_supcon_loss(embeddings, labels, labeled=labeled, temperature=0.1)
        >>> loss.shape
        torch.Size([])
    """
    target = SameClass() if target is None else as_target(target)
    settings = LossSettings(
        temperature,
        target,
        reduction,
        denominator,
        implementation,
        gather,
        label_weight,
        beta,
        tau_plus,
        sigma,
        process_group,
    ).checked()
    ids = items
    if keys is not None and items is None and isinstance(embeddings, Tensor) and embeddings.dim() > 0:
        ids = torch.arange(len(embeddings), device=embeddings.device)
    anchors = as_rows(embeddings, labels, labeled, ids, target, groups=groups)
    if keys is None:
        if any(given is not None for given in (key_items, key_labels, key_labeled, key_groups)):
            raise ValueError("keys: expected keys, because key_items, key_labels, key_labeled or key_groups was given")
        contrasts, itself = anchors, 0
    else:
        contrasts = _as_keys(embeddings, anchors, keys, key_labels, key_labeled, key_items, key_groups, target)
        itself = None
    if settings.gathers:
        items_are_given = items is not None or key_items is not None
        options = settings.shared() | {
            "keys": keys is not None,
            "ignored": ignored is not None,
            "anchor_weights": anchor_weights is not None,
            "memory": queue is not None,
        }
        contrasts, start = gather_rows(contrasts, items_are_given, process_group, options)
        if not items_are_given:
            anchors = anchors._replace(items=anchors.items + start)
        itself = start * contrasts.views if keys is None else None
    if queue is not None:
        _check_ignored(ignored, anchors, contrasts)
        contrasts, ignored = queue.joined(anchors, contrasts, ignored)
    losses = _contrast(anchors, contrasts, itself, settings, ignored, anchor_weights)
    return losses.view(embeddings.shape[:-1]) if reduction == "none" else losses


def _contrast(
    anchors: Rows,
    contrasts: Rows,
    itself: int | None,
    settings: LossSettings,
    ignored: Tensor | None,
    anchor_weights: Tensor | None,
) -> Tensor:
    """Compute the loss of anchors and contrasts whose embeddings and labels were checked by the calling function.

    Args:
        anchors: batch whose N rows of embeddings are the anchors.
        contrasts: batch whose M rows of embeddings are the contrasts; with `gather`, those of all processes.
        itself: index of the first anchor among the contrasts. Anchor i is then the contrast `i + itself`. None: the
            anchors are not among the contrasts.
        settings: settings of the loss.
        ignored, anchor_weights: as for `semi_supcon_loss`. This function checks them.

    Returns:
        A scalar, or for reduction="none" the loss of each anchor, (N,).
    """
    _check_ignored(ignored, anchors, contrasts)
    factors = _anchor_factors(anchor_weights, anchors)
    # Autocast would compute the similarities in half precision, where they overflow at low temperatures.
    with torch.autocast(anchors.embeddings.device.type, enabled=False):
        normalized = unit_length(anchors.embeddings)
        others = normalized
        if contrasts is not anchors:
            others = unit_length(contrasts.embeddings).to(normalized.dtype)
        queries = normalized / settings.temperature
        factors = None if factors is None else factors.to(queries.dtype)
        pairs = PairSettings(anchors, contrasts, itself, settings, ignored)
        is_dense = _is_dense(settings.implementation, queries, others)
        lowest = log_mean = None
        if not settings.weighting.is_plain:
            lowest = -1 / torch.as_tensor(settings.temperature, dtype=queries.dtype, device=queries.device)
        if settings.sigma is not None:
            log_mean = _log_mean(queries, others, pairs, lowest, is_dense)
        if is_dense:
            losses, valid = dense_losses(queries, others, pairs, lowest, log_mean)
        elif settings.reduction == "none":
            losses, valid = tiled_losses(queries, others, pairs, lowest, log_mean)
        else:
            losses, valid = tiled_sum(queries, others, pairs, lowest, log_mean, factors)
        if factors is not None and (is_dense or settings.reduction == "none"):
            losses = losses * factors
        if settings.reduction == "none":
            return losses
        total = losses.sum()
        if settings.reduction == "sum":
            count = torch.ones_like(total)
        else:
            count = valid.sum() if factors is None else torch.where(valid, factors, 0).sum()
            count = sum_over_processes(count, settings.process_group) if settings.gathers else count
            count = torch.where(count > 0, count, 1)
        return _over_processes(total / count, settings.process_group) if settings.gathers else total / count


def _over_processes(share: Tensor, group: ProcessGroup | None) -> Tensor:
    """Compute the sum of `share` over the processes, with a gradient multiplied by the number of processes.

    DistributedDataParallel averages gradients. The average is then the gradient of the sum.
    """
    scaled = share * count_processes(group)
    return scaled + (sum_over_processes(share, group) - scaled.detach())


@torch.no_grad()
def _log_mean(queries: Tensor, keys: Tensor, pairs: PairSettings, lowest: Tensor | None, is_dense: bool) -> Tensor:
    """Compute log E, a scalar, over the anchors of all processes, with E as in the docstring of `semi_supcon_loss`.

    `queries`, `keys`, `pairs` and `lowest` are as for `dense_losses`.
    """
    assert lowest is not None
    group, gathers = pairs.settings.process_group, pairs.settings.gathers
    means = [queries.new_full((1,), -torch.inf)]  # for a batch without anchors
    for start, stop in [(0, len(pairs.anchors.items))] if is_dense else list_tiles(pairs):
        similarities = queries[pairs.rows(start, stop)] @ keys.T
        weights, _ = pairs.weights_and_contrasts(start, stop, similarities.dtype)
        means.append(log_means(similarities, weights, pairs.settings.weighting, lowest))
    whole = torch.cat(means)
    highest = whole.amax()
    highest = max_over_processes(highest, group) if gathers else highest
    shift = torch.where(highest == -torch.inf, 0, highest)
    sums = torch.stack([(whole - shift).exp().sum(), (whole > -torch.inf).sum().to(whole.dtype)])
    sums = sum_over_processes(sums, group) if gathers else sums
    return torch.where(sums[1] > 0, shift + (sums[0] / sums[1]).log(), 0)


def _check_ignored(ignored: Tensor | None, anchors: Rows, contrasts: Rows) -> None:
    if ignored is None:
        return
    expected = (len(anchors.items), len(contrasts.items))
    if not isinstance(ignored, Tensor) or ignored.dtype != torch.bool:
        kind = ignored.dtype if isinstance(ignored, Tensor) else type(ignored).__name__
        raise TypeError(f"ignored: expected a tensor of bool, got {kind}")
    if tuple(ignored.shape) != expected:
        raise ValueError(
            f"ignored: expected shape {expected}, (items, items of the contrasts), got {tuple(ignored.shape)}"
        )
    _check_device("ignored", ignored, anchors)


def _anchor_factors(weights: Tensor | None, anchors: Rows) -> Tensor | None:
    """Check weights of items (items,), and repeat them for the views of each item, (N,). Return None for None."""
    if weights is None:
        return None
    if not isinstance(weights, Tensor) or weights.is_complex():
        kind = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise TypeError(f"anchor_weights: expected a tensor of numbers, got {kind}")
    if weights.shape != anchors.items.shape:
        raise ValueError(f"anchor_weights: expected shape ({len(anchors.items)},), got {tuple(weights.shape)}")
    _check_device("anchor_weights", weights, anchors)
    weights = weights if weights.is_floating_point() else weights.double()  # unsigned integers cannot be compared
    if values_are_readable(weights) and not bool(((weights >= 0) & (weights < math.inf)).all()):
        raise ValueError("anchor_weights: expected finite numbers of at least 0, got a negative, infinite or NaN value")
    return weights.detach().repeat_interleave(anchors.views)


def _check_device(name: str, tensor: Tensor, anchors: Rows) -> None:
    if tensor.device != anchors.embeddings.device:
        raise ValueError(f"{name}: expected on {anchors.embeddings.device} like embeddings, got {tensor.device}")


def _is_dense(implementation: Implementation, queries: Tensor, keys: Tensor) -> bool:
    if len(keys) == 0:  # there is nothing to divide into tiles
        return True
    transformed = not torch.compiler.is_compiling() and in_function_transform()
    if implementation == "tiled" and transformed:
        raise RuntimeError("implementation: expected 'dense' or 'auto' under torch.func, got 'tiled'")
    if implementation != "auto":
        return implementation == "dense"
    if is_traced_or_transformed():
        return True
    return len(queries) * len(keys) <= MAX_DENSE_PAIRS.get(queries.device.type, MAX_DENSE_PAIRS["cuda"])


def _as_keys(
    embeddings: Tensor,
    anchors: Rows,
    keys: Tensor,
    labels: LabelTensors | None,
    labeled: Labeled | None,
    items: Tensor | None,
    groups: Tensor | None,
    target: Target,
) -> Rows:
    """Check the keys of `semi_supcon_loss`, and convert them to a batch.

    Keys without ids are views of the items of the anchors, in the same order. `anchors` is the batch of `embeddings`,
    and the arguments from `labels` to `groups` are those of the keys.
    """
    if not isinstance(keys, Tensor):
        raise TypeError(f"keys: expected a tensor, got {type(keys).__name__}")
    if items is not None:
        rows = as_rows(keys, labels, labeled, items, target, "key", groups)
        check_same_signals(anchors, rows, "key_labels")
        if (anchors.groups is None) != (groups is None):
            given, missing = ("key_groups", "groups") if anchors.groups is None else ("groups", "key_groups")
            raise ValueError(f"{missing}: expected ids of groups, because {given} was given, got None")
    else:
        if labels is not None or labeled is not None or groups is not None:
            raise ValueError("key_items: expected item ids, because the keys have labels or groups, got None")
        if keys.dim() != embeddings.dim() or len(keys) != len(embeddings):
            raise ValueError(
                f"key_items: expected item ids, because the keys {tuple(keys.shape)} do not have the form and the "
                f"number of items of the embeddings {tuple(embeddings.shape)}, got None"
            )
        rows = as_rows(keys, anchors.labels, anchors.labeled, anchors.items, target, "key", anchors.groups)
    if rows.embeddings.shape[1] != anchors.embeddings.shape[1]:
        raise ValueError(f"keys: expected dim {anchors.embeddings.shape[1]}, got {rows.embeddings.shape[1]}")
    return rows
