"""Draws: the random parameters of a transform for a batch, which can be indexed, saved and applied again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_ALIGNMENT = 8  # in bytes, so that tensors of any dtype can be views of the packed bytes


@dataclass(frozen=True)
class Draw:
    """Random parameters of a transform or container for a batch of N examples (clips).

    Attributes:
        transform: class name of the transform or container that made the draw.
        applied: (N,) bool, whether the transform applies to each example. It is always on the CPU, so that counting
            these examples does not wait for the GPU.
        values: parameters by name, tensors (N, ...). They are drawn for all examples, also for those to which the
            transform does not apply.
        children: draws of the members of a container; empty for a single transform.
        whole: whether the parameters of an example refer to other examples. If True, the draw cannot be indexed.
        mask: `applied` on the device of the values.
        chosen: indices of the K examples to which the transform applies, (K,), on the device of the values.
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
        """Device of the parameters `values`."""
        return self.mask.device

    @property
    def needs_all(self) -> bool:
        """Whether this draw, or one of those in `children`, can only be applied to the whole batch."""
        return self.whole or any(child.needs_all for child in self.children)

    def chosen_values(self) -> Mapping[str, Tensor]:
        """Return the parameters by name of the K examples to which the transform applies, (K, ...) each."""
        if len(self.chosen) == len(self):
            return self.values
        return {name: value[self.chosen] for name, value in self.values.items()}

    def __getitem__(self, index: int | slice | Tensor) -> Draw:
        """Return the parameters of the examples at `index` as a `Draw`. For an integer, it has one example.

        Raises:
            ValueError: if the parameters of an example refer to other examples.
            IndexError: if an index is out of range, or has several dimensions.
        """
        if self.whole:
            raise ValueError(f"draw: {self.transform} mixes examples of a batch, so its draw cannot be indexed")
        rows = index if isinstance(index, slice) else torch.arange(len(self))[index]
        if isinstance(rows, Tensor) and rows.dim() != 1:
            if rows.dim() or not len(self):
                raise IndexError(f"draw: expected an integer, a slice, or a 1-D index, got {index!r}")
            rows = rows[None]
        return Draw(
            self.transform,
            self.applied[rows],
            {name: value[rows].cpu() for name, value in self.values.items()},
            tuple(child[rows] for child in self.children),
        ).to(self.device)

    def to(self, device: torch.device | str) -> Draw:
        """Return the draw with its parameters on another device. All tensors are transferred by a single copy."""
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
        """Return a copy of the draw that does not apply to the examples for which `allowed`, bool (N,), is False."""
        children = tuple(child.gated(allowed) for child in self.children)
        return Draw(self.transform, self.applied & allowed, self.values, children, self.whole)

    def state_dict(self) -> dict[str, Any]:
        """Return the draw as a dictionary that `torch.load` can read with `weights_only=True` after `torch.save`."""
        return {
            "transform": self.transform,
            "applied": self.applied,
            "values": {name: value.cpu() for name, value in self.values.items()},
            "children": [child.state_dict() for child in self.children],
            "whole": self.whole,
        }

    @staticmethod
    def from_state_dict(state: Mapping[str, Any]) -> Draw:
        """Construct a draw on the CPU from the result of `state_dict`.

        Raises:
            ValueError: if a key is missing.
        """
        lacking = {"transform", "applied", "values", "children", "whole"} - set(state)
        if lacking:
            raise ValueError(f"state: expected a result of `state_dict`, got one without {', '.join(sorted(lacking))}")
        return Draw(
            state["transform"],
            state["applied"],
            dict(state["values"]),
            tuple(Draw.from_state_dict(child) for child in state["children"]),
            state["whole"],
        )

    def describe(self) -> list[str]:
        """Return a list with one text per example: the transforms that apply to it, with their parameters."""
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
        """Yield the tensors of the draw that must be copied to another device, in the order that `_rebuilt` needs."""
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
