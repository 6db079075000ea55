"""Two real processes whose losses are called with different options: every process raises the same clear error."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss, semi_supcon_loss
from ssc_toolkit.targets import LabelOverlap, MaxTarget, SameClass, SharedLabels

pytestmark = pytest.mark.slow


CLASSES, HOT = torch.tensor([0, 1, 0]), torch.eye(3)

# Arguments of rank 1, next to those of both; the names that the error begins with.
CASES = {
    "anchor_weights": ({}, {"anchor_weights": torch.ones(3)}, "anchor_weights"),
    "sigma": ({}, {"sigma": 0.5}, "sigma"),
    "beta": ({}, {"beta": 0.5}, "beta"),
    "several": ({}, {"beta": 0.5, "sigma": 0.5}, "beta, sigma"),
    "reduction": ({}, {"reduction": "sum"}, "reduction"),
    "denominator": ({}, {"denominator": "negatives"}, "denominator"),
    "temperature": ({}, {"temperature": 0.2}, "temperature"),
    "ignored": ({}, {"ignored": torch.zeros(3, 6, dtype=torch.bool)}, "ignored"),
    "keys": ({}, {"keys": torch.ones(3, 2, 4, requires_grad=True)}, "keys"),
    "items": ({}, {"items": torch.arange(3)}, "items"),
    "groups": ({}, {"groups": torch.arange(3)}, "labels"),
    "labels": ({}, {"labels": CLASSES.int()}, "labels"),
    "target": ({"labels": HOT}, {"target": LabelOverlap()}, "target"),
    "class weights": (
        {"labels": HOT, "target": LabelOverlap()},
        {"target": LabelOverlap(class_weights=[1.0, 2.0, 3.0])},
        "target",
    ),
    "part of a target": (
        {"labels": {"a": CLASSES}, "target": MaxTarget({"a": SameClass()})},
        {"target": MaxTarget({"a": lambda rows, columns: (rows[:, None] == columns).float()})},
        "target",
    ),
    "gradients": ({}, {"embeddings": torch.ones(3, 2, 4)}, "embeddings"),
}


def call(case: str, rank: int) -> str:
    both, different, _ = CASES[case]
    embeddings = torch.randn(3, 2, 4, requires_grad=True)
    given = {"embeddings": embeddings, "labels": CLASSES, "target": SharedLabels() if "labels" in both else SameClass()}
    given |= both | (different if rank else {})
    try:
        semi_supcon_loss(given.pop("embeddings"), gather=True, **given)
    except ValueError as error:
        return str(error)
    return "no error"


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    found = {case: call(case, rank) for case in CASES}
    with_memory = SemiSupConLoss(gather=True)
    loss = CrossBatchMemory(with_memory, 8) if rank else with_memory
    try:
        loss(torch.randn(3, 2, 4), CLASSES, items=torch.arange(3))
    except ValueError as error:
        found["memory"] = str(error)
    # What may differ: the implementation, the number of items, functions that are made anew in every process.
    own = 2 + rank
    found["alike"] = semi_supcon_loss(
        torch.ones(own, 2, 4), torch.arange(own), gather=True, implementation="dense" if rank else "tiled",
        target=lambda rows, columns: (rows[:, None] == columns).float(),
    ).isfinite().item()  # fmt: skip
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("errors")
    mp.spawn(work, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_options_of_one_process_alone_are_named_on_all(errors, case):
    first, second = (found[case] for found in errors)
    assert first == second
    assert first.startswith(f"{CASES[case][2]}: with gather=True, ")


def test_a_memory_of_one_process_alone_is_named(errors):
    assert errors[0]["memory"] == errors[1]["memory"]
    assert errors[0]["memory"].startswith("memory: with gather=True, ")


def test_processes_that_differ_in_size_alone_work_together(errors):
    assert errors[0]["alike"] is True
    assert errors[1]["alike"] is True
