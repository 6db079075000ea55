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
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from augmentation_effects import RATE, SAMPLES, SIGNALS
from augmentation_peers import UNCHECKED, Change, Entry, record, registry
from results import MEASURED, NOT_MEASURED, Rows, is_error, options_of, report
from timing import Deadline, Failure, attempt, count_repeats, paired_ratio, seconds_of, take_turns
from torch import Tensor, nn

CLIPS = 192
FLOORS = ("copy", "FFT pair")


def difference(entry: Entry, change: Change, own: Change, device: str) -> float:
    """Return the difference between the effects of a contender and of ours on the test signal, by the measure."""
    assert entry.measure is not None
    before = SIGNALS[entry.signal]()
    expected, got = (entry.measure(before, run(before.to(device)).cpu()) for run in (own, change))
    return (got - expected).abs().max().item()


def on_device(change: Change, device: str) -> Change:
    """Return a transform on a device; functions move nothing."""
    return change.to(device) if isinstance(change, nn.Module) else change


def floors(waveforms: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """Yield two lower bounds of the time, a copy of the batch and one pair of FFTs."""
    yield "copy", lambda: waveforms.clone()
    yield "FFT pair", lambda: torch.fft.irfft(torch.fft.rfft(waveforms), n=waveforms.shape[-1])


def measure(device: str, names: list[str], budget: float) -> Rows:
    """Return a row for each transform and contender."""
    rows: Rows = []
    waveforms = noise_clips(CLIPS, device)
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        entries = registry(folder)
        for name in names or entries:
            own = measure_transform(name, entries[name], waveforms, budget)
            for row in own:
                print(row, flush=True)
                if is_error(row):
                    raise SystemExit(f"{name}: {row['name']}: {row['state']}")
            rows += own
    return rows


def noise_clips(count: int, device: str) -> Tensor:
    """Return clips of white noise."""
    return 0.1 * torch.randn(count, 1, SAMPLES, generator=torch.Generator().manual_seed(1)).to(device)


def measure_transform(name: str, entry: Entry, waveforms: Tensor, budget: float, until: Deadline | None = None) -> Rows:
    """Check all contenders of a transform and measure them in turns, on the device of the waveforms.

    Args:
        name: name of the transform.
        entry: the transform and its peers. On a GPU, peers that do not run there are left out.
        waveforms: (clips, 1, samples).
        budget: time of the turns in seconds.
        until: deadline, after which no turn begins.
    """
    device = waveforms.device.type
    makers = {"ssc_toolkit": entry.make} | entry.torch_peers | (entry.others if device == "cpu" else {})
    states, runs, first = dict.fromkeys(makers, NOT_MEASURED), {}, {}
    for peer, make in makers.items():

        def begin(peer: str = peer, make: Callable[[bool], Change] = make) -> tuple[float, Callable[[], Tensor], float]:
            worst = 0.0
            if peer != "ssc_toolkit" and entry.measure is not None and peer not in UNCHECKED:
                made = (on_device(one(True), device) for one in (make, entry.make))
                worst = difference(entry, *made, device)
            run = partial(on_device(make(False), device), waveforms)
            run()  # warms up
            return worst, run, seconds_of(run, device)

        found = attempt(begin, device)
        if isinstance(found, Failure):
            states[peer] = found.reason
        elif not found[0] <= entry.tolerance:
            states[peer] = f"not the same work: {found[0]:.3g} from ours, by {entry.says}"
        else:
            states[peer], runs[peer], first[peer] = MEASURED, found[1], found[2]
    runs |= dict(floors(waveforms))
    first |= {floor: seconds_of(runs[floor], device) for floor in FLOORS}
    repeats = count_repeats(budget, first.values(), 5, 30)
    times = take_turns({peer: partial(seconds_of, run, device) for peer, run in runs.items()}, repeats, until)
    ours = times.get("ssc_toolkit")
    rows: Rows = []
    for peer in [*makers, *FLOORS]:
        row = {"transform": name, "name": peer, "kind": kind_of(peer, entry), "state": states.get(peer, MEASURED)}
        if peer in times:
            row |= {
                "milliseconds": 1e3 * statistics.median(times[peer]),
                "ratio": paired_ratio(times[peer], ours) if ours else None,
                "repeats": len(times[peer]),
                "checked": entry.says if peer not in UNCHECKED else "",
            }
        rows.append(row)
    return rows


def kind_of(peer: str, entry: Entry) -> str:
    """Return the kind of a contender, which decides its column."""
    if peer in FLOORS:
        return "floor"
    if peer == "ssc_toolkit":
        return "ours"
    return "one by one" if peer in entry.others else "torch"


def markdown(rows: Rows, header: str) -> str:
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
        pair = own.pop("FFT pair", {})
        own.pop("copy", None)
        cells = [
            "<br>".join(f"{peer}: {_ratio(row)}" for peer, row in own.items() if row["kind"] == kind)
            for kind in ("torch", "one by one")
        ]
        checked = mine.get("checked", "") if own else ""
        took = f"{_milliseconds(mine)} ms" if mine["state"] == MEASURED else mine["state"]
        over = f"{1 / pair['ratio']:.2g}" if pair.get("ratio") else ""
        lines.append(f"| {name} | {took} | {over} | {cells[0]} | {cells[1]} | {checked} |")
    return "\n".join(lines) + "\n" + _floors(rows)


def _ratio(row: dict[str, Any]) -> str:
    if row["state"] != MEASURED:
        return row["state"]
    return f"**{row['ratio']:.3g} x**" if row["ratio"] else f"{_milliseconds(row)} ms"


def _milliseconds(row: dict[str, Any]) -> str:
    value = row["milliseconds"]
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def _floors(rows: Rows) -> str:
    """Return a line with the median times of a copy and an FFT pair."""
    medians = []
    for floor in FLOORS:
        times = [row["milliseconds"] for row in rows if row["name"] == floor and row["state"] == MEASURED]
        if not times:
            return ""
        medians.append(_milliseconds({"milliseconds": statistics.median(times)}))
    return f"\nFloors: a copy of the batch {medians[0]} ms, one FFT pair {medians[1]} ms.\n"


def plot(rows: Rows, path: Path) -> None:
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
