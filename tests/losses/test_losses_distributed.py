"""Real processes: the loss and every gradient equal those of one process with the whole batch."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from loss_reference import random_batch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ssc_toolkit.losses import (
    CrossBatchMemory,
    LearnableTemperature,
    SemiSupConLoss,
    SeparateHeadsLoss,
    cached_backward,
)
from ssc_toolkit.targets import SameClass

ITEMS, VIEWS, DIM = 12, 2, 6
SHARES = {1: [[12]], 2: [[6, 6], [9, 3], [12, 0]], 4: [[3, 3, 3, 3], [1, 5, 4, 2]]}
KINDS = ("classes", "dice", "union")
REDUCTIONS = ("mean", "sum")
IMPLEMENTATIONS = ("dense", "tiled")


class Trained(nn.Module):
    """An encoder and a loss whose temperature is learned: everything that DDP averages."""

    def __init__(self, kind: str, reduction: str, implementation: str, gather: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(DIM, 8), nn.Tanh(), nn.Linear(8, 5)).double()
        self.criterion = SemiSupConLoss(
            LearnableTemperature(0.3).double(),
            random_batch(3, ITEMS, VIEWS, DIM, 0.7, kind).signal.target,
            reduction,
            implementation=implementation,
            gather=gather,
        )

    def forward(self, inputs, labels=None, labeled=None, items=None):
        return self.criterion(self.encoder(inputs), labels, labeled=labeled, items=items)


def part(value, start, stop):
    return {k: v[start:stop] for k, v in value.items()} if isinstance(value, dict) else value[start:stop]


def cases():
    for kind in KINDS:
        for reduction in REDUCTIONS:
            for implementation in IMPLEMENTATIONS:
                for ids in (False, True):
                    yield kind, reduction, implementation, ids


def item_ids(given: bool):
    """Ids by which two items are views of one, also across processes."""
    return torch.arange(ITEMS) % (ITEMS - 3) if given else None


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters()]


def join(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )


def work(rank: int, world: int, folder: str) -> None:
    join(rank, world, folder)
    found = {}
    for number, shares in enumerate(SHARES[world]):
        start = sum(shares[:rank])
        stop = start + shares[rank]
        for kind, reduction, implementation, ids in cases():
            made = random_batch(3, ITEMS, VIEWS, DIM, 0.7, kind)
            model = DistributedDataParallel(Trained(kind, reduction, implementation, gather=True))
            items = item_ids(ids)
            loss = model(
                made.embeddings[start:stop],
                part(made.signal.labels, start, stop),
                part(made.signal.labeled, start, stop),
                None if items is None else items[start:stop],
            )
            loss.backward()
            found[number, kind, reduction, implementation, ids] = (loss.detach(), gradients(model))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("world", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_processes_is_one(world, tmp_path):
    mp.spawn(work, (world, str(tmp_path)), nprocs=world)
    whole = {}
    for kind, reduction, implementation, ids in cases():
        made = random_batch(3, ITEMS, VIEWS, DIM, 0.7, kind)
        model = Trained(kind, reduction, "dense", gather=False)
        loss = model(made.embeddings, **made.signal.given, items=item_ids(ids))
        loss.backward()
        whole[kind, reduction, implementation, ids] = (loss.detach(), gradients(model))
    for rank in range(world):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert len(found) == len(SHARES[world]) * len(whole)
        for (_, *case), (loss, by_parameter) in found.items():
            expected_loss, expected = whole[tuple(case)]
            torch.testing.assert_close(loss, expected_loss, rtol=1e-10, atol=1e-10)
            for got, wanted in zip(by_parameter, expected, strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)


class Normalized(nn.Module):
    """Batch statistics, which DDP sends from the first process to all at each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm = nn.BatchNorm1d(DIM).double()
        self.layer = nn.Linear(DIM, 5).double()

    def forward(self, inputs):
        return self.layer(self.norm(inputs))


def odd_jobs(rank: int, world: int, folder: str) -> None:
    join(rank, world, folder)
    made = random_batch(4, 8, VIEWS, DIM, 0.7)
    local = slice(4 * rank, 4 * rank + 4)
    found = {}

    none = SemiSupConLoss(reduction="none", gather=True)
    found["none"] = none(made.embeddings[local], made.signal.labels[local], labeled=made.signal.labeled[local])

    labels = torch.where(made.signal.labeled, made.signal.labels, -1)[local]
    found["ignored number"] = SemiSupConLoss(target=SameClass(-1), gather=True)(made.embeddings[local], labels)

    queue_alone = CrossBatchMemory(SemiSupConLoss(gather=True), size=20, contrasts="queue")
    keys = made.embeddings.flip(0)[local]
    items = torch.arange(8) + 100
    found["queue alone"] = [
        queue_alone(
            made.embeddings[local] + step,
            made.signal.labels[local],
            labeled=made.signal.labeled[local],
            items=items[local],
            keys=keys + step,
        )
        for step in range(3)
    ]

    memory = CrossBatchMemory(SemiSupConLoss(gather=True), size=20)
    items = torch.arange(8) + 100
    found["memory"] = [
        memory(
            made.embeddings[local] + step,
            made.signal.labels[local],
            labeled=made.signal.labeled[local],
            items=items[local],
        )
        for step in range(3)
    ]
    found["queue"] = memory.queue.embeddings

    model = DistributedDataParallel(Trained("classes", "mean", "auto", gather=True).encoder)
    criterion = SemiSupConLoss(gather=True)
    cached_backward(
        model,
        made.embeddings[local],
        lambda z: criterion(z, made.signal.labels[local], labeled=made.signal.labeled[local]),
        chunk_size=3 - rank,  # another number of chunks on each process
    )
    found["cached"] = gradients(model)

    normalized = DistributedDataParallel(Normalized())
    normalized.module.norm.running_mean.add_(rank)  # what one process has, DDP sends to all
    for step in range(2):
        cached_backward(
            normalized, made.embeddings[local, 0] + step, lambda z: criterion(z[:, None].repeat(1, 2, 1)), 2
        )
    found["buffers"] = [buffer.clone() for buffer in normalized.module.buffers()]

    static = DistributedDataParallel(nn.Linear(DIM, 5).double(), static_graph=True)
    for model in (static, nn.Sequential(static)):
        with pytest.raises(ValueError, match=r"model: .*static_graph=True"):
            cached_backward(model, made.embeddings[local], criterion, 2)

    leaf = made.embeddings[local].clone().requires_grad_()
    cached_backward(Trained("classes", "mean", "auto", gather=True).encoder, leaf, criterion, 2)
    found["leaf"] = leaf.grad

    heads = SeparateHeadsLoss(SemiSupConLoss(gather=True), SemiSupConLoss(gather=True), label_weight=0.5)
    both = torch.cat([made.embeddings, made.embeddings.flip(-1)], dim=-1)[local].clone().requires_grad_()
    known = made.signal.labeled[local] if rank else torch.zeros(4, dtype=torch.bool)
    loss = heads(both, made.signal.labels[local], labeled=known)
    loss.backward()
    found["heads"] = loss.detach(), both.grad

    with pytest.raises(ValueError, match="labels: with gather"):
        SemiSupConLoss(gather=True)(made.embeddings[local], made.signal.labels[local] if rank else None)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_what_else_gathers(tmp_path):
    mp.spawn(odd_jobs, (2, str(tmp_path)), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    made = random_batch(4, 8, VIEWS, DIM, 0.7)

    expected = SemiSupConLoss(reduction="none")(made.embeddings, **made.signal.given)
    torch.testing.assert_close(torch.cat([f["none"] for f in found]), expected)

    for one in found:
        torch.testing.assert_close(one["ignored number"], SemiSupConLoss()(made.embeddings, **made.signal.given))

    queue_alone = CrossBatchMemory(SemiSupConLoss(), size=20, contrasts="queue")
    keys = torch.cat([made.embeddings.flip(0)[4 * rank : 4 * rank + 4] for rank in range(2)])
    items = torch.arange(8) + 100
    for step in range(3):
        expected = queue_alone(made.embeddings + step, **made.signal.given, items=items, keys=keys + step)
        for one in found:
            torch.testing.assert_close(one["queue alone"][step], expected)

    memory = CrossBatchMemory(SemiSupConLoss(), size=20)
    items = torch.arange(8) + 100
    for step in range(3):
        expected = memory(made.embeddings + step, **made.signal.given, items=items)
        for one in found:
            torch.testing.assert_close(one["memory"][step], expected)
    for one in found:
        torch.testing.assert_close(one["queue"], memory.queue.embeddings)

    model = Trained("classes", "mean", "auto", gather=False).encoder
    SemiSupConLoss()(model(made.embeddings), **made.signal.given).backward()
    for one in found:
        for got, wanted in zip(one["cached"], gradients(model), strict=True):
            torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)

    first = Normalized()
    for step in range(2):
        of_ranks = [copy.deepcopy(first) for _ in range(2)]
        for rank, own in enumerate(of_ranks):
            for start in (4 * rank, 4 * rank + 2):
                own(made.embeddings[start : start + 2, 0] + step)
        first = of_ranks[0]
    for own, one in zip(of_ranks, found, strict=True):
        for got, wanted in zip(one["buffers"], own.buffers(), strict=True):
            torch.testing.assert_close(got, wanted)

    leaf = made.embeddings.clone().requires_grad_()
    SemiSupConLoss()(Trained("classes", "mean", "auto", gather=False).encoder(leaf)).backward()
    torch.testing.assert_close(torch.cat([one["leaf"] for one in found]) / 2, leaf.grad)

    both = torch.cat([made.embeddings, made.embeddings.flip(-1)], dim=-1).requires_grad_()
    known = made.signal.labeled & (torch.arange(8) >= 4)
    assert known.any()
    loss = SeparateHeadsLoss(SemiSupConLoss(), SemiSupConLoss(), 0.5)(both, made.signal.labels, labeled=known)
    loss.backward()
    for one in found:
        torch.testing.assert_close(one["heads"][0], loss.detach())
    torch.testing.assert_close(torch.cat([one["heads"][1] for one in found]) / 2, both.grad)


def test_without_a_process_group_gathering_changes_nothing():
    made = random_batch(4, 8, VIEWS, DIM, 0.7)
    losses = [SemiSupConLoss(gather=gather)(made.embeddings, **made.signal.given) for gather in (False, True)]
    assert losses[0] == losses[1]


# Options, and groups of processes

OPTIONS = {
    "ignored by groups": {"groups": True},
    "ignored by a mask": {"ignored": True},
    "weights": {"anchor_weights": True, "label_weight": 0.3},
    "hard negatives": {"beta": 1.0, "tau_plus": 0.1},
    "weighted positives": {"sigma": 0.5, "denominator": "negatives"},
}
OF_BATCH = {
    "groups": torch.arange(ITEMS) % 5,
    "ignored": torch.rand(ITEMS, ITEMS, generator=torch.Generator().manual_seed(2)) < 0.3,
    "anchor_weights": torch.rand(ITEMS, generator=torch.Generator().manual_seed(3)) * 2,
}


class Optional(nn.Module):
    """An encoder and a loss with a learned temperature and an option."""

    def __init__(self, option: str, reduction: str, implementation: str, **gathering) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(DIM, 8), nn.Tanh(), nn.Linear(8, 5)).double()
        settings = {name: value for name, value in OPTIONS[option].items() if name not in OF_BATCH}
        self.of_batch = [name for name in OPTIONS[option] if name in OF_BATCH]
        tau = LearnableTemperature(0.3).double()
        self.criterion = SemiSupConLoss(tau, None, reduction, implementation=implementation, **settings, **gathering)

    def forward(self, made, rows: slice, columns: slice):
        given = {name: OF_BATCH[name][rows] for name in self.of_batch}
        if "ignored" in given:
            given["ignored"] = given["ignored"][:, columns]
        inputs, labels, labeled = (value[rows] for value in (made.embeddings, *made.signal[:2]))
        return self.criterion(self.encoder(inputs), labels, labeled=labeled, **given)


def option_cases():
    for option in OPTIONS:
        for reduction in (*REDUCTIONS, "none"):
            for implementation in IMPLEMENTATIONS:
                yield option, reduction, implementation


def in_groups(rank: int, world: int, folder: str) -> None:
    """Ranks 0 and 2 work on the first items and ranks 1 and 3 on the last, each with an odd share."""
    join(rank, world, folder)
    groups = [dist.new_group([0, 2]), dist.new_group([1, 3])]
    mine, other = groups[rank % 2], groups[1 - rank % 2]
    columns, rows = BLOCKS[rank % 2], PARTS[rank]
    made = random_batch(3, ITEMS, VIEWS, DIM, 0.7)
    found = {}
    for case in option_cases():
        option, reduction, implementation = case
        model = Optional(option, reduction, implementation, gather=True, process_group=mine)
        wrapped = DistributedDataParallel(model, process_group=mine)
        loss = wrapped(made, rows, columns)
        if reduction == "none":
            (loss.sum() * 2).backward()  # the gradient of a sum, averaged over two processes
        else:
            loss.backward()
        found[case] = (loss.detach(), gradients(model))
    with pytest.raises(ValueError, match="process_group: expected a group that contains this process"):
        SemiSupConLoss(gather=True, process_group=other)(made.embeddings[rows])

    memory = CrossBatchMemory(SemiSupConLoss(gather=True, process_group=mine), size=20)
    items = torch.arange(ITEMS) + 100
    batch = made.embeddings[rows], made.signal.labels[rows]
    found["memory"] = [memory(batch[0] + step, batch[1], items=items[rows]) for step in range(3)]
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


BLOCKS = [slice(0, 7), slice(7, ITEMS)]
PARTS = [slice(0, 2), slice(7, 11), slice(2, 7), slice(11, ITEMS)]


@pytest.mark.slow
def test_each_group_of_processes_is_one(tmp_path):
    mp.spawn(in_groups, (4, str(tmp_path)), nprocs=4)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(4)]
    made = random_batch(3, ITEMS, VIEWS, DIM, 0.7)
    for number, block in enumerate(BLOCKS):
        first, second = found[number], found[number + 2]
        for case in option_cases():
            option, reduction, _ = case
            model = Optional(option, reduction, "dense")
            expected = model(made, block, block)
            expected.sum().backward()
            if reduction == "none":
                torch.testing.assert_close(torch.cat([first[case][0], second[case][0]]), expected.detach())
            for loss, by_parameter in (first[case], second[case]):
                if reduction != "none":
                    torch.testing.assert_close(loss, expected.detach(), rtol=1e-10, atol=1e-10)
                for got, wanted in zip(by_parameter, gradients(model), strict=True):
                    torch.testing.assert_close(got, wanted, rtol=1e-10, atol=1e-10)
        memory = CrossBatchMemory(SemiSupConLoss(), size=20)
        items = torch.arange(ITEMS) + 100
        for step in range(3):
            expected = memory(made.embeddings[block] + step, made.signal.labels[block], items=items[block])
            for one in (first, second):
                torch.testing.assert_close(one["memory"][step], expected)
