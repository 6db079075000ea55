"""Reverberation with synthetic or recorded impulse responses."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import db_to_amplitude, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.filters import compute_low_pass_response
from ssc_toolkit.augmentations.linear import Grid, Linear, Reach
from ssc_toolkit.augmentations.noise import draw_numbers
from ssc_toolkit.augmentations.recordings import Recordings, list_file_names, read_files
from ssc_toolkit.checks import Range, check_range

CROSSOVER_HZ = 2000.0
"""Frequency in hertz above which the damping of `Reverb` applies."""
_SIXTY_DB = 3 * math.log(10)  # 60 dB in nepers
_AUDIBLE = 4 / 3  # the tail ends when it has decayed by this many times 60 dB


class Reverb(Linear):
    """Convolve with a synthetic impulse response of a room: the direct sound, followed by decaying noise.

        h[0] = 1, h[n] = g * noise[n] * 10^(-3 n / (rt60_seconds * sample_rate)) for n > 0

    This is Polack's statistical model of a room. The factor g sets the ratio of the energy of the direct sound to that
    of the reverberation. With damping d, the decay time above 2 kHz is (1 - d) times `rt60_seconds`.

    Args:
        rt60_seconds: time in seconds in which the reverberation decays by 60 dB, 0.01 to 60; a number, or (low, high)
            to draw from uniformly on a logarithmic scale.
        direct_to_reverberant_db: energy ratio in decibels, -60 to 60; a number, or (low, high) to draw from uniformly.
        damping: damping d of the high frequencies, 0 to 0.95; a number, or (low, high) to draw from uniformly.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> reverb = Reverb(rt60_seconds=(0.2, 2.0), direct_to_reverberant_db=(0, 10), sample_rate=16000)
        >>> reverb(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    def __init__(
        self,
        rt60_seconds: Range = (0.2, 2.0),
        direct_to_reverberant_db: Range = (0.0, 15.0),
        damping: Range = 0.0,
        *,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.rt60_seconds = check_range("rt60_seconds", rt60_seconds, 0.01, 60)
        self.direct_to_reverberant_db = check_range("direct_to_reverberant_db", direct_to_reverberant_db, -60, 60)
        self.damping = check_range("damping", damping, 0, 0.95)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {
            "rt60_seconds": generator.log_uniform(self.rt60_seconds),
            "direct_to_reverberant_db": generator.uniform(self.direct_to_reverberant_db),
            "damping": generator.uniform(self.damping),
            "seed": generator.integers((0, 2**31 - 1)),
        }

    def reach(self, samples: int) -> Reach:
        longest = math.ceil(_AUDIBLE * self.rt60_seconds[1] * require_sample_rate(self.sample_rate))
        return Reach(0, min(samples - 1, longest))

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        return 1 + torch.fft.rfft(self._tail(values, grid), n=grid.length)

    def _tail(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        """Return the impulse responses of N rooms without the direct sound, (N, samples). Their first sample is 0.

        `values` are the drawn parameters, as from `draw_values`, and `grid` has the length of the clips.
        """
        dtype = grid.cycles.dtype
        samples = self.reach(grid.samples).after + 1
        noise = draw_numbers(values["seed"], samples + samples % 2, dtype)[:, :samples]
        time = torch.arange(samples, device=noise.device, dtype=dtype)
        nepers = (_SIXTY_DB / require_sample_rate(self.sample_rate) / values["rt60_seconds"].to(dtype))[:, None]
        decay = torch.exp(-nepers * time)
        if self.damping[1] > 0:
            low, high = self._bands(noise)
            tail = low * decay + high * decay ** (1 / (1 - values["damping"].to(dtype)))[:, None]
        else:
            tail = noise * decay
        tail[:, 0] = 0
        # Only a fraction of the energy of the decay lies within the samples of the tail.
        share = -torch.expm1(-2 * nepers[:, 0] * samples)
        wanted = db_to_amplitude(-values["direct_to_reverberant_db"], dtype) * share.sqrt()
        norm = torch.linalg.vector_norm(tail, dim=1).clamp(min=torch.finfo(dtype).tiny)
        return tail * (wanted / norm)[:, None]

    def _bands(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Split noise (N, samples) into the bands below and above 2 kHz, (N, samples) each."""
        rate = require_sample_rate(self.sample_rate)
        samples = noise.shape[1]
        frequencies = torch.fft.rfftfreq(samples, 1 / rate, device=noise.device, dtype=noise.dtype)
        crossover = torch.full((1,), min(CROSSOVER_HZ, rate / 4), device=noise.device, dtype=noise.dtype)
        low = torch.fft.irfft(
            torch.fft.rfft(noise) * compute_low_pass_response(crossover, frequencies, rate), n=samples
        )
        return low, noise - low


class ImpulseResponse(Linear):
    """Convolve with a recorded impulse response, for example of a room or a loudspeaker.

    The constructor reads the files, averages them to mono, resamples them, and scales them to unit energy, so that the
    level of white noise does not change. Silence at the beginning of a response delays the result. Each clip of a batch
    gets a random response.

    Args:
        files: audio files, as a list or as a folder that is searched recursively.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if there are no files, or a file is missing, empty, silent or not audio.

    Examples:
        >>> import numpy as np, soundfile, tempfile, torch
        >>> folder = tempfile.mkdtemp()
        >>> soundfile.write(f"{folder}/room.wav", np.array([0.5, 0.0, 0.25]), 16000)
        >>> ImpulseResponse(folder, sample_rate=16000)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    responses: Tensor

    def __init__(self, files: Recordings, *, sample_rate: int, p: float = 1.0) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.files = list_file_names(files)
        decoded = read_files("files", self.files, sample_rate)
        energies = [float(np.square(samples).sum()) for samples in decoded]
        if min(energies) == 0:
            raise ValueError("files: expected impulse responses, got a silent file")
        bank = torch.zeros(len(decoded), max(map(len, decoded)))
        for row, samples, energy in zip(bank, decoded, energies, strict=True):
            row[: len(samples)] = torch.from_numpy(samples / math.sqrt(energy))
        # Stored as integers, because casting the model to half precision would round the responses permanently.
        self.register_buffer("responses", bank.view(torch.int32), persistent=False)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"file": generator.integers((0, len(self.responses) - 1))}

    def reach(self, samples: int) -> Reach:
        return Reach(0, min(samples, self.responses.shape[1]) - 1)

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        bank = self.responses.view(torch.float32)[:, : grid.samples]
        bank = bank.to(device=grid.cycles.device, dtype=grid.cycles.dtype)
        return torch.fft.rfft(bank[values["file"]], n=grid.length)
