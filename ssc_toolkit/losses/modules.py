"""Contrastive losses as modules that store their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.losses.queue import ContrastQueue
from ssc_toolkit.losses.settings import Denominator, Implementation, LossSettings, Reduction
from ssc_toolkit.losses.temperature import LearnableTemperature, as_setting, read_temperature
from ssc_toolkit.targets import SameClass, Target
from ssc_toolkit.targets.base import Labeled, LabelTensors, TargetFunction, as_target

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class SemiSupConLoss(nn.Module):
    r"""Semi-supervised contrastive loss (Guinot et al. 2024, arXiv 2407.13840).

    Every view of every item is an anchor. Let z be the embeddings scaled to length 1, \(\tau\) the temperature, and
    \(s_{ij} = z_i \cdot z_j / \tau\). The loss of anchor i is

    $$L_i = \log \sum_{k \neq i} e^{s_{ik}} - \frac{1}{W_i} \sum_j w_{ij} s_{ij},
    \qquad W_i = \sum_j w_{ij}$$

    where \(w_{ij}\) is 1 for two views of one item, the weight that the target computes for two labeled items, and 0
    for other pairs and for i = j. If no item is labeled, this is NT-Xent. If every item has a class, it is SupCon. The
    docstring of `ssc_toolkit.losses.semi_supcon_loss` has the equations for the other options.

    Args:
        temperature: positive number that divides the cosine similarities, or a `LearnableTemperature`.
        target: target, or a function of the labels of R anchors, (R, ...), and C contrasts, (C, ...), that computes the
            weights (R, C) of their pairs; `SameClass()` by default.
        reduction: "mean" over the anchors with positives (\(W_i > 0\)), "sum" over all anchors, or "none" for one loss
            per anchor.
        denominator: "all": the first term of the loss sums over all other rows k. "negatives": it sums over those with
            \(w_{ik} = 0\) only (decoupled contrastive learning; Yeh et al. 2022, arXiv 2110.06848).
        implementation: "auto", "dense" or "tiled". All compute the same value and gradient; "tiled" uses less memory.
        gather: whether the contrasts are the rows of all processes. "mean" and "sum" then return the loss of the whole
            batch on every process, with a gradient that is correct after the averaging of DistributedDataParallel.
            Each process waits until all processes compute the loss.
        label_weight: factor of the weights that the target computes, at least 0. Views of one item keep the weight 1.
        beta: concentration of the hard negatives (Robinson et al. 2021, arXiv 2010.04592), at least 0.
        tau_plus: probability that a negative is in fact a positive, at least 0 and below 1.
        sigma: width of the weighting of positives (Yeh et al. 2022), above 0. None: no weighting.
        process_group: processes whose rows `gather` uses; all processes by default.

    Shape:
        - embeddings: (items, views, dim), or (N, dim) with one row per view and `items`, `labels` or both
        - labels: (items,) or (items, ...) as the target requires, or (N, ...); for a target of several kinds of labels
          (signals), a dict with one tensor per signal
        - labeled: bool (items,) or (N,), True where the labels are known, or a dict with one mask per signal
        - items: integer ids, (items,) or (N,); rows with the same id are views of one item
        - output: scalar, or for reduction="none" (items, views) or (N,)

    Raises:
        ValueError: if a shape or an option is invalid, the temperature is not positive, or the target does not accept
            the labels.
        TypeError: if `embeddings` are not floating point, `labeled` or `ignored` is not bool, or ids are not integers.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.targets import SharedLabels
        >>> criterion = SemiSupConLoss(temperature=0.1, target=SharedLabels(minimum=1))
        >>> embeddings = torch.randn(8, 2, 16, requires_grad=True)     # (items, views, dim)
        >>> tags = torch.randint(0, 2, (8, 5))                         # (items, classes)
        >>> known = torch.arange(8) < 4                                # the rest is unlabeled
        >>> criterion(embeddings, labels=tags, labeled=known).backward()
    """

    def __init__(
        self,
        temperature: float | LearnableTemperature = 0.1,
        target: Target | TargetFunction | None = None,
        reduction: Reduction = "mean",
        denominator: Denominator = "all",
        implementation: Implementation = "auto",
        gather: bool = False,
        *,
        label_weight: float = 1.0,
        beta: float = 0.0,
        tau_plus: float = 0.0,
        sigma: float | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__()
        target = SameClass() if target is None else as_target(target)
        settings = LossSettings(
            read_temperature(temperature),
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
        for name, value in (settings._asdict() | {"temperature": as_setting(temperature)}).items():
            setattr(self, name, value)  # each setting is an attribute with its name
        self.queue: ContrastQueue | None = None  # set by `CrossBatchMemory` while it calls the loss

    def forward(
        self,
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
    ) -> Tensor:
        """Compute the loss of a batch, a scalar unless `reduction` is "none".

        Arguments and errors are those of the function `semi_supcon_loss`.
        """
        return semi_supcon_loss(
            embeddings,
            labels,
            labeled=labeled,
            items=items,
            keys=keys,
            key_labels=key_labels,
            key_labeled=key_labeled,
            key_items=key_items,
            groups=groups,
            key_groups=key_groups,
            ignored=ignored,
            anchor_weights=anchor_weights,
            **self.settings(),
        )

    def settings(self) -> dict[str, Any]:
        """Return the settings of this module as keyword arguments of the function `semi_supcon_loss`."""
        settings = {name: getattr(self, name) for name in LossSettings._fields}
        return settings | {"temperature": read_temperature(settings["temperature"]), "queue": self.queue}

    def extra_repr(self) -> str:
        fixed = "" if isinstance(self.temperature, nn.Module) else f"temperature={self.temperature}, "
        weighting = {"label_weight": 1.0, "beta": 0.0, "tau_plus": 0.0, "sigma": None}
        chosen = [
            f", {name}={getattr(self, name)}" for name, usual in weighting.items() if getattr(self, name) != usual
        ]
        return (
            f"{fixed}reduction={self.reduction!r}, denominator={self.denominator!r}, "
            f"implementation={self.implementation!r}, gather={self.gather}{''.join(chosen)}"
        )


class SupConLoss(SemiSupConLoss):
    r"""Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, eq. 2).

    Let z be the embeddings scaled to length 1, \(\tau\) the temperature, \(s_{ij} = z_i \cdot z_j / \tau\), and P(i)
    all other views of items with the class of anchor i. The loss of anchor i is

    $$L_i = -\frac{1}{|P(i)|} \sum_{p \in P(i)} \log \frac{e^{s_{ip}}}{\sum_{k \neq i} e^{s_{ik}}}$$

    This class computes the same as `SemiSupConLoss` and has the same arguments and errors. An item for which `labeled`
    is False is treated as the only item of its class. Without labels, the loss is `NTXentLoss`.

    Shape:
        - embeddings: (items, views, dim), or (N, dim) with one row per view
        - labels: class indices, (items,) or (N,)
        - output: scalar, or for reduction="none" (items, views) or (N,)

    Raises:
        ValueError: if a shape is invalid, or a labeled item has a negative class index.
        TypeError: if the embeddings are not floating point, or the labels are not integers.

    Examples:
        >>> import torch
        >>> loss = SupConLoss(temperature=0.1)(torch.randn(8, 2, 16), labels=torch.arange(8) % 3)
    """


class NTXentLoss(SemiSupConLoss):
    r"""Normalized temperature-scaled cross entropy (SimCLR, Chen et al. 2020, arXiv 2002.05709).

    Let z be the embeddings scaled to length 1, \(\tau\) the temperature, \(s_{ij} = z_i \cdot z_j / \tau\), and j(i)
    the other view of the item of anchor i. The loss of anchor i is

    $$L_i = -\log \frac{e^{s_{i j(i)}}}{\sum_{k \neq i} e^{s_{ik}}}$$

    With more than two views, the loss of an anchor is the mean over the other views of its item. The loss uses no
    labels. The settings are those of `SemiSupConLoss` without `target` and `label_weight`. With `keys` from a second
    encoder, it is the InfoNCE loss. With `denominator="negatives"` and `sigma`, it is the weighted decoupled loss, DCLW
    (Yeh et al. 2022, arXiv 2110.06848).

    Shape:
        - embeddings: (items, views, dim), or (N, dim) with `items`; (items, dim) if `second_views` is passed
        - second_views: (items, dim)
        - output: scalar, or for reduction="none" (items, views) or (N,)

    Raises:
        ValueError: if a shape is invalid.
        TypeError: if the embeddings are not floating point, for example if labels are passed as `second_views`.

    Examples:
        >>> import torch
        >>> views = torch.randn(8, 2, 16)
        >>> loss = NTXentLoss(temperature=0.1)(views)
        >>> loss == NTXentLoss(temperature=0.1)(views[:, 0], views[:, 1])
        tensor(True)
    """

    def __init__(
        self,
        temperature: float | LearnableTemperature = 0.1,
        reduction: Reduction = "mean",
        denominator: Denominator = "all",
        implementation: Implementation = "auto",
        gather: bool = False,
        *,
        beta: float = 0.0,
        tau_plus: float = 0.0,
        sigma: float | None = None,
        process_group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(
            temperature,
            None,
            reduction,
            denominator,
            implementation,
            gather,
            beta=beta,
            tau_plus=tau_plus,
            sigma=sigma,
            process_group=process_group,
        )

    def forward(  # type: ignore[override]  # no labels here
        self,
        embeddings: Tensor,
        second_views: Tensor | None = None,
        *,
        items: Tensor | None = None,
        keys: Tensor | None = None,
        key_items: Tensor | None = None,
        groups: Tensor | None = None,
        key_groups: Tensor | None = None,
        ignored: Tensor | None = None,
        anchor_weights: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of a batch without labels. Errors are those of `semi_supcon_loss`.

        Args:
            embeddings: as for `semi_supcon_loss`. If `second_views` is passed, embeddings of the first view of each
                item, (items, dim).
            second_views: embeddings of the second view of each item, (items, dim). `NTXentLoss()(first, second)` equals
                `NTXentLoss()(torch.stack([first, second], dim=1))`.
            items: as for `semi_supcon_loss`.
            keys: as for `semi_supcon_loss`.
            key_items: as for `semi_supcon_loss`.
            groups: as for `semi_supcon_loss`.
            key_groups: as for `semi_supcon_loss`.
            ignored: as for `semi_supcon_loss`.
            anchor_weights: as for `semi_supcon_loss`.

        Returns:
            A scalar, or for reduction="none" the loss of each view, (items, views) or (N,).
        """
        if second_views is not None:
            embeddings = _stacked(embeddings, second_views)
        return super().forward(
            embeddings,
            items=items,
            keys=keys,
            key_items=key_items,
            groups=groups,
            key_groups=key_groups,
            ignored=ignored,
            anchor_weights=anchor_weights,
        )


def _stacked(first: Tensor, second: Tensor) -> Tensor:
    """Check and stack the first and second views of the items, both (items, dim), to (items, 2, dim)."""
    for name, views in (("embeddings", first), ("second_views", second)):
        if not isinstance(views, Tensor) or not views.is_floating_point() or views.dim() != 2:
            kind = f"{views.dtype} {tuple(views.shape)}" if isinstance(views, Tensor) else type(views).__name__
            raise TypeError(
                f"{name}: expected the embeddings of a view, floating point (items, dim), got {kind}; NTXentLoss uses "
                "no labels, SemiSupConLoss does"
            )
    if first.shape != second.shape:
        raise ValueError(
            f"second_views: expected shape {tuple(first.shape)} like embeddings, got {tuple(second.shape)}"
        )
    return torch.stack([first, second], dim=1)
