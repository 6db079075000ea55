"""Time of the parts of a training step.

The script times the parts of a step on random waveforms: the augmentation chain, the forward pass, the loss, and the
backward pass with the optimizer. It prints a Markdown table of medians. On other machines the times differ, but the
fractions of the step are similar.

    python benchmarks/training_step.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict

import torch

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.encoders import ENCODERS, ContrastiveModel
from ssc_toolkit.losses import SemiSupConLoss

PARTS = ("augment", "forward", "loss", "backward")


def time_steps(name: str, items: int, view_seconds: float, omit: tuple[str, ...], repeats: int) -> dict[str, float]:
    """Return the median time of each part in seconds."""
    model = ContrastiveModel(ENCODERS[name]())
    rate = model.encoder.sample_rate
    augment = semisupcon_chain(rate, omit=omit)
    criterion = SemiSupConLoss()
    optimizer = torch.optim.Adam(model.parameters())
    waveforms = 0.1 * torch.randn(items, 2, 1, round(view_seconds * rate))
    labels, labeled = torch.arange(items) % 24, torch.arange(items) % 2 == 0
    times = defaultdict(list)
    for repeat in range(repeats + 1):
        marks = [time.perf_counter()]
        views = augment(waveforms, generator=torch.Generator().manual_seed(repeat))
        marks.append(time.perf_counter())
        projection = model(views).projection
        marks.append(time.perf_counter())
        loss = criterion(projection, labels, labeled=labeled)
        marks.append(time.perf_counter())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        marks.append(time.perf_counter())
        if repeat:  # the first step is a warm-up
            for part, begin, end in zip(PARTS, marks[:-1], marks[1:], strict=True):
                times[part].append(end - begin)
    return {part: statistics.median(values) for part, values in times.items()}


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
    print("| encoder, chain | " + " | ".join(PARTS) + " | step |")
    print("|---" * (len(PARTS) + 2) + "|")
    for name, view_seconds in (("MelCNN", 3.0), ("SampleCNN", 2.7)):
        for omit in (("pitch_shift",), ()):
            times = time_steps(name, options.items, view_seconds, omit, options.repeats)
            whole = sum(times.values())
            cells = [f"{seconds * 1000:.0f} ms, {seconds / whole:.0%}" for seconds in times.values()]
            chain = "without pitch shift" if omit else "whole chain"
            print(f"| {name}, {chain} | " + " | ".join(cells) + f" | {whole:.2f} s |")


if __name__ == "__main__":
    main()
