"""Background noise from recordings or from other items of the batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, per_clip, require_sample_rate
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.noise import add_at_ratio
from ssc_toolkit.augmentations.recordings import Recordings, list_file_names, read_files
from ssc_toolkit.checks import Range, check_range


class BackgroundNoise(Transform):
    """Add background noise from recordings, or from other items of the batch, at a given signal-to-noise ratio.

    The constructor reads the files, averages them to mono, resamples them, and keeps them in memory as 16-bit samples
    (160 MB per hour at 22 050 Hz). Each clip of a batch gets a random excerpt of a random file. A file that is shorter
    than the clip is repeated. The energy of the clip divided by the energy of the noise is exactly the drawn ratio.

    If `files` is None, the noise is a random view of another item of the batch, to which the preceding transforms of
    the chain have been applied. A batch with a single item is returned unchanged. Without `files`, the random
    parameters (a `Draw`) refer to positions in the batch. They cannot be indexed, and the whole batch is processed at
    once. With several processes, each process mixes the items of its own batch.

    Args:
        files: audio files, as a list or as a folder that is searched recursively; None to use other items of the
            batch.
        snr_db: signal-to-noise ratio in decibels, -200 to 200; a number, or (low, high) to draw from uniformly.
        sample_rate: sample rate of the waveforms in hertz; required with `files`.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if a file is missing, empty or not audio.

    Examples:
        >>> import torch
        >>> mix = BackgroundNoise(snr_db=(10, 20))
        >>> mix(torch.randn(4, 2, 1, 8000)).shape                      # (items, views, channels, samples)
        torch.Size([4, 2, 1, 8000])
    """

    selective = True
    recordings: Tensor
    begins: Tensor
    lengths: Tensor

    def __init__(
        self,
        files: Recordings | None = None,
        snr_db: Range = (3.0, 30.0),
        *,
        sample_rate: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=sample_rate)
        self.snr_db = check_range("snr_db", snr_db, -200, 200)
        self.files = None if files is None else list_file_names(files)
        if self.files is not None:
            decoded = read_files("files", self.files, require_sample_rate(sample_rate))
            samples = np.concatenate(decoded).clip(-1, 1)
            lengths = torch.tensor([len(one) for one in decoded])
            self._shortest = min(map(len, decoded))
            self.register_buffer("recordings", torch.from_numpy((samples * 32767).astype(np.int16)), persistent=False)
            self.register_buffer("begins", lengths.cumsum(0) - lengths, persistent=False)
            self.register_buffer("lengths", lengths, persistent=False)

    def draw_examples(self, generator: ExampleGenerator) -> Draw:
        drawn = super().draw_examples(generator)
        if self.files is not None:
            return drawn
        count, views = len(generator), max(generator.views, 1)
        items = count // views
        ahead = generator.integers((1, max(items - 1, 1)))
        view = generator.integers((0, views - 1))
        partner = (torch.arange(count) // views + ahead) % max(items, 1) * views + view
        applied = drawn.applied if items > 1 else torch.zeros_like(drawn.applied)
        return Draw(drawn.transform, applied, {**drawn.values, "partner": partner}, whole=True)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        values = {"snr_db": generator.uniform(self.snr_db)}
        if self.files is not None:
            values["file"] = generator.integers((0, len(self.lengths) - 1))
            values["place"] = generator.uniform(dtype=torch.float64)
        return values

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        if self.files is not None:
            return super().apply_to_clips(clips, draw)
        if torch.compiler.is_compiling():
            mixed = add_at_ratio(clips, clips[draw.values["partner"]], draw.values["snr_db"])
            return torch.where(per_clip(draw.mask), mixed, clips)
        chosen = draw.chosen
        noise = clips[draw.values["partner"][chosen]]
        return clips.index_copy(0, chosen, add_at_ratio(clips[chosen], noise, draw.values["snr_db"][chosen]))

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        noise = self._stretches(waveforms.shape[-1], values, waveforms.device).to(waveforms.dtype)
        return add_at_ratio(waveforms, noise[:, None], values["snr_db"])

    def _stretches(self, samples: int, values: Mapping[str, Tensor], device: torch.device) -> Tensor:
        """Return the excerpt of a recording that was drawn for each of N clips, (N, samples) int16.

        `values` are the drawn parameters, as from `draw_values`.
        """
        recordings = self.recordings.to(device)
        length = self.lengths.to(device)[values["file"]]
        begin = self.begins.to(device)[values["file"]]
        if samples <= self._shortest:
            return recordings.unfold(0, samples, 1)[begin + (values["place"] * (length - samples + 1)).long()]
        room = (length - samples + 1).clamp(min=1)
        start = (values["place"] * torch.where(length < samples, length, room)).long()
        place = (start[:, None] + torch.arange(samples, device=device)) % length[:, None]
        return recordings[begin[:, None] + place]
