"""Time of the parts of a training step.

The script times the parts of a step on random waveforms: the augmentation chain, the forward pass, the loss, the
backward pass, and the optimizer. It prints a Markdown table of medians. On other machines the times differ, but the
fractions of the step are similar.

    python benchmarks/training_step.py
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import torch
from timing import Marks
from torch import Tensor

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import as_float
from ssc_toolkit.encoders import ENCODERS, ContrastiveModel
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.seeds import make_generator

PARTS = ("copy", "augment", "forward", "loss", "backward", "optimizer")
VIEW_SECONDS = {"MelCNN": 3.0, "SampleCNN": 2.7}


class TrainingStep:
    """Training of an encoder on a device, one step at a time.

    Args:
        name: name of the encoder.
        device: device type.
        omit: transforms that the chain leaves out.
        bfloat16: whether the model runs under bfloat16 autocast.
    """

    def __init__(self, name: str, device: str = "cpu", omit: tuple[str, ...] = (), bfloat16: bool = False) -> None:
        self.model = ContrastiveModel(ENCODERS[name]()).to(device)
        self.rate = self.model.encoder.sample_rate
        self.samples = round(VIEW_SECONDS[name] * self.rate)
        self.augment = semisupcon_chain(self.rate, omit=omit).to(device)
        self.criterion = SemiSupConLoss().to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.device = device
        self.bfloat16 = bfloat16

    def make_batch(self, items: int) -> dict[str, Tensor]:
        """Return a batch of two noise views per item on the CPU, pinned for a GPU; half of the items are labeled."""
        batch = {
            "waveforms": 0.1 * torch.randn(items, 2, 1, self.samples),
            "labels": torch.arange(items) % 24,
            "labeled": torch.arange(items) % 2 == 0,
        }
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if self.device == "cuda" else batch

    def parts(self, batch: dict[str, Tensor], seed: int) -> dict[str, Callable[[], None]]:
        """Return the parts of a step in order, to be called one after the other."""
        found: dict[str, Any] = {}

        def copy() -> None:
            names = ("waveforms", "labels", "labeled")
            found.update({name: batch[name].to(self.device, non_blocking=True) for name in names})

        def augment() -> None:
            waveforms = as_float(found.pop("waveforms"))
            found["views"] = self.augment(waveforms, generator=make_generator(seed, "augment"))

        def forward() -> None:
            with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.bfloat16):
                found["projection"] = self.model(found.pop("views")).projection

        def loss() -> None:
            found["loss"] = self.criterion(found.pop("projection"), found["labels"], labeled=found["labeled"])

        def backward() -> None:
            self.optimizer.zero_grad()
            found.pop("loss").backward()

        return dict(zip(PARTS, (copy, augment, forward, loss, backward, self.optimizer.step), strict=True))

    def run(self, batch: dict[str, Tensor], seed: int) -> None:
        """Run a step."""
        for part in self.parts(batch, seed).values():
            part()

    def time_parts(self, batch: dict[str, Tensor], seed: int) -> list[float]:
        """Run a step and return the seconds of its parts. On a GPU, parts are not separated by waiting."""
        marks = Marks(self.device)
        for part in self.parts(batch, seed).values():
            part()
            marks.mark()
        return marks.seconds()


def time_steps(step: TrainingStep, items: int, repeats: int) -> dict[str, float]:
    """Return the median time of each part in seconds."""
    batch = step.make_batch(items)
    step.run(batch, 0)  # warms up
    times = [step.time_parts(batch, repeat) for repeat in range(1, repeats + 1)]
    return {part: statistics.median(own) for part, own in zip(PARTS, zip(*times, strict=True), strict=True)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.items} items, 2 views, {options.threads} threads, torch {torch.__version__}, "
        f"medians of {options.repeats}\n"
    )
    parts = PARTS[1:]  # nothing is copied on a CPU
    print("| encoder, chain | " + " | ".join(parts) + " | step |")
    print("|---" * (len(parts) + 2) + "|")
    for name in VIEW_SECONDS:
        for omit in (("pitch_shift",), ()):
            times = time_steps(TrainingStep(name, omit=omit), options.items, options.repeats)
            whole = sum(times.values())
            cells = [f"{times[part] * 1000:.0f} ms, {times[part] / whole:.0%}" for part in parts]
            chain = "without pitch shift" if omit else "whole chain"
            print(f"| {name}, {chain} | " + " | ".join(cells) + f" | {whole:.2f} s |")


if __name__ == "__main__":
    main()
