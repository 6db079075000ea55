"""Part of the GPU benchmark: training steps of the encoders and their fraction of the roofline."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any, NamedTuple

import torch
from encoders import BFLOAT16_TOLERANCE, Run, autocast, channels_last, clips_of, compiled, has_images, make_step
from gpu_targets import Target, list_targets
from results import MEASURED, NOT_MEASURED, Results, Rows
from roofline import Rates, arithmetic_seconds, list_layers, measure_rates, roofline_seconds
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

NAME, WEIGHT = "encoders", 1.1
KEYS = ("encoder", "contender")
NAMES, TINY_NAMES = ("SampleCNN", "MelCNN", "ShortChunkCNN", "SampleCNNXL", "TUNePlus"), ("SampleCNN", "MelCNN")
"""Encoders in order of worth."""
CLIPS, TINY_CLIPS = 192, 2
DEFAULT = "PyTorch's default"
MODES = (DEFAULT, "float32", "bfloat16 autocast", "cuDNN benchmark", "channels last")
COMPILED = ("compiled", "compiled, bfloat16 autocast")
"""Modes that take long to prepare, measured last."""
COMPILE_SECONDS = 45.0
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
        budget = until.left() / (len(names) - number) / 3
        results.put(*measure_encoder(name, clips, device, rates, MODES, budget, until))
    for name in () if tiny else names:
        if until.left() < COMPILE_SECONDS:
            return
        torch.compiler.reset()  # otherwise earlier encoders use up the allowed number of compilations
        results.put(*measure_encoder(name, clips, device, rates, (DEFAULT, *COMPILED), 3.0, until)[1:])


class Mode(NamedTuple):
    """A way to run a training step.

    Attributes:
        run: the step.
        plain: the same step without compilation, whose layers are counted.
        settings: arguments of `precision`.
    """

    run: Run
    plain: Run
    settings: tuple[bool, ...]


def make_modes(encoder: Encoder, waveforms: Tensor, device: str, names: tuple[str, ...]) -> dict[str, Mode]:
    """Return the named modes that the encoder has."""
    step = partial(make_step, encoder, waveforms)
    plain, in_bfloat16 = step(encoder), step(autocast(encoder, device))
    modes = {
        DEFAULT: Mode(plain, plain, TF32_CONVOLUTIONS),
        "float32": Mode(plain, plain, (False, False)),
        "bfloat16 autocast": Mode(in_bfloat16, in_bfloat16, TF32_CONVOLUTIONS),
        "cuDNN benchmark": Mode(plain, plain, (*TF32_CONVOLUTIONS, True)),
    }
    if has_images(encoder):
        other = channels_last(encoder)
        run = make_step(other, waveforms, other)
        modes["channels last"] = Mode(run, run, TF32_CONVOLUTIONS)
    if COMPILED[0] in names:
        call = compiled(encoder)
        modes[COMPILED[0]] = Mode(step(call), plain, TF32_CONVOLUTIONS)
        modes[COMPILED[1]] = Mode(step(autocast(call, device)), in_bfloat16, TF32_CONVOLUTIONS)
    return {name: modes[name] for name in names if name in modes}


def run_mode(mode: Mode) -> Tensor:
    """Run a step under the settings of its mode."""
    with precision(*mode.settings):
        return mode.run()


def measure_encoder(
    name: str, clips: int, device: str, rates: Rates, names: tuple[str, ...], budget: float, until: Deadline
) -> Rows:
    """Return a row for each mode of an encoder; the modes run in turns."""
    torch.manual_seed(0)
    encoder = ENCODERS[name]().to(device).train()
    waveforms = clips_of(name, clips, device)
    modes = make_modes(encoder, waveforms, device, names)
    runs = {mode: partial(run_mode, modes[mode]) for mode in modes}
    expected: list[Tensor] = []
    rows = {mode: {"encoder": name, "contender": mode, "clips": clips, "state": NOT_MEASURED} for mode in modes}
    first: dict[str, float] = {}
    for mode, run in runs.items():
        if until.left() < 0:
            break
        found = attempt(partial(_try_out, run, expected, device), device)
        if isinstance(found, Failure):
            rows[mode]["state"] = found.reason
        elif not found[0] <= BFLOAT16_TOLERANCE:
            rows[mode]["state"] = f"not the same work: embeddings differ by {found[0]:.2g}"
        else:
            rows[mode] |= {"state": MEASURED, "megabytes": found[1]}
            first[mode] = found[2]
    repeats = count_repeats(budget, first.values(), 3, 20)
    times = take_turns({mode: partial(seconds_of, runs[mode], device) for mode in first}, repeats, until)
    for mode, seconds in times.items():
        median = statistics.median(seconds)
        with precision(*modes[mode].settings):
            layers = list_layers(modes[mode].plain)
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


def _try_out(run: Run, expected: list[Tensor], device: str) -> tuple[float, float, float]:
    """Return the difference from the first mode's embeddings, megabytes, and seconds of a warm step."""
    torch.manual_seed(0)  # for dropout
    embeddings = run().float()
    expected.append(embeddings)
    worst = ((embeddings - expected[0]).norm() / expected[0].norm()).item()
    megabytes = extra_bytes(run, device) / 1e6
    return worst, megabytes, seconds_of(run, device)


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
