"""Dataset of the published code of SemiSupCon, from its description: one file at a time, decoded and augmented."""

from __future__ import annotations

import random

import soundfile
import torch
from augmentation_peers import torch_audiomentations_chain
from torch import Tensor
from torch.utils.data import Dataset
from torchaudio import functional


class PublishedDataset(Dataset[tuple[Tensor, Tensor]]):
    """Augmented views of a random window of a file, and its tags.

    Args:
        paths: audio files.
        tags: (files, tags), 0 for unlabeled files.
        sample_rate: sample rate of the views in hertz.
        samples: length of a view in samples.
        views: number of adjacent views in a window.
    """

    def __init__(self, paths: list[str], tags: Tensor, sample_rate: int, samples: int, views: int) -> None:
        self.paths = paths
        self.tags = tags
        self.sample_rate = sample_rate
        self.samples = samples
        self.views = views
        self.chain = torch_audiomentations_chain(p=0.8)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.chain(self.read(row), sample_rate=self.sample_rate), self.tags[row]

    def read(self, row: int, start: int | None = None) -> Tensor:
        """Return the views (views, 1, samples) of the window that begins at a frame of a file, or at a random one."""
        path = self.paths[row]
        info = soundfile.info(path)
        frames = round(self.views * self.samples * info.samplerate / self.sample_rate) + 1
        if start is None:
            start = random.randint(0, max(0, info.frames - frames))
        window, rate = soundfile.read(path, frames, start, dtype="float32", always_2d=True)
        mono = functional.resample(torch.from_numpy(window).mean(1), rate, self.sample_rate)
        length = self.views * self.samples
        mono = torch.nn.functional.pad(mono, (0, max(0, length - len(mono))))[:length]
        return mono.view(self.views, 1, self.samples)
