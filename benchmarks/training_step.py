"""Time of the parts of a training step.

The script times the parts of a step on random waveforms: the augmentation chain, the forward pass, the loss, and the
backward pass with the optimizer. It prints a Markdown table of medians. On other machines, expect the fractions of the
step to be similar, not the times.

Steps of the encoder alternate with steps of a copy that calls PyTorch's layers one by one for the whole batch. The last
columns are the median ratio of their times in the same turn, and the fraction of the minimum time of the encoder's
arithmetic, at the measured rate of a float32 matrix product, in the time of its forward and backward pass.

    python benchmarks/training_step.py
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time

import torch
from encoders import layer_by_layer, rates
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.encoders import ENCODERS, ContrastiveModel
from ssc_toolkit.losses import SemiSupConLoss

PARTS = ("augment", "forward", "loss", "backward")


class Step:
    """A training step of a model, with the times of its parts."""

    def __init__(self, model: nn.Module, rate: int, waveforms: torch.Tensor, omit: tuple[str, ...]) -> None:
        self.model, self.waveforms = model, waveforms
        self.augment, self.criterion = semisupcon_chain(rate, omit=omit), SemiSupConLoss()
        self.optimizer = torch.optim.Adam(model.parameters())
        self.times: list[list[float]] = []

    def __call__(self, seed: int) -> None:
        """Compute a step and store the seconds of each part."""
        items = len(self.waveforms)
        marks = [time.perf_counter()]
        views = self.augment(self.waveforms, generator=torch.Generator().manual_seed(seed))
        marks.append(time.perf_counter())
        projection = self.model(views).projection
        marks.append(time.perf_counter())
        loss = self.criterion(projection, torch.arange(items) % 24, labeled=torch.arange(items) % 2 == 0)
        marks.append(time.perf_counter())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        marks.append(time.perf_counter())
        self.times.append([end - begin for begin, end in itertools.pairwise(marks)])


def time_steps(
    name: str, items: int, view_seconds: float, omit: tuple[str, ...], repeats: int
) -> tuple[list[float], float, int]:
    """Return median seconds of each part, the speedup over layer by layer, and the operations of the encoder."""
    model = ContrastiveModel(ENCODERS[name]())
    rate = model.encoder.sample_rate
    waveforms = 0.1 * torch.randn(items, 2, 1, round(view_seconds * rate))
    step, slow = (Step(each, rate, waveforms, omit) for each in (model, layer_by_layer(model)))
    with FlopCounterMode(display=False) as counter:
        slow.model.encoder(waveforms[:1]).sum().backward()
    for repeat in range(repeats + 1):
        for each in (step, slow) if repeat % 2 else (slow, step):
            each(repeat)
    pairs = list(zip(step.times, slow.times, strict=True))[1:]  # the first step is a warm-up
    speedup = statistics.median(sum(other) / sum(own) for own, other in pairs)
    parts = [statistics.median(seconds) for seconds in zip(*(own for own, _ in pairs), strict=True)]
    return parts, speedup, counter.get_total_flops() * items


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--encoders", type=lambda text: tuple(text.split(",")), default=("MelCNN", "SampleCNN"))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    product, copy = rates("cpu", quick=False)
    print(
        f"{options.items} items, 2 views, {options.threads} threads, torch {torch.__version__}, "
        f"medians of {options.repeats}; a matrix product runs at {product / 1e9:.0f} GFLOP/s, "
        f"a copy at {copy / 1e9:.1f} GB/s\n"
    )
    print("| encoder, chain | " + " | ".join(PARTS) + " | step | times layer by layer | of the bound |")
    print("|---" * (len(PARTS) + 4) + "|")
    for name in options.encoders:
        view_seconds = 3.0 if name == "MelCNN" else 2.7
        for omit in (("pitch_shift",), ()):
            times, speedup, operations = time_steps(name, options.items, view_seconds, omit, options.repeats)
            whole = sum(times)
            cells = [f"{seconds * 1000:.0f} ms, {seconds / whole:.0%}" for seconds in times]
            bound = operations / product / (times[1] + times[3])
            chain = "without pitch shift" if omit else "whole chain"
            print(f"| {name}, {chain} | " + " | ".join(cells) + f" | {whole:.2f} s | {speedup:.2f} | {bound:.0%} |")


if __name__ == "__main__":
    main()
