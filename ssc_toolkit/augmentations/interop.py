"""Adapters between the transforms of ssc_toolkit and those of torch-audiomentations."""

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

from ssc_toolkit.augmentations.base import Augmentation, require_sample_rate
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.example_generator import ExampleGenerator


class FromTorchAudiomentations(Augmentation):
    """Wrap a transform or composition of torch-audiomentations as a reproducible transform of ssc_toolkit.

    The random parameters (a `Draw`) contain only a seed. While the wrapped transform runs, the global random generators
    of Python, NumPy and PyTorch are seeded with it. Afterwards, their states are restored. The wrapped transform draws
    for a whole batch, so the parameters cannot be indexed, the whole batch is processed at once, and the result
    depends on the number of processes. Like other
    transforms of ssc_toolkit, the wrapper also applies in evaluation mode.

    Args:
        module: transform or composition of torch-audiomentations. It decides with its own probability whether to change
            the clips that it gets.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which a clip is passed to `module`, 0 to 1.

    Raises:
        TypeError: if `module` is not an `nn.Module`.

    Examples:
        >>> import torch_audiomentations
        >>> shift = torch_audiomentations.Shift(p=1.0, output_type="dict")
        >>> shift = FromTorchAudiomentations(shift, sample_rate=16000)
        >>> waveforms = torch.randn(4, 1, 8000)
        >>> shifted, draw = shift(waveforms, return_draw=True)
        >>> torch.equal(shift.apply_draw(waveforms, draw), shifted)
        True
    """

    def __init__(self, module: nn.Module, *, sample_rate: int, p: float = 1.0) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        if not isinstance(module, nn.Module):
            raise TypeError(f"module: expected a transform of torch-audiomentations, got {type(module).__name__}")
        self.theirs = module

    def draw_examples(self, generator: ExampleGenerator) -> Draw:
        applied = generator.uniform() < self.p
        seed = generator.integers((0, 2**31 - 1))[:1].expand(len(generator))
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
                f"module: expected a transform that keeps the shape {tuple(clips.shape[1:])}, "
                f"got {tuple(samples.shape[1:])}"
            )
        return clips.index_copy(0, draw.chosen, samples.to(clips.dtype))


class ToTorchAudiomentations(BaseWaveformTransform):
    """Wrap a transform or chain of ssc_toolkit as a transform of torch-audiomentations, for its `Compose`.

    The random parameters are drawn with the global generator of PyTorch. After `freeze_parameters`, the last parameters
    are used again. In evaluation mode, waveforms are unchanged, as is usual in torch-audiomentations.

    Args:
        augmentation: transform or chain of ssc_toolkit.
        p: probability with which a clip is passed to `augmentation`, which then applies with its own probability.
        output_type: "dict" or "tensor", as in torch-audiomentations.

    Raises:
        TypeError: if `augmentation` is not a transform of ssc_toolkit.
        ValueError: when called with a sample rate other than that of the transform.

    Examples:
        >>> import torch_audiomentations
        >>> from ssc_toolkit.augmentations import Reverb
        >>> ours = ToTorchAudiomentations(Reverb(sample_rate=16000), p=0.5)
        >>> augment = torch_audiomentations.Compose([ours], output_type="dict")
        >>> augment(torch.randn(4, 1, 8000), sample_rate=16000).samples.shape
        torch.Size([4, 1, 8000])
    """

    supported_modes = {"per_example"}  # noqa: RUF012  # a plain class attribute in the base class too
    supports_target = False
    requires_sample_rate = False

    def __init__(self, augmentation: Augmentation, p: float = 1.0, output_type: str = "dict") -> None:
        if not isinstance(augmentation, Augmentation):
            raise TypeError(f"augmentation: expected a transform of ssc_toolkit, got {type(augmentation).__name__}")
        super().__init__(mode="per_example", p=p, output_type=output_type)
        self.augmentation = augmentation

    def randomize_parameters(self, samples: Any = None, sample_rate: Any = None, **ignored: Any) -> None:
        """Draw random parameters for `samples`, the clips that the base class has selected, (N, channels, samples)."""
        self.transform_parameters["draw"] = self.augmentation.draw(len(samples))

    def apply_transform(
        self, samples: Any = None, sample_rate: Any = None, targets: Any = None, target_rate: Any = None
    ) -> ObjectDict:
        """Apply the drawn random parameters to `samples`, (N, channels, samples).

        The other arguments are returned unchanged in the result. `sample_rate` is checked if it is given.
        """
        rates = {m.sample_rate for m in self.augmentation.modules() if isinstance(m, Augmentation)} - {None}
        if sample_rate is not None and rates - {sample_rate}:
            raise ValueError(
                f"sample_rate: expected {rates - {sample_rate}} Hz, as set for the transform, got {sample_rate}"
            )
        changed = self.augmentation.apply_draw(samples, self.transform_parameters["draw"])
        return ObjectDict(samples=changed, sample_rate=sample_rate, targets=targets, target_rate=target_rate)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Context manager that seeds the global random generators of Python, NumPy and PyTorch (CPU and `device`).

    On exit, the previous states of the generators are restored.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the wrapped transforms use it
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            torch.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
