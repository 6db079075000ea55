"""Draw apart from apply: what every transform has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn

from ssc_toolkit.augmentations.draw import Draw


class Augmentation(nn.Module, ABC):
    """Base class of the transforms and of their containers.

    An augmentation first draws its random numbers on the CPU, one per example (`draw`), then applies
    them as a pure function of tensors (`apply`). Calling it does both.

    Args:
        p: probability that an example is touched, 0 to 1, drawn for each example.
        sample_rate: hertz, for the transforms that need it.

    Shape:
        - input: (batch, channels, samples) or (items, views, channels, samples), floating point.
          Every clip, so every view, has its own draw; the channels of a clip share it.
        - output: same shape, dtype and device. float16 and bfloat16 are computed in float32.
    """

    cpu_slice_size: int | None = 16
    """Clips that are worked on at once on a CPU, so that they stay in cache; None for all."""

    def __init__(self, *, p: float = 1.0, sample_rate: int | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p: expected a probability from 0 to 1, got {p}")
        if sample_rate is not None and not sample_rate > 0:
            raise ValueError(f"sample_rate: expected a positive number of hertz, got {sample_rate}")
        self.p = p
        self.sample_rate = sample_rate

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator | None = None) -> Draw:
        """Draw for `count` examples from a CPU generator (torch's global one if None)."""

    @abstractmethod
    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        """Apply what was drawn to (N, channels, samples) in float32 or float64."""

    def apply(self, waveforms: Tensor, draw: Draw) -> Tensor:  # type: ignore[override]  # Module.apply is for weights
        """Apply what was drawn; a pure function of its arguments.

        Raises:
            ValueError: if the shape is not one of those above, or the draw is for another number of
                clips.
            TypeError: if the waveforms are not floating point.
        """
        check_waveforms(waveforms)
        clips = waveforms.reshape(-1, *waveforms.shape[-2:])
        if draw.transform != type(self).__name__:
            raise ValueError(f"draw: made by {draw.transform}, not by {type(self).__name__}")
        if len(draw) != len(clips):
            raise ValueError(f"draw: made for {len(draw)} clips, but there are {len(clips)}")
        if waveforms.dtype in (torch.float16, torch.bfloat16):
            clips = clips.float()
        draw = draw.to(clips.device)
        size = self.cpu_slice_size
        if size is None or clips.device.type != "cpu" or len(clips) <= size or torch.compiler.is_compiling():
            result = self.apply_to_clips(clips, draw)
        else:
            starts = range(0, len(clips), size)
            result = torch.cat([self.apply_to_clips(clips[i : i + size], draw[i : i + size]) for i in starts])
        return result.to(waveforms.dtype).reshape(waveforms.shape)

    @overload
    def __call__(self, waveforms: Tensor, *, generator: torch.Generator | None = None) -> Tensor: ...
    @overload
    def __call__(
        self, waveforms: Tensor, *, generator: torch.Generator | None = None, return_draw: Literal[True]
    ) -> tuple[Tensor, Draw]: ...
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return super().__call__(*args, **kwargs)

    def forward(
        self, waveforms: Tensor, *, generator: torch.Generator | None = None, return_draw: bool = False
    ) -> Tensor | tuple[Tensor, Draw]:
        """Draw and apply.

        Args:
            waveforms: (batch, channels, samples) or (items, views, channels, samples).
            generator: CPU generator; the same state gives the same result.
            return_draw: also return the draw, for `apply` to replay.
        """
        check_waveforms(waveforms)
        draw = self.draw(waveforms.shape[:-2].numel(), generator)
        result = self.apply(waveforms, draw)
        return (result, draw) if return_draw else result


class Transform(Augmentation):
    """Base class of what changes waveforms itself.

    A subclass defines `draw_values`, which draws its parameters for every example, and `transform`,
    which changes waveforms by given parameters. It sets `selective = True` when it is costly enough
    that only the touched examples should be computed.
    """

    selective = False

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Parameters of `count` examples, each tensor (count, ...), on the CPU."""
        return {}

    @abstractmethod
    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Change (N, channels, samples) waveforms by parameters (N, ...); same shape out."""

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draw:
        applied = torch.rand(count, generator=generator) < self.p
        return Draw(type(self).__name__, applied, self.draw_values(count, generator))

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        if self.selective:
            if len(draw.chosen) == 0:
                return clips
            values = {name: value[draw.chosen] for name, value in draw.values.items()}
            return clips.index_copy(0, draw.chosen, self.transform(clips[draw.chosen], values))
        return torch.where(draw.applied[:, None, None], self.transform(clips, draw.values), clips)


def check_waveforms(waveforms: Tensor) -> None:
    """Raise unless the tensor is a batch of waveforms."""
    if not isinstance(waveforms, Tensor):
        raise TypeError(f"waveforms: expected a tensor, got {type(waveforms).__name__}")
    if waveforms.dim() not in (3, 4):
        raise ValueError(
            "waveforms: expected (batch, channels, samples) or (items, views, channels, samples), "
            f"got {tuple(waveforms.shape)}"
        )
    if not waveforms.is_floating_point():
        raise TypeError(f"waveforms: expected floating point, -1 to 1, got {waveforms.dtype}")
    if waveforms.shape[-1] == 0:
        raise ValueError(f"waveforms: expected at least 1 sample, got {tuple(waveforms.shape)}")


def check_range(name: str, value: tuple[float, float] | float, lowest: float, highest: float) -> tuple[float, float]:
    """A (low, high) range inside its legal bounds; a single number stands for itself twice."""
    low, high = (value, value) if isinstance(value, (int, float)) else value
    if not lowest <= low <= high <= highest:
        raise ValueError(f"{name}: expected {lowest:g} <= low <= high <= {highest:g}, got ({low:g}, {high:g})")
    return float(low), float(high)


def need_sample_rate(sample_rate: int | None) -> int:
    """The sample rate of a transform that cannot do without it."""
    if sample_rate is None:
        raise ValueError("sample_rate: expected the hertz of the waveforms, got None")
    return sample_rate


def uniform(count: int, bounds: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """(count,) numbers drawn uniformly from [low, high)."""
    low, high = bounds
    return low + (high - low) * torch.rand(count, generator=generator)


def per_clip(value: Tensor) -> Tensor:
    """(N,) to (N, 1, 1), to meet (N, channels, samples)."""
    return value[:, None, None]
