"""Targets that combine several signals (kinds of labels), each of which can be known for some items only."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import check_positive
from ssc_toolkit.targets.base import Labeled, Target, TargetFunction, as_target


class _Combined(Target):
    """Base class of targets that contain one target for each signal (kind of labels), by name.

    Labels are a dict with one tensor per signal.
    """

    takes_dicts = True

    def __init__(self, targets: Mapping[str, Target | TargetFunction]) -> None:
        super().__init__()
        _check_mapping(targets)
        if not targets:
            raise ValueError("targets: expected at least one signal, got none")
        self.names = tuple(targets)
        self.targets = nn.ModuleList(as_target(target) for target in targets.values())

    def forward(self, rows: dict[str, Tensor], columns: dict[str, Tensor]) -> Tensor:
        return self.weights(rows, columns, None, None)

    def forward_in(self, rows: dict[str, Tensor], columns: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
        return self.weights(rows, columns, None, None, dtype)

    def check(self, labels: Any, labeled: Any) -> None:
        """Raise ValueError or TypeError unless labels are a dict with one valid tensor per signal (kind of labels)."""
        if not isinstance(labels, dict):
            raise TypeError(f"labels: {type(self).__name__} expects a dict of {list(self.names)}, got {type(labels)}")
        _check_names("labels", labels, self.names)
        if isinstance(labeled, dict):
            _check_names("labeled", labeled, self.names)
        for name, target in self._signals():
            try:
                target.check(labels[name], _mask(labeled, name))
            except (TypeError, ValueError) as error:
                raise type(error)(f"signal {name!r}: {error}") from error

    def known(self, labels: Any, labeled: Labeled | None) -> Labeled | None:
        """Return the masks of known labels.

        The result is a dict with one mask per signal (kind of labels) if a contained target changes the mask of its
        signal, otherwise `labeled`.
        """
        found = {name: target.known(labels[name], _mask(labeled, name)) for name, target in self._signals()}
        if all(found[name] is _mask(labeled, name) for name in self.names):
            return labeled
        some = next(iter(labels.values()))
        everything = torch.ones(len(some), dtype=torch.bool, device=some.device)
        return {name: everything if mask is None else cast(Tensor, mask) for name, mask in found.items()}

    def weights(
        self,
        rows: Any,
        columns: Any,
        rows_known: Labeled | None,
        columns_known: Labeled | None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Compute the weights of each signal in a common dtype, `dtype` or a more precise one, and combine them."""
        found = [
            target.weights(rows[name], columns[name], _mask(rows_known, name), _mask(columns_known, name), dtype)
            for name, target in self._signals()
        ]
        dtype = functools.reduce(torch.promote_types, (weights.dtype for weights in found), dtype)
        return self._combine([weights.to(dtype) for weights in found])

    @abstractmethod
    def _combine(self, weights: list[Tensor]) -> Tensor:
        """Combine the weights of the signals, (R, C) each, to one weight per pair, (R, C)."""

    def ignored(
        self, rows: Any, columns: Any, rows_known: Labeled | None, columns_known: Labeled | None
    ) -> Tensor | None:
        """Return a mask of the pairs that the target of at least one signal (kind of labels) ignores.

        Arguments are as for `Target.ignored`.
        """
        found = [
            target.ignored(rows[name], columns[name], _mask(rows_known, name), _mask(columns_known, name))
            for name, target in self._signals()
        ]
        masks = [pairs for pairs in found if pairs is not None]
        return functools.reduce(torch.logical_or, masks) if masks else None

    def _signals(self) -> list[tuple[str, Target]]:
        return list(zip(self.names, cast(Iterable[Target], self.targets), strict=True))


class MaxTarget(_Combined):
    """Target that combines several kinds of labels (signals) by the maximum of their weights.

    The maximum is over the signals that are known for both items. If there are none, the weight is 0.

    Args:
        targets: dict with the target of each signal by name. A target can also be a function of two tensors of labels.

    Shape:
        - rows: dict with the labels of R anchors for each signal, (R, ...)
        - columns: dict with the labels of C contrasts for each signal, (C, ...)
        - output: weights (R, C)

    Examples:
        >>> import torch
        >>> from ssc_toolkit.targets import KeySimilarity, SharedLabels
        >>> target = MaxTarget({"tags": SharedLabels(1), "key": KeySimilarity()})
        >>> labels = {"tags": torch.eye(3), "key": torch.tensor([0, 7, 7])}
        >>> target(labels, labels)
        tensor([[1.0000, 0.5000, 0.5000],
                [0.5000, 1.0000, 1.0000],
                [0.5000, 1.0000, 1.0000]])
    """

    def _combine(self, weights: list[Tensor]) -> Tensor:
        return functools.reduce(torch.maximum, weights)


class WeightedSum(_Combined):
    """Target that combines several kinds of labels (signals) by a weighted sum.

    A signal that is unknown for one of the two items contributes 0 to the sum. The weights of the other signals do not
    increase to compensate.

    Args:
        targets: dict with a pair (target, weight) for each signal by name. A target can also be a function of two
            tensors of labels. The weights are positive, and their sum is at most 1.

    Shape:
        - rows: dict with the labels of R anchors for each signal, (R, ...)
        - columns: dict with the labels of C contrasts for each signal, (C, ...)
        - output: weights (R, C)

    Raises:
        ValueError: if a weight is not positive, or the sum of the weights is more than 1.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.targets import SameClass, TempoKernel
        >>> target = WeightedSum({"genre": (SameClass(), 0.75), "tempo": (TempoKernel(0.1), 0.25)})
        >>> labels = {"genre": torch.tensor([0, 0, 1]), "tempo": torch.tensor([120.0, 60.0, 120.0])}
        >>> target(labels, labels)[0]
        tensor([1.0000, 0.7500, 0.2500])
    """

    def __init__(self, targets: Mapping[str, tuple[Target | TargetFunction, float]]) -> None:
        _check_mapping(targets)
        for name, pair in targets.items():
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise TypeError(f"targets: expected a target and its weight for signal {name!r}, got {pair!r}")
        super().__init__({name: target for name, (target, _) in targets.items()})
        self.signal_weights = tuple(
            check_positive(f"targets: weight of signal {name!r}", share) for name, (_, share) in targets.items()
        )
        if sum(self.signal_weights) > 1 + 1e-6:
            raise ValueError(
                f"targets: expected positive weights that sum to at most 1, got {list(self.signal_weights)}"
            )

    def _combine(self, weights: list[Tensor]) -> Tensor:
        shares = [share * own for share, own in zip(self.signal_weights, weights, strict=True)]
        return functools.reduce(torch.add, shares)

    def extra_repr(self) -> str:
        return f"signal_weights={dict(zip(self.names, self.signal_weights, strict=True))}"


def _check_mapping(targets: Any) -> None:
    if not isinstance(targets, Mapping):
        raise TypeError(f"targets: expected a dict of targets by signal, got {type(targets).__name__}")


def _mask(labeled: Labeled | None, name: str) -> Tensor | None:
    return labeled[name] if isinstance(labeled, dict) else labeled


def _check_names(argument: str, found: dict[str, Tensor], expected: tuple[str, ...]) -> None:
    if set(found) != set(expected):
        raise ValueError(f"{argument}: expected the signals {sorted(expected)}, got {sorted(found)}")
