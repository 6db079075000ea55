"""What moves, turns round and cuts the samples in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.augmentations.base import Transform, need_sample_rate, uniform
from ssc_toolkit.checks import Range, check_number, check_range, check_whole

_MOST_REMOVED = 0.9  # of a clip


class Reverse(Transform):
    """Play the clip backwards.

    Args:
        p: probability for each example.

    Examples:
        >>> import torch
        >>> Reverse()(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[3., 2., 1.]]])
    """

    def __init__(self, *, p: float = 1.0) -> None:
        super().__init__(p=p)

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return waveforms.flip(-1)


class TimeShift(Transform):
    """Move the clip in time, later for a positive shift.

    Args:
        shift_seconds: (low, high), negative for earlier, drawn uniformly; rounded to whole samples.
        mode: what comes in at one end: "roll", what has gone out at the other; "pad", zeros.
        sample_rate: hertz.
        p: probability for each example.

    Examples:
        >>> import torch
        >>> TimeShift(shift_seconds=2.0, sample_rate=1)(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
        tensor([[[3., 4., 1., 2.]]])
        >>> TimeShift(shift_seconds=-1.0, mode="pad", sample_rate=1)(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]))
        tensor([[[2., 3., 4., 0.]]])
    """

    selective = True

    def __init__(
        self,
        shift_seconds: Range = (-1.0, 1.0),
        *,
        mode: Literal["roll", "pad"] = "roll",
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))
        self.shift_seconds = check_range("shift_seconds", shift_seconds, -36000, 36000)
        if mode not in ("roll", "pad"):
            raise ValueError(f'mode: expected "roll" or "pad", got {mode!r}')
        self.mode = mode

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"shift_seconds": uniform(count, self.shift_seconds, generator)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        samples = waveforms.shape[-1]
        shift = (values["shift_seconds"].double() * need_sample_rate(self.sample_rate)).round().long()
        if self.mode == "roll":
            around = torch.cat([waveforms, waveforms], dim=-1)
            begin = -shift % samples
        else:
            around = F.pad(waveforms, (samples, samples))
            begin = (samples - shift).clamp(0, 2 * samples)
        # One window per clip: about three times as fast as a gather.
        return around.unfold(-1, samples, 1)[torch.arange(len(waveforms), device=waveforms.device), :, begin]


class SpliceOut(Transform):
    """Cut short stretches out, join what is left with crossfades, and pad with zeros to the input's length.

    (Jain et al., SpliceOut: A simple and efficient audio augmentation method, Interspeech 2022.) The places of
    the cuts are spread uniformly over what is left. Cuts that would leave less than a tenth of the clip are
    shortened alike.

    Args:
        cuts: how many, 1 to 1000.
        cut_ms: (low, high) length of a cut in milliseconds, 0 to 10 000, drawn uniformly for each.
        crossfade_ms: length of a join, 0 to 1000 ms; shorter where the clip is too short for it.
        sample_rate: hertz.
        p: probability for each example.

    Examples:
        >>> import torch
        >>> SpliceOut(cuts=8, cut_ms=(0, 100), sample_rate=16000)(torch.randn(2, 1, 32000)).shape
        torch.Size([2, 1, 32000])
    """

    selective = True

    def __init__(
        self,
        cuts: int = 8,
        cut_ms: Range = (0.0, 100.0),
        *,
        crossfade_ms: float = 10.0,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))
        self.cuts = check_whole("cuts", cuts, 1, 1000)
        self.cut_ms = check_range("cut_ms", cut_ms, 0, 10_000)
        self.crossfade_ms = check_number("crossfade_ms", crossfade_ms, 0, 1000)

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        low, high = self.cut_ms
        return {
            "cut_ms": low + (high - low) * torch.rand(count, self.cuts, generator=generator),
            "place": torch.rand(count, self.cuts, generator=generator).sort(1).values,
        }

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        count, channels, samples = waveforms.shape
        device, rate = waveforms.device, need_sample_rate(self.sample_rate)
        wanted = values["cut_ms"].double() * (rate / 1000)
        shrink = _MOST_REMOVED * samples / wanted.sum(1, keepdim=True).clamp(min=1)
        removed = (wanted * shrink.clamp(max=1)).long()
        left = samples - removed.sum(1, keepdim=True)
        # Joins lie at least a crossfade apart, so that only two stretches sound at once.
        fade = min(round(self.crossfade_ms * rate / 1000), samples // (4 * self.cuts))
        room = (left - fade * self.cuts).clamp(min=0)
        join = (values["place"] * room).long() + fade * torch.arange(self.cuts, device=device)
        time = torch.arange(samples, device=device)
        skipped = torch.zeros(count, samples + 1, dtype=torch.long, device=device)
        skipped = skipped.scatter_add_(1, join.clamp(max=samples), removed)[:, :samples].cumsum(1)
        padded = F.pad(waveforms, (0, 1))
        source = (time + skipped).clamp(max=samples)  # one sample more, which is zero
        spliced = padded.gather(-1, source[:, None].expand(-1, channels, -1))
        if fade == 0:
            return spliced
        return _crossfaded(spliced, padded, join, removed.cumsum(1) - removed, fade)


def _crossfaded(spliced: Tensor, source: Tensor, join: Tensor, skipped: Tensor, fade: int) -> Tensor:
    """Fade from the stretch before each join to the one after it.

    Args:
        spliced: (N, channels, samples), hard joins.
        source: (N, channels, samples + 1), what was cut, and a zero.
        join: (N, cuts), where the joins lie in the result.
        skipped: (N, cuts), samples cut out before the stretch that ends at the join.
        fade: samples.
    """
    channels, samples = spliced.shape[1:]
    ramp = torch.arange(fade, device=spliced.device)
    place = (join[:, :, None] + ramp).clamp(max=samples - 1).flatten(1)
    going_on = (join[:, :, None] + ramp + skipped[:, :, None]).clamp(max=samples).flatten(1)
    old = source.gather(-1, going_on[:, None].expand(-1, channels, -1))
    new = spliced.gather(-1, place[:, None].expand(-1, channels, -1))
    weight = ((ramp + 0.5) / fade).to(spliced.dtype).repeat(join.shape[1])
    return spliced.scatter(-1, place[:, None].expand(-1, channels, -1), torch.lerp(old, new, weight))
