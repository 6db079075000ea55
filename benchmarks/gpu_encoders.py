"""Part of the GPU benchmark: training steps of the encoders and their fraction of the roofline."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from encoders import BFLOAT16_TOLERANCE, Run, autocast, channels_last, clips_of, compiled, has_images, make_step
from gpu_targets import Target, list_targets
from results import MEASURED, NOT_MEASURED, Results, Rows
from roofline import Layer, Rates, arithmetic_seconds, list_layers, measure_rates, roofline_seconds
from timing import (
    Deadline,
    Failure,
    attempt,
    count_repeats,
    extra_bytes,
    free_memory,
    paired_ratio,
    precision,
    seconds_of,
    take_turns,
)
from torch import Tensor

from ssc_toolkit.encoders import ENCODERS, Encoder

Call = Callable[[Tensor], Tensor]

KEYS = ("encoder", "contender")
NAMES, TINY_NAMES = ("SampleCNN", "MelCNN", "ShortChunkCNN", "SampleCNNXL", "TUNePlus"), ("MelCNN",)
"""Encoders in order of worth."""
CLIPS, TINY_CLIPS = 192, 2
DEFAULT = "PyTorch's default"
MODES = (DEFAULT, "float32", "bfloat16 autocast", "cuDNN benchmark", "channels last")
COMPILED = ("compiled", "compiled, bfloat16 autocast")
"""Modes that take long to prepare, measured last."""
COMPILE_SECONDS = 60.0
"""Minimum time that has to be left to begin with them."""
TF32_CONVOLUTIONS = (True, False)
"""PyTorch's default precision."""
TARGET_FRACTION = 0.5


def plan(tiny: bool, device: str) -> Rows:
    """Return the rows of all measurements."""
    return [
        {"encoder": name, "contender": mode, "state": NOT_MEASURED}
        for name in (TINY_NAMES if tiny else NAMES)
        for mode in (MODES if tiny else MODES + COMPILED)
        if mode != "channels last" or has_images(ENCODERS[name]())
    ]


def measure(results: Results, until: Deadline, tiny: bool, device: str) -> None:
    """Measure the training steps of all encoders, compiled ones last."""
    rates = measure_rates(device, tiny)
    clips, names = (TINY_CLIPS, TINY_NAMES) if tiny else (CLIPS, NAMES)
    results.header += (
        f": forward and backward pass of {clips} clips, without augmentation, loss and optimizer; {rates.describe()}. "
        "Operations are those of convolutions and matrix products, counted by torch.utils.flop_counter, a multiply-add "
        "as two. Of the arithmetic: their minimum time at the rate of their dtype, as a fraction of the measured time. "
        "Of the roofline: the same, where each layer takes at least the time of reading its inputs and writing its "
        "outputs once; all other operations count as free. Default: convolutions in TF32, matrix products in float32, "
        "heuristic choice of algorithms; float32: without TF32. Times default: median of ratios over the same turns."
    )
    free_memory(device)
    for number, name in enumerate(names):
        if until.left() < 0:
            return
        budget = 0.0 if tiny else until.left() / (len(names) - number) / 3
        results.put(*measure_encoder(name, clips, device, rates, MODES, budget, until))
    for name in () if tiny else names:
        if until.left() < COMPILE_SECONDS:
            return
        torch.compiler.reset()  # otherwise earlier encoders use up the allowed number of compilations
        results.put(*measure_encoder(name, clips, device, rates, (DEFAULT, *COMPILED), 3.0, until)[1:])


class Mode(NamedTuple):
    """A way to run a training step.

    Attributes:
        trained: encoder that is trained.
        call: function that embeds with it.
        counted: the same function without compilation, whose layers are counted.
        settings: arguments of `precision`.
    """

    trained: Encoder
    call: Call
    counted: Call
    settings: tuple[bool, ...]

    def step(self, waveforms: Tensor) -> Tensor:
        """Run a forward and backward pass."""
        with precision(*self.settings):
            return make_step(self.trained, waveforms, self.call)()

    def embed(self, waveforms: Tensor) -> Tensor:
        """Return the embeddings of the encoder in evaluation mode."""
        self.trained.eval()
        with precision(*self.settings), torch.no_grad():
            embeddings = self.call(waveforms).float()
        self.trained.train()
        return embeddings

    def list_layers(self, waveforms: Tensor) -> list[Layer]:
        """Return the layers of a training step."""
        return list_layers(make_step(self.trained, waveforms, self.counted))


def make_modes(encoder: Encoder, device: str, names: tuple[str, ...]) -> dict[str, Mode]:
    """Return the named modes that the encoder has."""
    in_bfloat16 = autocast(encoder, device)
    modes = {
        DEFAULT: Mode(encoder, encoder, encoder, TF32_CONVOLUTIONS),
        "float32": Mode(encoder, encoder, encoder, (False, False)),
        "bfloat16 autocast": Mode(encoder, in_bfloat16, in_bfloat16, TF32_CONVOLUTIONS),
        "cuDNN benchmark": Mode(encoder, encoder, encoder, (*TF32_CONVOLUTIONS, True)),
    }
    if has_images(encoder):
        other = channels_last(encoder)
        modes["channels last"] = Mode(other, other, other, TF32_CONVOLUTIONS)
    if COMPILED[0] in names:
        call = compiled(encoder)
        modes[COMPILED[0]] = Mode(encoder, call, encoder, TF32_CONVOLUTIONS)
        modes[COMPILED[1]] = Mode(encoder, autocast(call, device), in_bfloat16, TF32_CONVOLUTIONS)
    return {name: modes[name] for name in names if name in modes}


def measure_encoder(
    name: str, clips: int, device: str, rates: Rates, names: tuple[str, ...], budget: float, until: Deadline
) -> Rows:
    """Return a row for each mode of an encoder; the modes run in turns."""
    torch.manual_seed(0)
    encoder = ENCODERS[name]().to(device).train()
    waveforms = clips_of(name, clips, device)
    modes = make_modes(encoder, device, names)
    rows = {mode: {"encoder": name, "contender": mode, "clips": clips, "state": NOT_MEASURED} for mode in modes}
    first: dict[str, float] = {}
    for mode, state in check_modes(modes, waveforms, until).items():
        rows[mode]["state"] = state
        if state != MEASURED:
            continue
        found = attempt(partial(_try_out, partial(modes[mode].step, waveforms), device), device)
        if isinstance(found, Failure):
            rows[mode]["state"] = found.reason
        else:
            rows[mode]["megabytes"], first[mode] = found
    repeats = count_repeats(budget, first.values(), 3, 20)
    timed = {mode: partial(seconds_of, partial(modes[mode].step, waveforms), device) for mode in first}
    times = take_turns(timed, repeats, until)
    for mode, seconds in times.items():
        median = statistics.median(seconds)
        with precision(*modes[mode].settings):
            layers = modes[mode].list_layers(waveforms)
            arithmetic, roofline = arithmetic_seconds(layers, rates), roofline_seconds(layers, rates)
        operations = sum(layer.operations for layer in layers)
        rows[mode] |= {
            "milliseconds": 1e3 * median,
            "clips_per_second": clips / median,
            "speedup": paired_ratio(times[DEFAULT], seconds) if DEFAULT in times else None,
            "of_the_arithmetic": arithmetic / median,
            "of_the_roofline": roofline / median,
            "gigaflops_a_clip": operations / clips / 1e9,
            "teraflops_per_second": operations / median / 1e12,
            "repeats": len(seconds),
        }
    return list(rows.values())


def check_modes(modes: dict[str, Mode], waveforms: Tensor, until: Deadline) -> dict[str, str]:
    """Return the state of each mode: "measured" if it gives the embeddings of the first mode.

    This runs before the first step, after which the statistics of batch normalization differ between the modes.
    """
    states = dict.fromkeys(modes, NOT_MEASURED)
    expected = None
    for name, mode in modes.items():
        if until.left() < 0:
            break
        embeddings = attempt(partial(mode.embed, waveforms), waveforms.device.type)
        if isinstance(embeddings, Failure):
            states[name] = embeddings.reason
            continue
        expected = embeddings if expected is None else expected
        worst = ((embeddings - expected).norm() / expected.norm()).item()
        fits = worst <= BFLOAT16_TOLERANCE
        states[name] = MEASURED if fits else f"not the same work: embeddings differ by {worst:.2g}"
    return states


def _try_out(step: Run, device: str) -> tuple[float, float]:
    """Return megabytes and seconds of a step, after a step that warms up."""
    step()
    return extra_bytes(step, device) / 1e6, seconds_of(step, device)


def tables(rows: Rows, header: str) -> str:
    """Return a table of the training steps, followed by the target."""
    lines = [header, "", "| encoder | mode | clips/s | times default | TFLOP/s | of the arithmetic | of the roofline "]
    lines[-1] += "| GFLOP a clip | memory |"
    lines.append("|---" * 9 + "|")
    lines += [f"| {row['encoder']} | {row['contender']} | {' | '.join(_cells(row))} |" for row in rows]
    targets = [
        Target(
            f"SampleCNN: {TARGET_FRACTION:.0%} of the roofline, {text}",
            partial(_find_fraction, modes=modes),
            lambda row: row["of_the_roofline"] >= TARGET_FRACTION,
        )
        for text, modes in ((DEFAULT, (DEFAULT,)), ("best mode", MODES + COMPILED))
    ]
    return "\n".join(lines) + "\n" + list_targets(targets, rows)


def _cells(row: dict[str, Any]) -> list[str]:
    if row["state"] != MEASURED:
        return [row["state"], *[""] * 6]
    return [
        f"{row['clips_per_second']:.4g}",
        f"{row['speedup']:.2f}" if row["speedup"] else "",
        f"{row['teraflops_per_second']:.3g}",
        f"{row['of_the_arithmetic']:.0%}",
        f"{row['of_the_roofline']:.0%}",
        f"{row['gigaflops_a_clip']:.3g}",
        f"{row['megabytes'] / 1000:.3g} GB",
    ]


def _find_fraction(rows: Rows, modes: tuple[str, ...]) -> tuple[dict[str, Any], str] | None:
    """Return the row with the largest fraction of the roofline."""
    own = [row for row in rows if row["encoder"] == "SampleCNN" and row["contender"] in modes]
    own = [row for row in own if row["state"] == MEASURED]
    if not own:
        return None
    best = max(own, key=lambda row: row["of_the_roofline"])
    return best, f"{best['of_the_roofline']:.0%} ({best['contender']})"
