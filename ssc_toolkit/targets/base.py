"""Base class of targets, and checks of labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from ssc_toolkit.checks import as_tensor
from ssc_toolkit.tracing import is_traced_or_transformed

LabelTensors: TypeAlias = Tensor | dict[str, Tensor]
"""Labels of N items, (N, ...), or a dict of several kinds of labels (signals) by name, (N, ...) each."""

Labeled: TypeAlias = Tensor | dict[str, Tensor]
"""Bool mask (N,) of N items, True where the labels are known, or a dict with one mask per signal."""

TargetFunction: TypeAlias = Callable[[Any, Any], Tensor]
"""Function of the labels (R, ...) of R anchors and (C, ...) of C contrasts that returns their weights, (R, C)."""


class Target(nn.Module, ABC):
    """Base class of targets, which compute the weights of pairs of items from their labels.

    Subclasses implement `forward` and can extend `check`. A target is a module, so its buffers are moved to a device
    together with the loss. No gradient flows through the weights.
    """

    takes_dicts = False
    """Whether this class of targets accepts labels as a dict of several kinds of labels (signals)."""

    @abstractmethod
    def forward(self, rows: Any, columns: Any) -> Tensor:
        """Compute the weights of all pairs of R anchors and C contrasts.

        Args:
            rows: labels of the anchors, (R, ...).
            columns: labels of the contrasts, (C, ...).

        Returns:
            (R, C) weights in [0, 1]. The loss ignores the weights of pairs with an unlabeled item, which can have any
            value.
        """

    def forward_in(self, rows: Any, columns: Any, dtype: torch.dtype) -> Tensor:
        """Compute the weights of all pairs of R anchors and C contrasts, with at least the precision of `dtype`.

        Override this method if the weights are subject to rounding. By default it calls `forward`.

        Args:
            rows: as for `forward`.
            columns: as for `forward`.
            dtype: float32 or float64, the precision of the loss.

        Returns:
            (R, C) weights in [0, 1], as from `forward`.
        """
        return self(rows, columns)

    def weights(
        self,
        rows: LabelTensors,
        columns: LabelTensors,
        rows_known: Labeled | None,
        columns_known: Labeled | None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Compute the weights of all pairs of R anchors and C contrasts, with 0 for pairs with an unlabeled item.

        Args:
            rows: labels of the anchors, (R, ...).
            columns: labels of the contrasts, (C, ...).
            rows_known: bool (R,), True where the labels are known. None: all labels are known.
            columns_known: bool (C,), as for `rows_known`. Either both masks are None or neither.
            dtype: float32 or float64, the precision of the loss.

        Returns:
            (R, C) weights in [0, 1], as a new tensor.
        """
        if rows_known is None or columns_known is None:
            return self.forward_in(rows, columns, dtype)
        if isinstance(rows_known, dict) or isinstance(columns_known, dict):
            raise TypeError(f"labeled: {type(self).__name__} expects one mask, bool (items,), got one for each signal")
        # `where`, not a product: unknown labels may be NaN.
        return torch.where(rows_known[:, None] & columns_known[None, :], self.forward_in(rows, columns, dtype), 0)

    def known(self, labels: Any, labeled: Labeled | None) -> Labeled | None:
        """Return the mask of known labels. Override this method if a value of the labels means "unknown".

        Args:
            labels: labels of N items, (N, ...).
            labeled: mask that the user passed to the loss: bool (N,), a dict of masks, or None if all labels are known.

        Returns:
            Mask that the loss uses, by default `labeled`.
        """
        return labeled

    def ignored(
        self, rows: LabelTensors, columns: LabelTensors, rows_known: Labeled | None, columns_known: Labeled | None
    ) -> Tensor | None:
        """Return which pairs of R anchors and C contrasts the loss ignores, as neither positive nor negative.

        Args:
            rows: labels of the anchors, (R, ...).
            columns: labels of the contrasts, (C, ...).
            rows_known: bool (R,), True where the labels are known. None: all labels are known.
            columns_known: bool (C,), as for `rows_known`. Either both masks are None or neither.

        Returns:
            Bool (R, C), True where a pair is ignored, independent of its weight. None: no pair is ignored.
        """
        return None

    def check(self, labels: Any, labeled: Any) -> None:
        """Raise ValueError or TypeError if the target does not accept the labels.

        Shapes and dtypes are always checked. Values are checked only on the CPU, because to read values from another
        device takes time.

        Args:
            labels: labels of N items, (N, ...), or a dict of them.
            labeled: bool (N,), True where the labels are known, or a dict of masks. None: all labels are known.
        """


class FunctionTarget(Target):
    """Target that calls a plain function. The losses convert functions to this class automatically.

    Args:
        function: function of the labels (R, ...) of R anchors and (C, ...) of C contrasts that returns the weights of
            their pairs, (R, C), in [0, 1].

    Raises:
        ValueError: when the target is called, if the function returns another shape or, on the CPU, a weight for known
            labels that is NaN or outside of 0 to 1.
    """

    takes_dicts = True

    def __init__(self, function: TargetFunction) -> None:
        super().__init__()
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"target: expected a Target or a function of two tensors of labels, got {function!r}")
        self.function = function

    def forward(self, rows: Any, columns: Any) -> Tensor:
        expected = (count(rows), count(columns))
        found = self.function(rows, columns)
        if not isinstance(found, Tensor) or found.is_complex():
            kind = found.dtype if isinstance(found, Tensor) else f"{type(found).__module__}.{type(found).__name__}"
            raise TypeError(f"target: expected a function that returns a torch.Tensor of real weights, got {kind}")
        if tuple(found.shape) != expected:
            raise ValueError(f"target: expected weights of shape {expected}, got {tuple(found.shape)}")
        return found

    def weights(
        self,
        rows: LabelTensors,
        columns: LabelTensors,
        rows_known: Labeled | None,
        columns_known: Labeled | None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        found = super().weights(rows, columns, rows_known, columns_known, dtype)
        if rows_known is None:
            found = found.clone()  # the function may return a tensor that it stores
        if values_are_readable(found) and not bool(((found >= 0) & (found <= 1 + 1e-6)).all()):
            raise ValueError(
                "target: expected weights from 0 to 1 for known labels, got values outside of this range or NaN"
            )
        return found

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def as_target(target: Target | TargetFunction, argument: str = "target") -> Target:
    """Return a target unchanged, or convert a function to a target.

    Raises:
        TypeError: if `target` is neither a target nor callable. The message begins with `argument`.
    """
    if not isinstance(target, Target) and not callable(target):
        raise TypeError(f"{argument}: expected a target or a function of two tensors of labels, got {target!r}")
    return target if isinstance(target, Target) else FunctionTarget(target)


def count(labels: LabelTensors) -> int:
    """Return the number of items in labels, which are one tensor or a dict with one tensor per kind of label."""
    return len(next(iter(labels.values())) if isinstance(labels, dict) else labels)


def select_known_rows(labels: Tensor, labeled: Tensor | None) -> Tensor:
    """Return the rows of `labels` where the bool mask `labeled` is True, or all rows if `labeled` is None."""
    return labels if labeled is None else labels[labeled]


def values_are_readable(tensor: Tensor) -> bool:
    """Return whether Python can read the values of a tensor at once: it is on the CPU, and PyTorch does not trace."""
    return tensor.device.type == "cpu" and not is_traced_or_transformed() and not isinstance(tensor, FakeTensor)


def as_numbers(name: str, values: Any) -> Tensor:
    """Convert an array, list or tensor of real numbers to a tensor.

    Raises:
        TypeError: if the values are not real numbers. The message begins with `name`.
    """
    found = as_tensor(name, values)
    if found.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {found.dtype}")
    return found


def check_real(name: str, labels: Tensor) -> None:
    """Raise TypeError if labels are complex. `name` is the class of the target in the message."""
    if labels.is_complex():
        raise TypeError(f"labels: {name} expects real numbers, got {labels.dtype}")


def check_vectors(name: str, labels: Tensor, what: str) -> None:
    """Raise TypeError unless labels are a tensor, and ValueError unless the tensor has one dimension.

    In the message, `name` is the class of the target, and `what` are the expected labels.
    """
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels: {name} expects a tensor, got {type(labels).__name__}")
    if labels.dim() != 1:
        raise ValueError(f"labels: {name} expects {what}, shape (items,), got {tuple(labels.shape)}")


def check_integers(name: str, labels: Tensor, what: str) -> None:
    """Raise TypeError unless labels are integers. In the message, `name` is the target, and `what` are the labels."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels: {name} expects integer {what}, got {labels.dtype}")


def known_rows(labels: Tensor, labeled: Tensor | None) -> Tensor | None:
    """Return the mask `labeled` of known labels (N, classes), in which rows that contain NaN are unknown."""
    if not labels.is_floating_point():
        return labeled
    has_numbers = ~labels.isnan().flatten(1).any(dim=1)
    return has_numbers if labeled is None else labeled & has_numbers


def check_class_rows(name: str, labels: Tensor, labeled: Tensor | None, *, are_probabilities: bool) -> None:
    """Raise ValueError unless labels are rows (items, classes) with valid values, TypeError if they are complex.

    Args:
        name: class of the target in the message.
        labels: labels of the items. Rows that contain NaN are unknown.
        labeled: bool (items,), True for the rows whose values are checked. None: all rows.
        are_probabilities: whether the values may be numbers from 0 to 1. Otherwise they must be 0 or 1.
    """
    what = "probabilities" if are_probabilities else "multi-hot rows"
    if labels.dim() != 2:
        raise ValueError(f"labels: {name} expects {what}, shape (items, classes), got {tuple(labels.shape)}")
    check_real(name, labels)
    if values_are_readable(labels):
        known = select_known_rows(labels, known_rows(labels, labeled))
        valid = (known >= 0) & (known <= 1) if are_probabilities else (known == 0) | (known == 1)
        if not bool(valid.all()):
            values = "0 to 1" if are_probabilities else "0 or 1"
            raise ValueError(f"labels: {name} expects {values} in every labeled row, got other values")
