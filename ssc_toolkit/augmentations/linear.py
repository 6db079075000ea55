"""Linear time-invariant transforms, which are defined by a frequency response.

Several of these transforms can be computed together by one FFT and one inverse FFT.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, per_clip
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.spectrum import find_fast_length


class Reach(NamedTuple):
    """Numbers of samples that an impulse response extends before and after time 0, in whole samples."""

    before: int
    after: int


@dataclass(frozen=True)
class Grid:
    """Frequencies of the FFT of a real signal.

    Attributes:
        length: length of the FFT in samples.
        samples: length of the clips in samples.
        cycles: (length // 2 + 1,) frequencies in cycles per sample, 0 to 1/2.
    """

    length: int
    samples: int
    cycles: Tensor

    @classmethod
    def like(cls, waveforms: Tensor, reach: Reach) -> Grid:
        """Return the frequencies of an FFT that is long enough to avoid circular aliasing within the clips.

        Args:
            waveforms: (N, channels, samples).
            reach: extent of the impulse response before and after time 0.
        """
        samples = waveforms.shape[-1]
        length = find_fast_length(samples + max(reach))
        return cls(length, samples, torch.fft.rfftfreq(length, device=waveforms.device, dtype=waveforms.dtype))


class Linear(Transform):
    """Base class of transforms with a frequency response. `Chain` computes neighboring ones together.

    A subclass defines the methods `reach` and `response`. If the transform is faster without an FFT, the subclass sets
    `direct = True` and overrides `transform`.
    """

    selective = True
    direct = False

    @abstractmethod
    def reach(self, samples: int) -> Reach:
        """Return how far the longest possible impulse response extends before and after time 0, in samples.

        `samples` is the length of the clips in samples.
        """

    @abstractmethod
    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        """Return the frequency response for each of N clips.

        Args:
            values: parameters by name, as from `draw_values`, tensors (N, ...).
            grid: frequencies of the response.

        Returns:
            (N, frequencies), real or complex.
        """

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        grid = Grid.like(waveforms, self.reach(waveforms.shape[-1]))
        return filter_by_response(waveforms, self.response(values, grid), grid)


class Scaling(Linear):
    """Base class of transforms that multiply each clip by a number."""

    direct = True

    @abstractmethod
    def factor(self, values: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """Return the factor of each of N clips, (N,), in the dtype and on the device of `like`.

        `values` are parameters by name, as from `draw_values`, tensors (N, ...).
        """

    def reach(self, samples: int) -> Reach:
        return Reach(0, 0)

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        return self.factor(values, grid.cycles)[:, None].expand(-1, len(grid.cycles))

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return waveforms * per_clip(self.factor(values, waveforms))

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        return apply_linear(clips, [(self, draw)], Reach(0, 0))


def apply_linear(clips: Tensor, members: Sequence[tuple[Linear, Draw]], reach: Reach) -> Tensor:
    """Apply linear transforms to N clips, together where possible.

    All `Scaling` transforms are applied by one multiplication. The other transforms are applied by one FFT and one
    inverse FFT, or one after the other if there is only one or all have the attribute `direct` set to True.

    Args:
        clips: (N, channels, samples).
        members: transforms with their draws (random parameters) for these clips.
        reach: extent of the combined impulse response before and after time 0, in samples.

    Returns:
        Transformed clips, (N, channels, samples).
    """
    compiling = torch.compiler.is_compiling()  # in a compiled graph, shapes cannot depend on the draw
    members = [(transform, draw) for transform, draw in members if compiling or len(draw.chosen)]
    scalings = [(transform, draw) for transform, draw in members if isinstance(transform, Scaling)]
    if scalings:
        factors = (torch.where(draw.mask, t.factor(draw.values, clips), 1.0) for t, draw in scalings)
        clips = clips * per_clip(torch.stack(list(factors)).prod(0))
    filters = [(transform, draw) for transform, draw in members if not isinstance(transform, Scaling)]
    if len(filters) <= 1 or all(transform.direct for transform, _ in filters):
        for transform, draw in filters:
            clips = transform.apply_to_clips(clips, draw)
        return clips
    grid = Grid.like(clips, reach)
    return _filter_all(clips, filters, grid) if compiling else _filter_touched(clips, filters, grid)


def _filter_all(clips: Tensor, filters: Sequence[tuple[Linear, Draw]], grid: Grid) -> Tensor:
    """Apply filters with their draws to all clips (N, channels, samples) by one FFT and one inverse FFT per clip.

    A clip to which no filter applies is returned unchanged.
    """
    touched = torch.stack([draw.mask for _, draw in filters]).any(0)
    product = torch.ones_like(grid.cycles)
    for transform, draw in filters:
        product = product * torch.where(draw.mask[:, None], transform.response(draw.values, grid), 1.0)
    return torch.where(per_clip(touched), filter_by_response(clips, product, grid), clips)


def _filter_touched(clips: Tensor, filters: Sequence[tuple[Linear, Draw]], grid: Grid) -> Tensor:
    """Apply filters with their draws by one FFT and one inverse FFT per clip.

    Clips to which no filter applies are not computed. Clips are (N, channels, samples).
    """
    touched = torch.stack([draw.applied for _, draw in filters]).any(0)
    rows = touched.nonzero()[:, 0]
    product = _product(filters, touched, len(rows), grid)
    if len(rows) == len(clips):
        return filter_by_response(clips, product, grid)
    rows = rows.to(clips.device, non_blocking=True)
    return clips.index_copy(0, rows, filter_by_response(clips[rows], product, grid))


def _product(filters: Sequence[tuple[Linear, Draw]], touched: Tensor, count: int, grid: Grid) -> Tensor:
    """Return the product of the frequency responses of filters for some clips, (count, frequencies).

    Args:
        filters: filters with their draws (random parameters) for N clips.
        touched: bool (N,), True for the clips to which at least one filter applies.
        count: number of these clips.
        grid: frequencies of the responses.
    """
    total = torch.ones(count, len(grid.cycles), dtype=grid.cycles.dtype, device=grid.cycles.device)
    place = touched.cumsum(0) - 1
    for transform, draw in filters:
        response = transform.response(draw.chosen_values(), grid)
        if response.is_complex() and not total.is_complex():
            total = total.to(response.dtype)
        if len(draw.chosen) == count:
            total = total * response
        else:
            rows = place[draw.applied].to(total.device, non_blocking=True)
            total[rows] = total[rows] * response
    return total


def filter_by_response(waveforms: Tensor, response: Tensor, grid: Grid) -> Tensor:
    """Filter clips by multiplying their spectra by frequency responses.

    Args:
        waveforms: (N, channels, samples).
        response: (N, frequencies) frequency response for each clip.
        grid: frequencies of the response. Waveforms are zero-padded to the length of its FFT.

    Returns:
        Filtered clips, (N, channels, samples).
    """
    spectrum = torch.fft.rfft(waveforms, n=grid.length)
    return torch.fft.irfft(spectrum * response[:, None], n=grid.length)[..., : waveforms.shape[-1]]
