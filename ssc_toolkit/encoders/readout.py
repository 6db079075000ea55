"""Readouts: which layers of an encoder are read, and how their frames are pooled into one embedding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ssc_toolkit.checks import check_choice
from ssc_toolkit.errors import InputError

_EPSILON = 1e-6  # larger than 0 in half precision too

DEFAULT, LAST, ALL = "default", "last", "all"

FRAME_POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda frames: frames.mean(dim=-1),
    "mean_std": lambda frames: torch.cat(_mean_and_deviation(frames), dim=1),
    "unit_mean_std": lambda frames: _unit_mean_and_deviation(frames),
    "scaled_mean_std": lambda frames: _unit_mean_and_deviation(frames) / frames.shape[1] ** 0.5,
    "max": lambda frames: frames.amax(dim=-1),
}
"""Pooling functions by name. Each maps the frames of a layer (N, width, frames) to (N, width) or (N, 2 * width)."""


@dataclass(frozen=True)
class Readout:
    """Choice of the layers of an encoder, and of the pooling of their frames.

    The pooled frames of the layers are concatenated in the order of `layers`.

    Args:
        frame_pooling: "mean", "max", "mean_std" (mean and standard deviation over the frames, concatenated) or
            "unit_mean_std" (the same, each divided by its Euclidean norm, so that all layers have the same scale),
            "scaled_mean_std" (the same, each divided by its norm and the square root of its width, so that narrow
            layers have a larger scale), or "default" for `pool_frames` of the encoder.
        layers: "last" for the output of the encoder, "all" for all layers, or a list of names from
            `Encoder.layer_names`. The name "last" can be in the list.

    Raises:
        InputError: if the pooling is unknown, or if `layers` is empty or contains a name twice.

    Examples:
        >>> Readout("mean_std", ["log_mel", "last"])
        Readout(frame_pooling='mean_std', layers=('log_mel', 'last'))
        >>> Readout(layers=["all"]) == Readout(layers="all")
        True
    """

    frame_pooling: str = DEFAULT
    layers: str | Sequence[str] = LAST

    def __post_init__(self) -> None:
        check_choice("frame_pooling", self.frame_pooling, (DEFAULT, *FRAME_POOLINGS))
        object.__setattr__(self, "layers", _as_layers(self.layers))

    @classmethod
    def from_config(cls, config: Any) -> Self:
        """Create a readout from the plain data that `to_config` returns.

        Raises:
            InputError: if the data are not those of a readout.
        """
        if not isinstance(config, dict) or not config.keys() <= {"frame_pooling", "layers"}:
            raise InputError(f"readout: expected frame_pooling and layers, got {config!r}")
        return cls(**config)

    def to_config(self) -> dict[str, Any]:
        """Return the readout as plain data for a JSON file."""
        return {
            "frame_pooling": self.frame_pooling,
            "layers": self.layers if isinstance(self.layers, str) else list(self.layers),
        }

    def select(self, names: Sequence[str], output: str, kind: str) -> list[str]:
        """Return the names of the layers to read.

        Args:
            names: names of all layers of the encoder.
            output: name of the layer that is the output of the encoder.
            kind: name of the class of the encoder, for the error message.

        Raises:
            InputError: if the encoder has no layer with a name in `layers`, or if two names mean the same layer.
        """
        if isinstance(self.layers, str):
            return [output] if self.layers == LAST else list(names)
        chosen = [output if name == LAST and name not in names else name for name in self.layers]
        for name in chosen:
            if name not in names:
                raise InputError(
                    f"layers: expected {LAST}, {ALL} or names of layers of {kind} ({', '.join(names)}), got {name!r}"
                )
        if len(set(chosen)) < len(chosen):
            raise InputError(f"layers: expected each layer once, but {LAST} is {output}, got {', '.join(self.layers)}")
        return chosen


def as_frames(output: Any, name: str) -> Tensor:
    """Return the output of a layer as frames (N, width, frames). Feature maps (N, width, bands, frames) are averaged.

    Raises:
        InputError: if the output has another shape.
    """
    if not isinstance(output, Tensor) or output.dim() not in (3, 4):
        got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise InputError(
            f"layers: expected the output (N, width, frames) or (N, width, bands, frames) of {name}, got {got}"
        )
    return output if output.dim() == 3 else output.mean(dim=2)


@contextmanager
def capture_outputs(
    module: nn.Module, names: Sequence[str], function: Callable[[Tensor], Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Apply a function to the frames of submodules when the module is called, and collect the results by name.

    Only the results are stored, so that the outputs of the layers need no more memory than without the readout.
    """
    found: dict[str, Tensor] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: Any, output: Any) -> None:
            found[name] = function(as_frames(output, name))

        return hook

    handles = [module.get_submodule(name).register_forward_hook(hook_for(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _unit_mean_and_deviation(frames: Tensor) -> Tensor:
    return torch.cat([normalize(part, dim=1, eps=_EPSILON) for part in _mean_and_deviation(frames)], dim=1)


def _mean_and_deviation(frames: Tensor) -> list[Tensor]:
    variance = frames.var(dim=-1, correction=0)
    varies = variance > 0  # the gradient of the square root of 0 is infinite
    return [frames.mean(dim=-1), torch.where(varies, variance, 1).sqrt() * varies]


def _as_layers(layers: str | Sequence[str]) -> str | tuple[str, ...]:
    if isinstance(layers, str) and layers in (LAST, ALL):
        return layers
    names = (layers,) if isinstance(layers, str) else tuple(layers) if isinstance(layers, list | tuple) else ()
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"layers: expected {LAST}, {ALL} or a list of names of layers, got {layers!r}")
    if len(names) == 1 and names[0] in (LAST, ALL):
        return names[0]
    if ALL in names or len(set(names)) < len(names):
        raise InputError(f"layers: expected {ALL} alone and each name once, got {', '.join(names)}")
    return names
