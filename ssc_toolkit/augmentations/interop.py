"""Transforms of torch-audiomentations in our chains, and ours in theirs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch_audiomentations.core.transforms_interface import BaseWaveformTransform
from torch_audiomentations.utils.object_dict import ObjectDict

from ssc_toolkit.augmentations.base import Augmentation, check_generator, need_sample_rate
from ssc_toolkit.augmentations.draw import Draw


class FromTorchAudiomentations(Augmentation):
    """A transform or composition of torch-audiomentations, reproducible, as a member of our chains.

    What it draws from the global generators of Python, numpy and torch follows from the seed in our draw; the
    generators are put back afterwards. It draws for a batch at once, so its draw cannot be indexed, and the batch is
    worked on in one piece. It applies in evaluation mode too, as our transforms do.

    Args:
        theirs: transform or composition of torch-audiomentations; its own probability holds beside `p`.
        sample_rate: hertz.
        p: probability for each example that it is handed to the transform.

    Raises:
        TypeError: if it is no module.

    Examples:
        >>> import torch_audiomentations
        >>> shift = torch_audiomentations.Shift(p=1.0, output_type="dict")
        >>> shift = FromTorchAudiomentations(shift, sample_rate=16000)
        >>> waveforms = torch.randn(4, 1, 8000)
        >>> shifted, draw = shift(waveforms, return_draw=True)
        >>> torch.equal(shift.apply(waveforms, draw), shifted)
        True
    """

    def __init__(self, theirs: nn.Module, *, sample_rate: int, p: float = 1.0) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))
        if not isinstance(theirs, nn.Module):
            raise TypeError(f"theirs: expected a transform of torch-audiomentations, got {type(theirs).__name__}")
        self.theirs = theirs

    def draw(self, count: int, generator: torch.Generator | None = None, *, views: int = 1) -> Draw:
        check_generator(generator)
        applied = torch.rand(count, generator=generator) < self.p
        seed = torch.randint(2**31, (1,), generator=generator).expand(count)
        return Draw(type(self).__name__, applied, {"seed": seed}, whole=True)

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        if len(draw.chosen) == 0:
            return clips
        seed = int(draw.values["seed"][0])
        with _seeded(seed, clips.device):
            self.theirs.train()
            changed = self.theirs(clips[draw.chosen], sample_rate=self.sample_rate)
        samples = changed if isinstance(changed, Tensor) else changed.samples
        if samples.shape[1:] != clips.shape[1:]:
            raise ValueError(
                f"theirs: expected a transform that keeps the shape {tuple(clips.shape[1:])}, "
                f"got {tuple(samples.shape[1:])}"
            )
        return clips.index_copy(0, draw.chosen, samples.to(clips.dtype))


class ToTorchAudiomentations(BaseWaveformTransform):
    """One of our transforms or chains as a transform of torch-audiomentations, for their `Compose`.

    It draws from torch's global generator; `freeze_parameters` keeps the draw. Following their convention it
    does nothing in evaluation mode.

    Args:
        augmentation: a transform or a chain.
        p: probability for each example, beside the transform's own.
        output_type: "dict" or "tensor", as theirs.

    Raises:
        TypeError: if it is none of our transforms.
        ValueError: when called with another sample rate than the transform's.

    Examples:
        >>> import torch_audiomentations
        >>> from ssc_toolkit.augmentations import Reverb
        >>> ours = ToTorchAudiomentations(Reverb(sample_rate=16000), p=0.5)
        >>> augment = torch_audiomentations.Compose([ours], output_type="dict")
        >>> augment(torch.randn(4, 1, 8000), sample_rate=16000).samples.shape
        torch.Size([4, 1, 8000])
    """

    supported_modes = {"per_example"}  # noqa: RUF012  # theirs is a plain class attribute too
    supports_target = False
    requires_sample_rate = False

    def __init__(self, augmentation: Augmentation, p: float = 1.0, output_type: str = "dict") -> None:
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation: expected one of our transforms, got {type(augmentation).__name__}")
        super().__init__(mode="per_example", p=p, output_type=output_type)
        self.augmentation = augmentation

    def randomize_parameters(self, samples: Any = None, sample_rate: Any = None, **ignored: Any) -> None:
        """Draw for the examples that their probability has picked."""
        self.transform_parameters["draw"] = self.augmentation.draw(len(samples))

    def apply_transform(
        self, samples: Any = None, sample_rate: Any = None, targets: Any = None, target_rate: Any = None
    ) -> ObjectDict:
        """Apply what was drawn."""
        rates = {m.sample_rate for m in self.augmentation.modules() if isinstance(m, Augmentation)} - {None}
        if sample_rate is not None and rates - {sample_rate}:
            raise ValueError(f"sample_rate: the transform was made for {rates - {sample_rate}} Hz, got {sample_rate}")
        changed = self.augmentation.apply(samples, self.transform_parameters["draw"])
        return ObjectDict(samples=changed, sample_rate=sample_rate, targets=targets, target_rate=target_rate)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Global generators as the seed says, and as they were before afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # theirs draw from it
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
