"""Clips per second of the encoders, compared with lower bounds of the time for arithmetic and memory traffic.

The script times inference and training of each encoder on clips of its usual length. There are these modes: plain,
fused (`fuse()`), compiled (`torch.compile`), and bfloat16 autocast. In training on a CPU, the plain encoder computes
slices of the batch; "layer by layer" calls PyTorch's layers for the whole batch. All modes of an encoder run in
turns in one process. A ratio is the median of the ratios in the same turn. The script first checks that each mode gives
the same embeddings as the plain encoder.

There are two bounds. The bound of the arithmetic is the number of multiply-adds counted by `FlopCounterMode`, two
operations each, divided by the measured rate of a float32 matrix product. The bound of the memory is the minimum number
of bytes (waveforms, weights and embeddings once each), divided by the measured rate of a copy. The larger bound
applies. For a training step, the operations are those of the forward and backward pass, and the number of bytes is
doubled.

    python benchmarks/encoders.py --out=docs/benchmarks   # writes encoders-cpu.md, .json and .svg there
    python benchmarks/encoders.py --quick                 # checks that the script runs
"""

from __future__ import annotations

import copy
import random
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from results import Rows, options_of, report
from roofline import copy_rate, product_rate
from timing import paired_ratio, seconds_of, take_turns
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssc_toolkit.encoders import ENCODERS, Encoder

CLIP_SAMPLES = {"MelCNN": 48_000}
USUAL_SAMPLES = 59_049
TOLERANCE, BFLOAT16_TOLERANCE = 1e-3, 0.1
"""Largest allowed difference from the plain encoder's embeddings, relative to their norm."""

Run = Callable[[], Tensor]


def rates(device: str, quick: bool) -> tuple[float, float]:
    """Return operations per second of the fastest float32 matrix product and bytes per second of the fastest copy."""
    side = 512 if quick else 4096 if device == "cuda" else 2048
    repeats = 3 if quick else 40
    return product_rate(device, side, repeats), copy_rate(device, side * side * 8, repeats)


def clips_of(name: str, count: int, device: str) -> Tensor:
    """Return noise clips (count, 1, samples) of the usual length of an encoder."""
    return 0.1 * torch.randn(count, 1, CLIP_SAMPLES.get(name, USUAL_SAMPLES), device=device)


def compiled(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """Return the encoder's forward pass, compiled with `torch.compile`."""
    return torch.compile(encoder, dynamic=False)


def autocast(call: Callable[[Tensor], Tensor], device: str) -> Callable[[Tensor], Tensor]:
    """Return a function that makes the call under bfloat16 autocast."""

    def run(waveforms: Tensor) -> Tensor:
        with torch.autocast(device, dtype=torch.bfloat16):
            return call(waveforms)

    return run


def has_images(encoder: Encoder) -> bool:
    """Return whether the encoder has 2-D convolutions, which support the channels-last memory layout."""
    return any(isinstance(module, nn.Conv2d) for module in encoder.modules())


def channels_last(encoder: Encoder) -> Encoder:
    """Return the encoder in the channels-last memory layout."""
    return copy.deepcopy(encoder).to(memory_format=torch.channels_last)


def layer_by_layer(encoder: Encoder) -> Encoder:
    """Return a copy that calls PyTorch's layers one by one, because layers with hooks are not computed in slices."""
    plain = copy.deepcopy(encoder)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.register_forward_hook(lambda *arguments: None)
    return plain


def forwards(encoder: Encoder, waveforms: Tensor, device: str) -> dict[str, Run]:
    """Return the forward pass in each mode, with the plain mode first."""
    fused = encoder.fuse()
    calls: dict[str, Callable[[Tensor], Tensor]] = {
        "plain": encoder,
        "fused": fused,
        "compiled": compiled(encoder),
        "fused, compiled": compiled(fused),
        "bfloat16 autocast": autocast(encoder, device),
        "fused, bfloat16 autocast": autocast(fused, device),
    }
    if has_images(encoder):
        calls["fused, channels last"] = channels_last(fused)
    return {name: inference(call, waveforms) for name, call in calls.items()}


def inference(call: Callable[[Tensor], Tensor], waveforms: Tensor) -> Run:
    """Run one forward pass without gradients."""

    def run() -> Tensor:
        with torch.no_grad():
            return call(waveforms)

    return run


def training_steps(encoder: Encoder, waveforms: Tensor, device: str) -> dict[str, Run]:
    """Return the forward and backward pass of a training step in each mode, with the plain mode first."""
    step = partial(make_step, encoder, waveforms)
    steps = {
        "plain": step(encoder),
        "gradient checkpointing": step(encoder, checkpointing=True),
        "compiled": step(compiled(encoder)),
        "bfloat16 autocast": step(autocast(encoder, device)),
    }
    other = layer_by_layer(encoder)
    steps["layer by layer"] = make_step(other, waveforms, other)
    if has_images(encoder):
        other = channels_last(encoder)
        steps["channels last"] = make_step(other, waveforms, other)
    return steps


def make_step(
    encoder: Encoder, waveforms: Tensor, call: Callable[[Tensor], Tensor], checkpointing: bool = False
) -> Run:
    """Return the forward and backward pass of a step; `call` is a way to run the encoder that is trained."""

    def run() -> Tensor:
        encoder.zero_grad()
        encoder.gradient_checkpointing_(checkpointing)
        embeddings = call(waveforms)
        embeddings.float().square().mean().backward()
        return embeddings.detach()

    return run


def check(name: str, found: Tensor, expected: Tensor) -> None:
    """Exit with an error if the embeddings of a mode differ too much."""
    tolerance = BFLOAT16_TOLERANCE if "bfloat16" in name else TOLERANCE
    difference = ((found.float() - expected).norm() / expected.norm()).item()
    if not difference < tolerance:
        raise SystemExit(f"{name}: embeddings differ by {difference:.2g}: not the same work")


def bounds(run: Run, encoder: Encoder, waveforms: Tensor, peak: tuple[float, float], passes: int) -> dict[str, Any]:
    """Return the bounds of the arithmetic and of the memory traffic in seconds, and which of them is larger."""
    with FlopCounterMode(display=False) as counter:
        run()
    weights = sum(parameter.nbytes for parameter in encoder.parameters())
    embeddings = 4 * len(waveforms) * encoder.embedding_dim
    arithmetic = counter.get_total_flops() / peak[0]
    traffic = passes * (waveforms.nbytes + weights + embeddings) / peak[1]
    return {
        "gigaflops_a_clip": counter.get_total_flops() / len(waveforms) / 1e9,
        "arithmetic_seconds": arithmetic,
        "traffic_seconds": traffic,
        "bound": "arithmetic" if arithmetic > traffic else "bytes",
    }


def measure(name: str, clips: int, options: Any, peak: tuple[float, float]) -> Iterator[dict[str, Any]]:
    """Return the rows of one encoder: embedding, then training."""
    device = options.device
    torch.compiler.reset()  # otherwise earlier encoders use up the allowed number of compilations
    encoder = ENCODERS[name]().to(device)
    waveforms = clips_of(name, clips, device)
    for part, make, passes in (("embedding", forwards, 1), ("training", training_steps, 2)):
        encoder.train(part == "training")
        runs = make(encoder, waveforms, device)
        if options.no_compile:
            runs = {contender: run for contender, run in runs.items() if "compiled" not in contender}
        expected = runs["plain"]()
        for contender, run in runs.items():
            found = run()
            if part == "embedding":
                check(f"{name}, {contender}", found, expected)
        limit = bounds(runs.get("layer by layer", runs["plain"]), encoder, waveforms, peak, passes)
        seconds = take_turns({mode: partial(seconds_of, run, device) for mode, run in runs.items()}, options.repeats)
        for contender, times in seconds.items():
            yield {
                "encoder": name,
                "part": part,
                "contender": contender,
                "clips": clips,
                "clips_per_second": clips / statistics.median(times),
                "speedup": paired_ratio(seconds["plain"], times),
                "of_the_bound": max(limit["arithmetic_seconds"], limit["traffic_seconds"]) / statistics.median(times),
                "repeats": len(times),
                **limit,
            }


def markdown(rows: Rows, header: str) -> str:
    """Return a table for embedding and one for training."""
    lines = [header]
    for part in ("embedding", "training"):
        own = [row for row in rows if row["part"] == part]
        lines += ["", f"**{part.capitalize()}**", ""]
        lines += ["| encoder | way | clips/s | times plain | of the bound | bound | GFLOP a clip |", "|---" * 7 + "|"]
        lines += [
            f"| {row['encoder']} | {row['contender']} | {row['clips_per_second']:.3g} | {row['speedup']:.2f} "
            f"| {row['of_the_bound']:.0%} | {row['bound']} | {row['gigaflops_a_clip']:.3g} |"
            for row in own
        ]
    return "\n".join(lines) + "\n"


def plot(rows: Rows, path: Path) -> None:
    """Plot the speed of every mode relative to the plain encoder."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 0.3 * len(rows) / 2 + 1.5))
    for axis, part in zip(axes, ("embedding", "training"), strict=True):
        own = [row for row in rows if row["part"] == part and row["contender"] != "plain"][::-1]
        labels = [f"{row['encoder']}, {row['contender']}" for row in own]
        axis.barh(labels, [row["speedup"] for row in own], color="C0")
        axis.axvline(1, color="black", linewidth=0.8)
        axis.set(title=part, xlabel="speed (plain encoder: 1)")
        axis.margins(y=0.01)
        axis.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    """Check and time all encoders, and report the results."""
    parser = options_of(__doc__)
    parser.add_argument("--encoders", type=lambda text: tuple(text.split(",")), default=tuple(ENCODERS))
    parser.add_argument("--clips", type=int, default=16, help="number of clips in a batch")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile, which needs a C++ compiler")
    parser.add_argument(
        "--quick", action="store_true", help="two clips, one turn, no compilation, to check that the script runs"
    )
    options = parser.parse_args()
    if options.quick:
        options.clips, options.repeats, options.no_compile = 2, 1, True
    torch.set_num_threads(options.threads)
    random.seed(0)
    torch.manual_seed(0)
    peak = rates(options.device, options.quick)
    rows = [row for name in options.encoders for row in measure(name, options.clips, options, peak)]
    about = (
        f"batches of {options.clips} clips, float32 unless said; a matrix product runs at {peak[0] / 1e9:.0f} GFLOP/s, "
        f"a copy at {peak[1] / 1e9:.1f} GB/s. Times plain: median of ratios over the same turns."
    )
    report("encoders", rows, about, markdown, plot, options)


if __name__ == "__main__":
    main()
