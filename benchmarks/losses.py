"""Time and memory of the losses compared with the same losses of other libraries.

There are three tasks: multi-hot labels (positives have a label in common), classes, and no labels. The script first
checks that each contender, which is an implementation of the loss of a task, gives the same value as ours. Then all
contenders of a task run in turns in one process. A run is a forward and backward pass, including the computation of
masks. The results are the medians of the ratios to our time. Extra memory is the peak of the memory that a step
allocates. A contender "does not fit" if it would need more than 20 GB, estimated from its memory at the previous size.

    python benchmarks/losses.py --out=docs/benchmarks     # writes losses-cpu.md, .json and .svg there

Peers that are not installed are left out; `pip install -e '.[peers]'` installs them.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from results import DOES_NOT_FIT, MEASURED, NOT_MEASURED, Rows, is_error, options_of, report
from timing import Deadline, Failure, attempt, count_repeats, extra_bytes, paired_ratio, seconds_of, take_turns
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.losses import NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.targets import SharedLabels

SIZES = (192, 256, 1024, 4096, 16384, 32768)
VIEWS, DIM, CLASSES, TEMPERATURE = 2, 128, 50, 0.1
LIMIT_BYTES = 20e9
SECONDS_A_SIZE = 15.0
MOST_REPEATS, LEAST_REPEATS = 60, 3
SLOW_SECONDS = 10.0
"""Number of seconds. A step that takes longer is timed only once."""

Batch = tuple[Tensor, Tensor, Tensor]
"""Embeddings (items, views, dim), tags (items, classes) and classes (items,)."""
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Function of the tensors of a batch that returns a scalar."""


def sup_contrast(embeddings: Tensor, mask: Tensor) -> Tensor:
    """Compute SupCon from a mask of item pairs, in the common formulation of Khosla et al."""
    rows = F.normalize(torch.cat(embeddings.unbind(1)), dim=1)
    views = embeddings.shape[1]
    logits = rows @ rows.T / TEMPERATURE
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    others = 1 - torch.eye(len(rows), device=rows.device)
    mask = mask.repeat(views, views) * others
    log_probability = logits - (logits.exp() * others).sum(1, keepdim=True).log()
    return -((mask * log_probability).sum(1) / mask.sum(1)).mean()


def share_a_tag(tags: Tensor) -> Tensor:
    """Return the mask of pairs of items that have a common tag or are the same item."""
    return ((tags.float() @ tags.float().T > 0) | torch.eye(len(tags), dtype=torch.bool, device=tags.device)).float()


def published(embeddings: Tensor, tags: Tensor) -> Tensor:
    """Compute the loss of the published SemiSupCon as described, with broadcast cosines and label comparisons."""
    rows, labels = embeddings.flatten(0, 1), tags.repeat_interleave(embeddings.shape[1], 0)
    items = torch.arange(len(tags), device=tags.device).repeat_interleave(embeddings.shape[1])
    similarity = F.cosine_similarity(rows[:, None, :], rows[None, :, :], dim=-1) / TEMPERATURE
    shared = (labels[:, None, :] * labels[None, :, :]).sum(-1) >= 1
    itself = torch.eye(len(rows), device=rows.device)
    positive = (shared | (items[:, None] == items)).float() * (1 - itself)
    exponentials = similarity.exp() * (1 - itself)
    probability = exponentials / exponentials.sum(1, keepdim=True)
    return (-(torch.log(probability + 1e-6) * positive).sum(1) / positive.sum(1)).mean()


def contenders() -> dict[str, dict[str, Loss]]:
    """Return losses by task and name. Our loss is the first of each task."""
    tasks: dict[str, dict[str, Loss]] = {"multi-hot labels": {}, "classes": {}, "no labels": {}}
    for implementation in ("tiled", "dense"):
        options: Any = {"temperature": TEMPERATURE, "implementation": implementation}
        shared = SemiSupConLoss(target=SharedLabels(), **options)
        supervised, unsupervised = SupConLoss(**options), NTXentLoss(**options)
        name = f"ssc_toolkit, {implementation}"
        tasks["multi-hot labels"][name] = lambda z, tags, classes, loss=shared: loss(z, tags)
        tasks["classes"][name] = lambda z, tags, classes, loss=supervised: loss(z, classes)
        tasks["no labels"][name] = lambda z, tags, classes, loss=unsupervised: loss(z)
    tasks["multi-hot labels"]["SupContrast formulation"] = lambda z, tags, classes: sup_contrast(z, share_a_tag(tags))
    tasks["multi-hot labels"]["published SemiSupCon formulation"] = lambda z, tags, classes: published(z, tags)
    tasks["classes"]["SupContrast formulation"] = lambda z, tags, classes: sup_contrast(
        z, (classes[:, None] == classes).float()
    )
    try:
        from pytorch_metric_learning import losses as peers
    except ImportError:
        print("pytorch-metric-learning is not installed")
    else:
        supcon, nt_xent = peers.SupConLoss(TEMPERATURE), peers.NTXentLoss(TEMPERATURE)
        tasks["classes"]["pytorch-metric-learning SupConLoss"] = lambda z, tags, classes: supcon(
            z.flatten(0, 1), classes.repeat_interleave(VIEWS)
        )
        tasks["no labels"]["pytorch-metric-learning NTXentLoss"] = lambda z, tags, classes: nt_xent(
            z.flatten(0, 1), torch.arange(len(z), device=z.device).repeat_interleave(VIEWS)
        )
    try:
        from lightly.loss import NTXentLoss as LightlyLoss
    except ImportError:
        print("lightly is not installed")
    else:
        lightly = LightlyLoss(TEMPERATURE)
        tasks["no labels"]["lightly NTXentLoss"] = lambda z, tags, classes: lightly(z[:, 0], z[:, 1])
    return tasks


def step(loss: Loss, batch: Batch) -> tuple[float, float]:
    """Run one forward and backward pass; return its value and seconds."""
    leaf = batch[0].clone().requires_grad_()
    values = []

    def run() -> None:
        value = loss(leaf, *batch[1:])
        value.backward()
        values.append(value.detach())

    seconds = seconds_of(run, leaf.device.type)
    return values[0].item(), seconds


def measure(device: str, sizes: tuple[int, ...]) -> Rows:
    """Return a row for each task, size and contender."""
    rows: Rows = []
    for task, losses in contenders().items():
        known: dict[str, tuple[int, float]] = {}  # size and bytes of the last size that ran
        for size in sizes:
            fits = {
                name: name not in known or known[name][1] * (size / known[name][0]) ** 2 < LIMIT_BYTES
                for name in losses
            }
            own = measure_size(task, losses, size, device, fits)
            for row in own:
                print(row, flush=True)
                if is_error(row):
                    raise SystemExit(f"{task}, {size}: {row['name']}: {row['state']}")
            known |= {row["name"]: (size, 1e6 * row["megabytes"]) for row in own if row["state"] == MEASURED}
            rows += own
    return rows


def make_batch(size: int, device: str) -> Batch:
    """Return embeddings, tags and classes of `size` rows."""
    generator = torch.Generator().manual_seed(size)
    items = size // VIEWS
    return (
        torch.randn(items, VIEWS, DIM, generator=generator).to(device),
        (torch.rand(items, CLASSES, generator=generator) < 0.05).long().to(device),
        torch.randint(CLASSES, (items,), generator=generator).to(device),
    )


def measure_size(
    task: str,
    losses: dict[str, Loss],
    size: int,
    device: str,
    fits: dict[str, bool] | None = None,
    budget: float = SECONDS_A_SIZE,
    until: Deadline | None = None,
) -> Rows:
    """Measure all contenders of a task at one size, in turns.

    Args:
        task: name of the task.
        losses: contenders by name; the first is ours.
        size: number of rows.
        device: device type.
        fits: contenders that are not tried because they would need too much memory are False.
        budget: time of the turns in seconds.
        until: deadline, after which no further contender is tried.
    """
    batch = make_batch(size, device)
    until = Deadline() if until is None else until
    states = dict.fromkeys(losses, NOT_MEASURED)
    memory: dict[str, int] = {}
    first: dict[str, float] = {}
    expected = None
    for name, loss in losses.items():
        if fits is not None and not fits[name]:
            states[name] = DOES_NOT_FIT
            continue
        if until.left() < 0:
            continue
        found = attempt(lambda loss=loss: (extra_bytes(lambda: step(loss, batch), device), *step(loss, batch)), device)
        if isinstance(found, Failure):
            states[name] = found.reason
            continue
        needed, value, seconds = found
        expected = value if expected is None else expected
        if not abs(value - expected) <= 2e-3 * abs(expected):
            states[name] = f"not the same work: {value:.6g} instead of {expected:.6g}"
            continue
        states[name], memory[name], first[name] = MEASURED, needed, seconds
    quick = {name: seconds for name, seconds in first.items() if seconds < SLOW_SECONDS}
    repeats = count_repeats(budget, quick.values(), LEAST_REPEATS, MOST_REPEATS)
    crowded = device == "cuda" and sum(memory.values()) > torch.cuda.get_device_properties(0).total_memory / 2

    def timed(name: str) -> float:
        if crowded:  # the allocator gives memory back between contenders, which a step must not pay for
            step(losses[name], batch)
        return step(losses[name], batch)[1]

    turns = take_turns({name: partial(timed, name) for name in quick}, repeats, until)
    times = {name: turns.get(name, [seconds]) for name, seconds in first.items()}
    ours = times.get(next(iter(losses)), [])
    rows: Rows = []
    for name in losses:
        row: dict[str, Any] = {"task": task, "size": size, "name": name, "state": states[name]}
        if name in times:
            row |= {
                "milliseconds": 1e3 * statistics.median(times[name]),
                "ratio": paired_ratio(times[name], ours) if ours else None,
                "megabytes": memory[name] / 1e6,
                "repeats": len(times[name]),
            }
        rows.append(row)
    return rows


def markdown(rows: Rows, header: str) -> str:
    """Return a table for each task with the time as a ratio to ours, and the extra memory."""
    parts = [header]
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        sizes = list(dict.fromkeys(row["size"] for row in own))
        parts.append(f"\n**{task[0].upper()}{task[1:]}**\n")
        parts.append("| loss | " + " | ".join(f"N = {size}" for size in sizes) + " |")
        parts.append("|---|" + "---|" * len(sizes))
        for name in dict.fromkeys(row["name"] for row in own):
            cells = [_cell(row) for row in own if row["name"] == name]
            parts.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(parts) + "\n"


def _cell(row: dict[str, Any]) -> str:
    if row["state"] != MEASURED:
        return row["state"]
    ratio = row["ratio"]
    shown = "no ratio" if ratio is None else f"{ratio:.2f} x" if ratio < 10 else f"{ratio:.0f} x"
    milliseconds = row["milliseconds"]
    took = f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"
    memory = row["megabytes"]
    held = f"{memory:.1f} MB" if memory < 1000 else f"{memory / 1000:.1f} GB"
    return f"**{shown}**<br>{took}<br>{held}"


def plot(rows: Rows, path: Path) -> None:
    """Plot time and memory over the size, with a pair of panels for each task."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, axes = plt.subplots(2, len(tasks), figsize=(4 * len(tasks), 6.5), sharex=True, sharey="row")
    colors = {name: f"C{number}" for number, name in enumerate(dict.fromkeys(row["name"] for row in rows))}
    for column, task in enumerate(tasks):
        for name, color in colors.items():
            own = [row for row in rows if row["task"] == task and row["name"] == name and row["state"] == MEASURED]
            for axis, key in zip(axes[:, column], ("milliseconds", "megabytes"), strict=True):
                if own:
                    axis.loglog([r["size"] for r in own], [r[key] for r in own], "o-", color=color, ms=3.5, label=name)
        axes[0, column].set_title(task)
        axes[1, column].set_xlabel("N = items x views")
    axes[0, 0].set_ylabel("forward and backward, ms")
    axes[1, 0].set_ylabel("extra memory, MB")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    handles = {h.get_label(): h for axis in axes.flat for h in axis.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=2, frameon=False)
    figure.tight_layout(rect=(0, 0.17, 1, 1))
    figure.savefig(path)


def main() -> None:
    """Measure all losses and report the results."""
    parser = options_of(__doc__)
    parser.add_argument(
        "--sizes",
        type=lambda text: tuple(map(int, text.split(","))),
        default=SIZES,
        help="numbers of rows, such as 192,1024",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure(options.device, options.sizes)
    about = (
        f"D = {DIM}, C = {CLASSES}, {VIEWS} views, float32. Time of a forward and backward pass as a multiple of the "
        "first row's (median of paired ratios), its median, extra memory."
    )
    report("losses", rows, about, markdown, plot, options)


if __name__ == "__main__":
    main()
