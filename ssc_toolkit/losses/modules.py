"""The losses as modules that hold their settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.functional import (
    Denominator,
    Implementation,
    Reduction,
    check_process_group,
    check_settings,
    semi_supcon_loss,
)
from ssc_toolkit.losses.queue import ContrastQueue
from ssc_toolkit.losses.temperature import LearnableTemperature, as_setting, value_of
from ssc_toolkit.losses.weighting import check_weighting
from ssc_toolkit.targets import SameClass, Target
from ssc_toolkit.targets.base import Labeled, LabelTensors, TargetFunction, as_target

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class SemiSupConLoss(nn.Module):
    """Semi-supervised contrastive loss; see `ssc_toolkit.losses.semi_supcon_loss`.

    Args:
        temperature: positive number that divides the cosine similarities, or a `LearnableTemperature`.
        target: which labeled items are positives of each other, and how strongly: a target, or a function
            of two label blocks. `SameClass()` by default.
        reduction: "mean" over the anchors that have positives, "sum" or "none".
        denominator: "all", or "negatives" for the decoupled form.
        implementation: "auto", "dense" or "tiled".
        gather: take the contrasts from all processes. "mean" and "sum" then return the whole batch's value on
            every process, with a gradient that is right after DistributedDataParallel's averaging.
        label_weight: factor of the weights that the target gives, next to the weight 1 of views of one item.
        beta: concentration of the hard negatives of Robinson et al. 2021.
        tau_plus: probability that a negative is a positive in truth, of the same.
        sigma: width of the weighting of positives of Yeh et al. 2022.
        process_group: the processes that gather; all of them by default.

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
        check_settings(value_of(temperature), reduction, denominator, implementation)
        check_process_group(process_group, gather)
        self.temperature = as_setting(temperature)
        self.target = SameClass() if target is None else as_target(target)
        self.reduction: Reduction = reduction
        self.denominator: Denominator = denominator
        self.implementation: Implementation = implementation
        self.gather = bool(gather)
        weights = check_weighting(label_weight, beta, tau_plus, sigma)
        self.label_weight, self.beta, self.tau_plus, self.sigma = weights
        self.process_group = process_group
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
        """Loss of a batch; shapes, dtypes and errors as in `semi_supcon_loss`."""
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
        """Keyword arguments of `semi_supcon_loss` that this module holds."""
        return {
            "target": self.target,
            "temperature": value_of(self.temperature),
            "reduction": self.reduction,
            "denominator": self.denominator,
            "implementation": self.implementation,
            "gather": self.gather,
            "label_weight": self.label_weight,
            "beta": self.beta,
            "tau_plus": self.tau_plus,
            "sigma": self.sigma,
            "process_group": self.process_group,
            "queue": self.queue,
        }

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
    """Supervised contrastive loss (Khosla et al. 2020, arXiv 2004.11362, eq. 2): `SemiSupConLoss` by its paper's name.

    It is called with the labels of all items; without labels it is the loss of SimCLR, `NTXentLoss`, as in the authors'
    code. Items that `labeled` leaves out count as classes of their own.

    Examples:
        >>> import torch
        >>> loss = SupConLoss(temperature=0.1)(torch.randn(8, 2, 16), labels=torch.arange(8) % 3)
    """


class NTXentLoss(SemiSupConLoss):
    """Normalized temperature-scaled cross entropy (SimCLR, Chen et al. 2020, arXiv 2002.05709).

    Two views of an item are positives, all else is contrast; no labels. With `keys` from a second encoder it
    is the InfoNCE loss. Settings as of `SemiSupConLoss`, less the target and the weight of labels. With
    `denominator="negatives"` and `sigma` it is the weighted decoupled loss, DCLW (Yeh et al. 2022, arXiv 2110.06848).

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
        """Loss of an unlabeled batch; shapes and errors as in `semi_supcon_loss`.

        Args:
            embeddings: as of `semi_supcon_loss`; with `second_views`, the first views, (items, dim).
            second_views: (items, dim), the second view of each item. `NTXentLoss()(first, second)` equals
                `NTXentLoss()(torch.stack([first, second], dim=1))`.
            items: as of `semi_supcon_loss`.
            keys: as of `semi_supcon_loss`.
            key_items: as of `semi_supcon_loss`.
            groups: as of `semi_supcon_loss`.
            key_groups: as of `semi_supcon_loss`.
            ignored: as of `semi_supcon_loss`.
            anchor_weights: as of `semi_supcon_loss`.
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
    """Two views of each item as (items, views, dim)."""
    for name, views in (("embeddings", first), ("second_views", second)):
        if not isinstance(views, Tensor) or not views.is_floating_point() or views.dim() != 2:
            kind = f"{views.dtype} {tuple(views.shape)}" if isinstance(views, Tensor) else type(views).__name__
            raise TypeError(
                f"{name}: expected the embeddings of a view, floating point (items, dim), got {kind}; NTXentLoss takes "
                "no labels, SemiSupConLoss does"
            )
    if first.shape != second.shape:
        raise ValueError(
            f"second_views: expected shape {tuple(first.shape)} like embeddings, got {tuple(second.shape)}"
        )
    return torch.stack([first, second], dim=1)
