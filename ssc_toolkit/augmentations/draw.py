"""What a transform drew for each example of a batch: kept, moved, indexed, stored, replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 8  # bytes, so that any dtype can be read in place


@dataclass(frozen=True)
class Draw:
    """Random numbers of one transform for a batch of N examples, and those of its children.

    Attributes:
        transform: class name of the transform that drew.
        applied: (N,) bool, whether the transform touches the example. It stays on the CPU, so that the
            number of touched examples is known without asking a device.
        values: parameters by name, each (N, ...); drawn for every example, touched or not.
        children: draws of the members of a container.
        whole: whether an example's parameters speak of other examples; such a draw cannot be indexed.
        mask: `applied` on the device of the values.
        chosen: (K,) row numbers of the touched examples, on the device of the values.
    """

    transform: str
    applied: Tensor
    values: Mapping[str, Tensor] = field(default_factory=dict)
    children: tuple[Draw, ...] = ()
    whole: bool = False
    mask: Tensor = None  # type: ignore[assignment]  # always set in __post_init__
    chosen: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.mask is None:
            object.__setattr__(self, "mask", self.applied)
            object.__setattr__(self, "chosen", self.applied.nonzero()[:, 0])

    def __len__(self) -> int:
        return len(self.applied)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.mask.device

    @property
    def needs_all(self) -> bool:
        """Whether this draw or one below it can only be applied to the whole batch that it was drawn for."""
        return self.whole or any(child.needs_all for child in self.children)

    def chosen_values(self) -> Mapping[str, Tensor]:
        """Parameters of the touched examples alone, each (K, ...)."""
        if len(self.chosen) == len(self):
            return self.values
        return {name: value[self.chosen] for name, value in self.values.items()}

    def __getitem__(self, index: int | slice | Tensor) -> Draw:
        """Draw of some of the examples; a single index keeps the batch axis, with length 1.

        Raises:
            ValueError: if the parameters of an example speak of other examples.
            IndexError: for an index out of range, or of several dimensions.
        """
        if self.whole:
            raise ValueError(f"draw: {self.transform} mixes examples of a batch, so its draw cannot be indexed")
        rows = index if isinstance(index, slice) else torch.arange(len(self))[index]
        if isinstance(rows, Tensor) and rows.dim() != 1:
            if rows.dim() or not len(self):
                raise IndexError(f"draw: expected a number, a slice, or one dimension of numbers, got {index!r}")
            rows = rows[None]
        return Draw(
            self.transform,
            self.applied[rows],
            {name: value[rows].cpu() for name, value in self.values.items()},
            tuple(child[rows] for child in self.children),
        ).to(self.device)

    def to(self, device: torch.device | str) -> Draw:
        """The same draw with its parameters on another device, packed into a single copy."""
        device = torch.empty(0, device=device).device
        if device == self.device:
            return self
        tensors = list(self._tensors())
        sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
        packed = torch.cat([_padded_bytes(tensor) for tensor in tensors]).to(device, non_blocking=True)
        pieces = packed.split([-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes])
        moved = iter(
            [
                piece[:size].view(tensor.dtype).view(tensor.shape)
                for piece, size, tensor in zip(pieces, sizes, tensors, strict=True)
            ]
        )
        return self._rebuilt(moved)

    def gated(self, allowed: Tensor) -> Draw:
        """The same draw, applied only where `allowed` (N,) is True too; children included."""
        children = tuple(child.gated(allowed) for child in self.children)
        return Draw(self.transform, self.applied & allowed, self.values, children, self.whole)

    def state_dict(self) -> dict[str, Any]:
        """Plain dictionaries, lists and tensors, fit for `torch.save` and `weights_only` loading."""
        return {
            "transform": self.transform,
            "applied": self.applied,
            "values": {name: value.cpu() for name, value in self.values.items()},
            "children": [child.state_dict() for child in self.children],
            "whole": self.whole,
        }

    @staticmethod
    def from_state_dict(state: Mapping[str, Any]) -> Draw:
        """The draw that `state_dict` described, on the CPU.

        Raises:
            ValueError: if it is the state of something else.
        """
        lacking = {"transform", "applied", "values", "children", "whole"} - set(state)
        if lacking:
            raise ValueError(f"state: expected what `state_dict` gave, but it lacks {', '.join(sorted(lacking))}")
        return Draw(
            state["transform"],
            state["applied"],
            dict(state["values"]),
            tuple(Draw.from_state_dict(child) for child in state["children"]),
            state["whole"],
        )

    def describe(self) -> list[str]:
        """One line an example: the transforms that touch it, with their parameters."""
        on_cpu = self.to("cpu")
        return ["; ".join(on_cpu._touches(row)) or "unchanged" for row in range(len(self))]

    def _touches(self, row: int) -> list[str]:
        if not self.applied[row]:
            return []
        if self.children:
            return [line for child in self.children for line in child._touches(row)]
        values = ", ".join(f"{name}={_readable(value[row])}" for name, value in self.values.items())
        return [f"{self.transform}({values})"]

    def _tensors(self) -> Iterator[Tensor]:
        """What moves, in the order in which `_rebuilt` takes it."""
        yield from (self.mask, self.chosen, *self.values.values())
        for child in self.children:
            yield from child._tensors()

    def _rebuilt(self, moved: Iterator[Tensor]) -> Draw:
        mask, chosen = next(moved), next(moved)
        values = {name: next(moved) for name in self.values}
        children = tuple(child._rebuilt(moved) for child in self.children)
        return Draw(self.transform, self.applied, values, children, self.whole, mask, chosen)


def _padded_bytes(tensor: Tensor) -> Tensor:
    flat = tensor.contiguous().view(-1).view(torch.uint8)
    return torch.nn.functional.pad(flat, (0, -len(flat) % _ALIGNMENT))


def _readable(value: Tensor) -> str:
    if value.dim():
        return "[" + ", ".join(_readable(element) for element in value) + "]"
    return f"{value.item():.4g}" if value.is_floating_point() else str(value.item())
