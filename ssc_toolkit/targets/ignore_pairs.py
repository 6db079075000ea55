"""Target that makes the loss ignore some pairs, as neither positive nor negative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.targets.base import Labeled, LabelTensors, Target, TargetFunction, as_target, count
from ssc_toolkit.targets.combined import MaxTarget


class IgnorePairs(Target):
    r"""Target with a second target that selects pairs for the loss to ignore.

    Ignored pairs are neither positive nor negative. Use this target if the labels of some pairs do not show whether the
    items are similar. For example, two tracks of one album can sound similar because of their production, not their
    genre. The weight of an ignored pair is 0, and the loss of anchor i leaves the pair out of its denominator. With s,
    w and W as in `SemiSupConLoss`:

    $$L_i = \log \sum_{k \neq i,\; k \text{ not ignored}} e^{s_{ik}} - \frac{1}{W_i} \sum_j w_{ij} s_{ij}$$

    Views of one item are never ignored. A pair is not ignored if the labels that `ignored` uses are unknown for one of
    its items.

    Args:
        target: computes the weights of the pairs that are not ignored: a target, a function of two tensors of labels,
            or a mapping of signals to targets, as for `MaxTarget`. None: only views of one item are positives.
        ignored: selects the pairs to ignore: a target, a function of two tensors of labels, or a mapping of signals to
            targets. A pair is ignored if its weight by `ignored` is above 0.

    Shape:
        - rows: labels of R anchors, (R, ...), or a dict of such tensors if you passed a mapping
        - columns: labels of C contrasts, (C, ...), or a dict of such tensors
        - output: weights (R, C)

    Examples:
        >>> import torch
        >>> from ssc_toolkit.losses import SemiSupConLoss
        >>> from ssc_toolkit.targets import SameClass
        >>> target = IgnorePairs({"genre": SameClass()}, ignored={"artist": SameClass()})
        >>> labels = {"genre": torch.tensor([0, 0, 0, 1]), "artist": torch.tensor([5, 5, 6, 7])}
        >>> target(labels, labels)
        tensor([[0., 0., 1., 0.],
                [0., 0., 1., 0.],
                [1., 1., 0., 0.],
                [0., 0., 0., 0.]])
        >>> loss = SemiSupConLoss(target=target)(torch.randn(4, 2, 16), labels)
    """

    takes_dicts = True

    def __init__(
        self,
        target: Target | TargetFunction | Mapping[str, Target | TargetFunction] | None,
        ignored: Target | TargetFunction | Mapping[str, Target | TargetFunction],
    ) -> None:
        super().__init__()
        self.target = None if target is None else _as_target(target, "target")
        self.rule = _as_target(ignored, "ignored")

    def forward(self, rows: LabelTensors, columns: LabelTensors) -> Tensor:
        weights = self.weights(rows, columns, None, None)
        ignored = self.ignored(rows, columns, None, None)
        assert ignored is not None
        return weights.masked_fill(ignored, 0)

    def weights(
        self,
        rows: LabelTensors,
        columns: LabelTensors,
        rows_known: Labeled | None,
        columns_known: Labeled | None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Compute the weights by the constructor argument `target`, with arguments as for `Target.weights`.

        The loss does not use the weights of ignored pairs.
        """
        if self.target is None:
            return torch.zeros(count(rows), count(columns), device=_device(rows))
        rows, columns, *known = _of_signals(self.target, rows, columns, rows_known, columns_known)
        return self.target.weights(rows, columns, known[0], known[1], dtype)

    def known(self, labels: Any, labeled: Labeled | None) -> Labeled | None:
        """Return the mask of known labels, to which the method `known` of both contained targets is applied."""
        for part in (self.target, self.rule):
            if part is None:
                continue
            own, given = _of_signals(part, labels, labeled)
            found = part.known(own, given)
            if found is given:
                continue
            labeled = {**_masks(labels, labeled), **found} if isinstance(found, dict) else found
        return labeled

    def ignored(
        self, rows: LabelTensors, columns: LabelTensors, rows_known: Labeled | None, columns_known: Labeled | None
    ) -> Tensor:
        """Return a mask of the ignored pairs of R anchors and C contrasts, bool (R, C), as `Target.ignored` does.

        A pair is ignored if the constructor argument `ignored` gives it a weight above 0, or if the constructor
        argument `target` ignores it.
        """
        given = _of_signals(self.rule, rows, columns, rows_known, columns_known)
        ignored = self.rule.weights(*given) > 0
        inner = None
        if self.target is not None:
            inner = self.target.ignored(*_of_signals(self.target, rows, columns, rows_known, columns_known))
        return ignored if inner is None else ignored | inner

    def check(self, labels: Any, labeled: Any) -> None:
        """Raise ValueError or TypeError if the constructor argument `target` or `ignored` does not accept the labels.

        This is also raised if neither of them uses one of the signals in a dict of labels.
        """
        parts = [part for part in (self.target, self.rule) if part is not None]
        names = {name for part in parts for name in getattr(part, "names", ())}
        if names and not isinstance(labels, dict):
            raise TypeError(f"labels: IgnorePairs expects a dict of {sorted(names)}, got {type(labels).__name__}")
        if isinstance(labels, dict) and all(hasattr(part, "names") for part in parts) and set(labels) != names:
            raise ValueError(f"labels: expected the signals {sorted(names)}, got {sorted(labels)}")
        for part in parts:
            if isinstance(labels, dict) and not part.takes_dicts:
                raise TypeError(
                    f"labels: {type(part).__name__} expects a tensor, got a dict; name its signal as in "
                    f"IgnorePairs({{'genre': {type(part).__name__}()}}, ...)"
                )
            part.check(*_of_signals(part, labels, labeled))


def _as_target(given: Target | TargetFunction | Mapping[str, Target | TargetFunction], argument: str) -> Target:
    return MaxTarget(given) if isinstance(given, Mapping) else as_target(given, argument)


def _of_signals(part: Target, *given: Any) -> list[Any]:
    """Select in each dict of `given` the labels or masks of the signals that the target `part` uses.

    Other values are returned unchanged.
    """
    names = getattr(part, "names", None)
    return [
        {name: value[name] for name in names if name in value}
        if names is not None and isinstance(value, dict)
        else value
        for value in given
    ]


def _masks(labels: dict[str, Tensor], labeled: Labeled | None) -> dict[str, Tensor]:
    """Return a dict with one mask of known labels per signal (kind of labels), bool (items,) each."""
    if isinstance(labeled, dict):
        return labeled
    known = torch.ones(count(labels), dtype=torch.bool, device=_device(labels)) if labeled is None else labeled
    return dict.fromkeys(labels, known)


def _device(labels: LabelTensors) -> torch.device:
    return (next(iter(labels.values())) if isinstance(labels, dict) else labels).device
