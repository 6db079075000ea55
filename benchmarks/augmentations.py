"""Time of the augmentations compared with the same transforms of other libraries.

A registry lists our transforms, and for each its peers, which are transforms of other libraries with the same settings.
Each peer is first checked. With fixed settings, it must change a test signal as ours does, according to the measure
named in the table. Then our transform and its peers (the contenders) run in turns, in random order, in one process, on
192 clips of 59 535 samples. Parameters are drawn for each example. The results are the medians of the ratios of a
peer's time to ours. Peers that process torch batches are in one column. NumPy and C++ peers, which process one clip at
a time, are in another column.

    python benchmarks/augmentations.py --out=docs/benchmarks     # writes augmentations-cpu.md, .json and .svg there

Peers that are not installed are left out; `pip install -e '.[peers]'` installs them.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from augmentation_effects import RATE, SAMPLES, SIGNALS
from augmentation_peers import UNCHECKED, Change, Entry, record, registry
from results import options_of, report
from torch import Tensor

CLIPS = 192


def check(name: str, entry: Entry) -> None:
    """Exit with an error unless every peer changes the test signal as our transform does."""
    if entry.measure is None:
        return
    before = SIGNALS[entry.signal]()
    expected = entry.measure(before, entry.make(True)(before))
    for peer, make in (entry.torch_peers | entry.others).items():
        if peer in UNCHECKED:
            continue
        got = entry.measure(before, make(True)(before))
        worst = (got - expected).abs().max().item()
        if not worst <= entry.tolerance:
            raise SystemExit(f"{name}: {peer} is {worst:.3g} from ours, by {entry.says}: not the same work")


def floors(waveforms: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield two lower bounds of the time, a copy of the batch and one pair of FFTs."""
    yield "copy", lambda: waveforms.clone()
    yield "FFT pair", lambda: torch.fft.irfft(torch.fft.rfft(waveforms), n=waveforms.shape[-1])


def seconds(run: Callable[[], Any], device: str) -> float:
    """Return the time of one run in seconds."""
    if device == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def measure(device: str, names: list[str], budget: float) -> list[dict[str, Any]]:
    """Return a row for each transform and contender."""
    waveforms = 0.1 * torch.randn(CLIPS, 1, SAMPLES, generator=torch.Generator().manual_seed(1)).to(device)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        entries = registry(folder)
        for name in names or entries:
            entry = entries[name]
            check(name, entry)
            made: dict[str, Change] = {"ssc_toolkit": entry.make(False)}
            made |= {peer: make(False) for peer, make in entry.torch_peers.items()}
            if device == "cpu":
                made |= {peer: make(False) for peer, make in entry.others.items()}
            runs = {peer: partial(change, waveforms) for peer, change in made.items()}
            runs |= dict(floors(waveforms))
            times = in_turns(runs, device, budget)
            for peer, own in times.items():
                row = {
                    "transform": name,
                    "name": peer,
                    "kind": kind_of(peer, entry),
                    "milliseconds": 1e3 * statistics.median(own),
                    "ratio": statistics.median(t / o for t, o in zip(own, times["ssc_toolkit"], strict=False)),
                    "repeats": len(own),
                    "checked": entry.says if peer not in UNCHECKED else "",
                }
                rows.append(row)
                print(row, flush=True)
    return rows


def kind_of(peer: str, entry: Entry) -> str:
    """Return the kind of a contender, which decides its column."""
    if peer in ("copy", "FFT pair"):
        return "floor"
    if peer == "ssc_toolkit":
        return "ours"
    return "one by one" if peer in entry.others else "torch"


def in_turns(runs: dict[str, Callable[[], Any]], device: str, budget: float) -> dict[str, list[float]]:
    """Return the seconds of every run. Contenders run in turns of random order until the budget (s) is used."""
    first = {name: seconds(run, device) for name, run in runs.items()}
    repeats = int(min(30, max(5, budget / sum(first.values()))))
    times: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for repeat in range(repeats):
        random.Random(repeat).shuffle(order)
        for name in order:
            times[name].append(seconds(runs[name], device))
    return times


def markdown(rows: list[dict[str, Any]], header: str) -> str:
    """Return a table with a line for each transform."""
    lines = [
        header,
        "",
        "| transform | ours | over an FFT pair | torch peers | one clip at a time | checked |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["transform"] for row in rows):
        own = {row["name"]: row for row in rows if row["transform"] == name}
        mine = own.pop("ssc_toolkit")
        pair = own.pop("FFT pair")
        own.pop("copy")
        cells = [
            "<br>".join(f"{peer}: **{row['ratio']:.3g} x**" for peer, row in own.items() if row["kind"] == kind)
            for kind in ("torch", "one by one")
        ]
        checked = mine["checked"] if own else ""
        lines.append(
            f"| {name} | {mine['milliseconds']:.0f} ms | {1 / pair['ratio']:.2g} "
            f"| {cells[0]} | {cells[1]} | {checked} |"
        )
    copies = statistics.median(row["milliseconds"] for row in rows if row["name"] == "copy")
    pairs = statistics.median(row["milliseconds"] for row in rows if row["name"] == "FFT pair")
    return "\n".join(lines) + f"\n\nFloors: a copy of the batch {copies:.0f} ms, one FFT pair {pairs:.0f} ms.\n"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the time of every contender, with a line for each transform."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["transform"] for row in rows))[::-1]
    style = {"ours": ("o", "C0"), "torch": ("s", "C1"), "one by one": ("x", "C2")}
    label = {"ours": "ssc_toolkit", "torch": "torch peers", "one by one": "numpy and C++ peers, one clip at a time"}
    figure, axis = plt.subplots(figsize=(8, 0.29 * len(names) + 1.4))
    for kind, (marker, color) in style.items():
        own = [row for row in rows if row["kind"] == kind]
        places = [names.index(row["transform"]) for row in own]
        axis.scatter([r["milliseconds"] for r in own], places, marker=marker, color=color, label=label[kind], s=28)
    for floor in ("copy", "FFT pair"):
        at = statistics.median(row["milliseconds"] for row in rows if row["name"] == floor)
        axis.axvline(at, color="0.6", linestyle=":")
        axis.annotate(floor, (at, len(names) - 0.4), color="0.4", ha="center", fontsize=8)
    axis.set_xscale("log")
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(-0.7, len(names) + 0.2)
    axis.set_xlabel(f"ms for {CLIPS} clips of {SAMPLES / RATE:.1f} s")
    axis.grid(alpha=0.3)
    axis.legend(
        loc="upper center", bbox_to_anchor=(0.4, -1.1 / figure.get_figheight()), ncols=3, frameon=False, fontsize=8
    )
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    """Check and time all contenders, and report the results."""
    parser = options_of(__doc__)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="transforms, separated by commas")
    parser.add_argument("--seconds", type=float, default=12.0, help="time budget for each transform in seconds")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    random.seed(0)
    torch.manual_seed(0)
    rows = measure(options.device, options.only, options.seconds)
    about = (
        f"{CLIPS} clips of {SAMPLES} samples, float32, every clip touched. Peers: their time as a multiple of ours "
        "(median of paired ratios)."
    )
    report("augmentations", rows, about, markdown, plot, options)


if __name__ == "__main__":
    main()
