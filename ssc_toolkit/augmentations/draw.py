"""What a transform drew for each example of a batch: kept, moved, indexed, stored, replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draw:
    """Random numbers of one transform for a batch of N examples, and those of its children.

    Attributes:
        transform: class name of the transform that drew.
        applied: (N,) bool, whether the transform touches the example.
        values: parameters by name, each (N, ...); drawn for every example, touched or not.
        children: draws of the members of a container.
        chosen: (K,) row numbers of the touched examples. Found on the CPU when the draw is made, so
            that their number is known without asking the device.
    """

    transform: str
    applied: Tensor
    values: Mapping[str, Tensor] = field(default_factory=dict)
    children: tuple[Draw, ...] = ()
    chosen: Tensor = None  # type: ignore[assignment]  # always set in __post_init__

    def __post_init__(self) -> None:
        if self.chosen is None:
            object.__setattr__(self, "chosen", self.applied.nonzero()[:, 0])

    def __len__(self) -> int:
        return len(self.applied)

    def __getitem__(self, index: int | slice | Tensor) -> Draw:
        """Draw of some of the examples; a single index keeps the batch axis, with length 1."""
        rows = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Draw(
            self.transform,
            self.applied[rows],
            {name: value[rows] for name, value in self.values.items()},
            tuple(child[rows] for child in self.children),
        )

    def to(self, device: torch.device | str) -> Draw:
        """The same draw with its tensors on another device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Draw(
            self.transform,
            move(self.applied),
            {name: move(value) for name, value in self.values.items()},
            tuple(child.to(device) for child in self.children),
            move(self.chosen),
        )

    def gated(self, allowed: Tensor) -> Draw:
        """The same draw, applied only where `allowed` (N,) is True too; children included."""
        children = tuple(child.gated(allowed) for child in self.children)
        return Draw(self.transform, self.applied & allowed, self.values, children)

    def state_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and tensors, fit for `torch.save` and `weights_only` loading."""
        return {
            "transform": self.transform,
            "applied": self.applied,
            "values": dict(self.values),
            "children": [child.state_dict() for child in self.children],
        }

    @staticmethod
    def from_state_dict(state: Mapping[str, Any]) -> Draw:
        """The draw that `state_dict` described."""
        return Draw(
            state["transform"],
            state["applied"],
            dict(state["values"]),
            tuple(Draw.from_state_dict(child) for child in state["children"]),
        )

    def describe(self) -> list[str]:
        """One line an example: the transforms that touch it, with their parameters."""
        return ["; ".join(self._touches(row)) or "unchanged" for row in range(len(self))]

    def _touches(self, row: int) -> list[str]:
        if not self.applied[row]:
            return []
        if self.children:
            return [line for child in self.children for line in child._touches(row)]
        values = ", ".join(f"{name}={_readable(value[row])}" for name, value in self.values.items())
        return [f"{self.transform}({values})"]


def _readable(value: Tensor) -> str:
    if value.dim():
        return "[" + ", ".join(_readable(element) for element in value) + "]"
    return f"{value.item():.4g}" if value.is_floating_point() else str(value.item())
