"""Base class of targets, with checks of labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode

LabelTensors: TypeAlias = Tensor | dict[str, Tensor]
"""Label rows (N, ...), or several signals by name, each (N, ...)."""

Labeled: TypeAlias = Tensor | dict[str, Tensor]
"""Mask of the rows whose labels are known: bool (N,), or one mask for each signal."""

TargetFunction: TypeAlias = Callable[[Any, Any], Tensor]
"""Any function of two label blocks: `(rows, ...), (columns, ...) -> (rows, columns)`."""


class Target(nn.Module, ABC):
    """Base class of targets. A target is a module, so that its buffers are moved to a device with the loss.

    Subclasses implement `forward(rows, columns)` and may extend `check`. A plain function with the signature of
    `forward` is a target too. No gradient flows through target weights.
    """

    takes_dicts = False
    """Whether labels may be a dict of signals."""

    @abstractmethod
    def forward(self, rows: Any, columns: Any) -> Tensor:
        """Compute the weights of a block of pairs.

        Args:
            rows: labels of the anchors, (R, ...).
            columns: labels of the contrasts, (C, ...).

        Returns:
            (R, C) weights in [0, 1]. A pair with an unlabeled item can have any value, because the loss does not read
            it.
        """

    def forward_in(self, rows: Any, columns: Any, dtype: torch.dtype) -> Tensor:
        """Compute the weights of a block of pairs in a given precision or a higher one.

        Override this method if `forward` computes with real numbers. Other targets do not need the precision.

        Args:
            rows: as for `forward`.
            columns: as for `forward`.
            dtype: float32 or float64, the precision of the loss.
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
        """Compute the weights of a block of pairs, 0 where the label of either item is unknown.

        Args:
            rows: labels of the anchors, (R, ...).
            columns: labels of the contrasts, (C, ...).
            rows_known: bool (R,), True where the labels are known. None: all are.
            columns_known: bool (C,), or None together with `rows_known`.
            dtype: float32 or float64, the precision of the loss.

        Returns:
            (R, C) weights in [0, 1], in new memory.
        """
        if rows_known is None or columns_known is None:
            return self.forward_in(rows, columns, dtype)
        if isinstance(rows_known, dict) or isinstance(columns_known, dict):
            raise TypeError(f"labeled: {type(self).__name__} expects one mask, bool (items,), got one for each signal")
        # `where`, not a product: unknown labels may be NaN.
        return torch.where(rows_known[:, None] & columns_known[None, :], self.forward_in(rows, columns, dtype), 0)

    def known(self, labels: Any, labeled: Labeled | None) -> Labeled | None:
        """Return the mask of the rows whose labels are known, for targets where a label value means "unknown".

        Args:
            labels: (N, ...), one row an item.
            labeled: mask that the caller passed: (N,) bool, a dict of masks, or None if all are known.

        Returns:
            The mask that the loss uses. By default it is `labeled`.
        """
        return labeled

    def ignored(
        self, rows: LabelTensors, columns: LabelTensors, rows_known: Labeled | None, columns_known: Labeled | None
    ) -> Tensor | None:
        """Return the pairs of a block that the loss ignores: they are neither positive nor negative.

        Args:
            rows: labels of the anchors, (R, ...).
            columns: labels of the contrasts, (C, ...).
            rows_known: bool (R,), True where the labels are known. None: all are.
            columns_known: bool (C,), or None together with `rows_known`.

        Returns:
            Bool (R, C), True where a pair is ignored, whatever its weight. None: no pair is ignored.
        """
        return None

    def check(self, labels: Any, labeled: Any) -> None:
        """Raise if the labels do not fit this target.

        Shapes and dtypes are always checked. Values are checked only where the host does not have to wait for a device.

        Args:
            labels: (N, ...), one row an item.
            labeled: (N,) bool, True where the labels are known. None: all are.
        """


class FunctionTarget(Target):
    """Target that calls a plain function of two label blocks. The losses wrap functions in it automatically.

    Args:
        function: `(rows, ...), (columns, ...) -> (rows, columns)`, weights in [0, 1].

    Raises:
        ValueError: when called, if the function returns another shape or, on the CPU, weights outside of 0 to 1 or NaN
            for labels that are known.
    """

    takes_dicts = True

    def __init__(self, function: TargetFunction) -> None:
        super().__init__()
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"target: expected a Target or a function of two label blocks, got {function!r}")
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
            found = found.clone()  # the function may own this memory
        if values_are_readable(found) and not bool(((found >= 0) & (found <= 1 + 1e-6)).all()):
            raise ValueError(
                "target: expected weights from 0 to 1 for known labels, got values outside of this range or NaN"
            )
        return found

    def extra_repr(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


def as_target(target: Target | TargetFunction, argument: str = "target") -> Target:
    """Return the target, or a function as a target.

    Raises:
        TypeError: for anything else; it names the argument.
    """
    if not isinstance(target, Target) and not callable(target):
        raise TypeError(f"{argument}: expected a target or a function of two label blocks, got {target!r}")
    return target if isinstance(target, Target) else FunctionTarget(target)


def count(labels: LabelTensors) -> int:
    """Return the number of rows of the labels."""
    return len(next(iter(labels.values())) if isinstance(labels, dict) else labels)


def select_known_rows(labels: Tensor, labeled: Tensor | None) -> Tensor:
    """Return the labels of the rows that are known."""
    return labels if labeled is None else labels[labeled]


def values_are_readable(tensor: Tensor) -> bool:
    """Return whether values can be read without cost: on the CPU, and not during tracing."""
    return tensor.device.type == "cpu" and not is_traced() and not isinstance(tensor, FakeTensor)


def is_traced() -> bool:
    """Return whether tensors may have no values: in compile, export, torch.func, make_fx, jit.trace or a fake mode."""
    if torch.compiler.is_compiling():
        return True
    return in_function_transform() or torch.jit.is_tracing() or get_proxy_mode() is not None or in_fake_mode()


def in_function_transform() -> bool:
    """Return whether a transform of `torch.func` is active."""
    return torch._C._are_functorch_transforms_active()


def in_fake_mode() -> bool:
    """Return whether a fake mode of PyTorch is active, in which tensors have no values."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None


def as_numbers(name: str, values: Any) -> Tensor:
    """Return real numbers as a tensor.

    Raises:
        TypeError: for anything else.
    """
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected a tensor of numbers, got {type(values).__name__}") from None
    if found.is_complex():
        raise TypeError(f"{name}: expected real numbers, got {found.dtype}")
    return found


def check_real(name: str, labels: Tensor) -> None:
    """Raise TypeError for labels that are complex."""
    if labels.is_complex():
        raise TypeError(f"labels: {name} expects real numbers, got {labels.dtype}")


def check_vectors(name: str, labels: Tensor, what: str) -> None:
    """Raise ValueError unless labels are one number per item, TypeError unless they are a tensor."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels: {name} expects a tensor, got {type(labels).__name__}")
    if labels.dim() != 1:
        raise ValueError(f"labels: {name} expects {what}, shape (items,), got {tuple(labels.shape)}")


def check_integers(name: str, labels: Tensor, what: str) -> None:
    """Raise TypeError unless labels are integers."""
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise TypeError(f"labels: {name} expects integer {what}, got {labels.dtype}")


def check_multi_hot(name: str, labels: Tensor, labeled: Tensor | None) -> None:
    """Raise ValueError for labels that are not 2-D, or not 0 or 1 in a labeled row, TypeError for complex ones."""
    if labels.dim() != 2:
        raise ValueError(f"labels: {name} expects multi-hot rows, shape (items, classes), got {tuple(labels.shape)}")
    check_real(name, labels)
    if values_are_readable(labels):
        known = select_known_rows(labels, labeled)
        if not bool(((known == 0) | (known == 1)).all()):
            raise ValueError(f"labels: {name} expects 0 or 1 in every labeled row, got other values")
