"""Ignored pairs, weights of anchors and positives, hard negatives: against the double loop, and what they reduce to."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_reference import Batch, naive_loss, random_batch
from test_losses import ROWS_PER_TILE, LargestTensor

import ssc_toolkit.losses.tiled
from ssc_toolkit.losses import (
    CrossBatchMemory,
    LearnableTemperature,
    NTXentLoss,
    SemiSupConLoss,
    SupConLoss,
    class_balanced_weights,
)
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import GaussianKernel, IgnorePairs, MaxTarget, SameClass, SharedLabels, Target, WeightedSum

implementations = pytest.mark.parametrize("implementation", ["dense", "tiled"])
reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setitem(ssc_toolkit.losses.tiled.PAIRS_PER_TILE, "cpu", 1)
    monkeypatch.setattr(ssc_toolkit.losses.tiled, "LEAST_ROWS", ROWS_PER_TILE)


class Drawn(NamedTuple):
    """A batch, options of the loss for it, and what the double loop says."""

    batch: Batch
    options: dict
    losses: list[float]
    valid: list[bool]
    weights: list[float]


@st.composite
def drawn_batches(draw, kinds=("classes", "two shared labels", "dice"), sigmas=(None, 0.1, 0.5)):
    seed = draw(st.integers(0, 2**31))
    batch = random_batch(
        seed,
        draw(st.integers(1, 7)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 6)),
        draw(st.sampled_from([0.0, 0.7, 1.0])),
        draw(st.sampled_from(kinds)),
    )
    items, views = batch.embeddings.shape[:2]
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(3, (items,), generator=generator) * 100 if draw(st.booleans()) else None
    mask = torch.rand(items, items, generator=generator) < 0.3 if draw(st.booleans()) else None
    weights = torch.rand(items, generator=generator, dtype=torch.float64) * 3 if draw(st.booleans()) else None
    if weights is not None and draw(st.booleans()):
        weights[0] = 0
    settings = {
        "temperature": draw(st.sampled_from([0.1, 0.5, 2.0])),
        "label_weight": draw(st.sampled_from([0.0, 0.3, 1.0, 4.0])),
        "beta": draw(st.sampled_from([0.0, 0.5, 2.0])),
        "tau_plus": draw(st.sampled_from([0.0, 0.1, 0.4])),
        "sigma": draw(st.sampled_from(sigmas)),
    }
    denominator = draw(st.sampled_from(["all", "negatives"]))
    rows = [item for item in range(items) for _ in range(views)]

    def ignored(i, k):
        by_group = groups is not None and groups[rows[i]] == groups[rows[k]]
        return bool(by_group or (mask is not None and mask[rows[i], rows[k]]))

    losses, valid = naive_loss(
        batch.embeddings.flatten(0, 1),
        rows,
        lambda i, k: batch.signal.weight(rows[i], rows[k]),
        decoupled=denominator == "negatives",
        ignored=ignored,
        **settings,
    )
    by_row = [1.0] * len(rows) if weights is None else [float(weights[item]) for item in rows]
    options = settings | {"denominator": denominator, "groups": groups, "ignored": mask, "anchor_weights": weights}
    return Drawn(batch, options, losses, valid, by_row)


def loss_of(made: Batch, **options):
    return semi_supcon_loss(made.embeddings, **made.signal.given, target=made.signal.target, **options)


@implementations
@given(drawn=drawn_batches())
def test_every_option_equals_the_double_loop(implementation, drawn):
    weighted = [weight * loss for weight, loss in zip(drawn.weights, drawn.losses, strict=True)]
    total = sum(weight for weight, valid in zip(drawn.weights, drawn.valid, strict=True) if valid)
    close = {"rel": 1e-5, "abs": 1e-5}
    got = {r: loss_of(drawn.batch, reduction=r, implementation=implementation, **drawn.options) for r in REDUCTIONS}
    assert got["none"].flatten().tolist() == pytest.approx(weighted, **close)
    assert got["sum"].item() == pytest.approx(sum(weighted), **close)
    assert got["mean"].item() == pytest.approx(sum(weighted) / total if total else 0.0, **close)


REDUCTIONS = ("mean", "sum", "none")


@given(drawn=drawn_batches(), reduction=st.sampled_from(REDUCTIONS))
def test_tiles_give_the_gradient_of_every_option(drawn, reduction):
    found = []
    for implementation in ("dense", "tiled"):
        embeddings = drawn.batch.embeddings.clone().requires_grad_()
        tau = torch.tensor(drawn.options["temperature"], dtype=torch.float64, requires_grad=True)
        options = drawn.options | {"temperature": tau, "reduction": reduction, "implementation": implementation}
        losses = loss_of(drawn.batch._replace(embeddings=embeddings), **options)
        weights = torch.arange(1, losses.numel() + 1, dtype=torch.float64).view(losses.shape)
        gradients = torch.autograd.grad((losses * weights).sum(), (embeddings, tau))
        assert all(gradient.isfinite().all() for gradient in gradients)
        found.append((losses.detach(), *gradients))
    for dense, tiled in zip(*found, strict=True):
        torch.testing.assert_close(tiled, dense, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize(("beta", "tau_plus"), [(0.0, 0.0), (1.0, 0.0), (1.0, 0.1), (0.5, 0.9)])
@pytest.mark.parametrize("kind", ["classes", "jaccard"])
def test_gradients_of_options_by_finite_differences(kind, denominator, beta, tau_plus):
    made = random_batch(1, 5, 2, 3, 0.8, kind)
    options = {
        "groups": torch.tensor([0, 1, 1, 2, 3]),
        "anchor_weights": torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0]),
        "label_weight": 0.5,
        "beta": beta,
        "tau_plus": tau_plus,
        "denominator": denominator,
    }

    def loss(embeddings, temperature, implementation):
        return loss_of(
            made._replace(embeddings=embeddings), temperature=temperature, implementation=implementation, **options
        )

    inputs = (made.embeddings.requires_grad_(), torch.tensor(0.5, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda *args: loss(*args, "dense"), inputs)
    assert torch.autograd.gradcheck(lambda *args: loss(*args, "tiled"), inputs)
    assert torch.autograd.gradgradcheck(lambda *args: loss(*args, "dense"), inputs)


EVERYTHING = {"beta": 1.0, "tau_plus": 0.1, "sigma": 0.5, "label_weight": 0.5}


@reductions
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "weighted"])
def test_options_never_hold_all_pairs(reduction, options):
    made = random_batch(0, 256, 2, 8, 0.5, "union")
    embeddings = made.embeddings.clone().requires_grad_()
    labels = made.signal.labels | {"artist": torch.arange(256) % 50}
    labeled = made.signal.labeled | {"artist": torch.ones(256, dtype=torch.bool)}
    target = IgnorePairs(made.signal.target, {"artist": SameClass()})
    per_item = {"groups": torch.arange(256) // 3, "anchor_weights": torch.rand(256)}
    with LargestTensor() as seen:
        loss = semi_supcon_loss(
            embeddings,
            labels,
            labeled=labeled,
            target=target,
            implementation="tiled",
            reduction=reduction,
            **per_item,
            **options,
        )
        loss.sum().backward()
    assert seen.elements <= ROWS_PER_TILE * 512 * 2


@implementations
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_options_in_half_precision_and_at_low_temperature(implementation, options, reduction):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(8, 2, 16, generator=generator)
    arguments = {"temperature": 0.01, "groups": torch.arange(8) // 2, "reduction": reduction, **options}
    expected = semi_supcon_loss(embeddings.double(), torch.arange(8) % 3, implementation="dense", **arguments)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        half = embeddings.to(dtype).requires_grad_()
        loss = semi_supcon_loss(half, torch.arange(8) % 3, implementation=implementation, **arguments)
        loss.sum().backward()
        assert half.grad.isfinite().all()
        torch.testing.assert_close(loss.double(), expected, rtol=0.05, atol=0.5 if dtype != torch.float32 else 1e-3)


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "weighted"])
def test_options_compile_without_a_graph_break(options):
    made = random_batch(5, 6, 2, 16, 0.5)
    criterion = SemiSupConLoss(LearnableTemperature(0.2), **options)
    per_batch = {"groups": torch.arange(6) // 2, "anchor_weights": torch.rand(6), "ignored": torch.eye(6).bool()}
    compiled = torch.compile(criterion, fullgraph=True)
    losses = [
        loss(made.embeddings, made.signal.labels, labeled=made.signal.labeled, **per_batch)
        for loss in (criterion, compiled)
    ]
    torch.testing.assert_close(*losses)


# Ignored pairs


@implementations
def test_ignored_pairs_are_as_if_they_were_not_there(implementation):
    """Where all rows of a group but one are ignored, its anchor sees the batch without them."""
    embeddings = torch.randn(5, 2, 8, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1])
    groups = torch.tensor([7, 7, 8, 9, 10])
    none = {"reduction": "none", "implementation": implementation}
    first = semi_supcon_loss(embeddings, labels, groups=groups, **none)[0]
    without = torch.tensor([0, 2, 3, 4])
    torch.testing.assert_close(first, semi_supcon_loss(embeddings[without], labels[without], **none)[0])


@implementations
def test_own_views_are_never_ignored(implementation):
    embeddings = torch.randn(4, 3, 8)
    expected = NTXentLoss(implementation=implementation)(embeddings)
    everything = torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(NTXentLoss(implementation=implementation)(embeddings, ignored=everything), expected)
    alone = NTXentLoss(implementation=implementation, reduction="none")(embeddings, groups=torch.zeros(4).long())
    torch.testing.assert_close(alone[:1], NTXentLoss(reduction="none")(embeddings[:1]))


@implementations
def test_groups_mask_and_target_say_the_same(implementation):
    made = random_batch(3, 8, 2, 5, 0.7)
    artist = torch.arange(8) // 3
    options = {"implementation": implementation, "temperature": 0.2}
    by_groups = loss_of(made, groups=artist, **options)
    by_mask = loss_of(made, ignored=artist[:, None] == artist, **options)
    known = torch.ones(8, dtype=torch.bool)
    by_target = semi_supcon_loss(
        made.embeddings,
        {"genre": made.signal.labels, "artist": artist},
        labeled={"genre": made.signal.labeled, "artist": known},
        target=IgnorePairs({"genre": SameClass()}, ignored={"artist": SameClass()}),
        **options,
    )
    torch.testing.assert_close(by_mask, by_groups)
    torch.testing.assert_close(by_target, by_groups)
    assert by_groups != loss_of(made, **options)
    rows = made.embeddings.flatten(0, 1)
    labels, labeled, ids, groups = (
        value.repeat_interleave(2) for value in (made.signal.labels, made.signal.labeled, torch.arange(8), artist)
    )
    flat = semi_supcon_loss(rows, labels, labeled=labeled, items=ids, groups=groups, **options)
    torch.testing.assert_close(flat, by_groups)
    mask = groups[:, None] == groups
    flat = semi_supcon_loss(rows, labels, labeled=labeled, items=ids, ignored=mask, **options)
    torch.testing.assert_close(flat, by_groups)


def test_without_labels_a_target_only_ignores():
    embeddings, artist = torch.randn(6, 2, 8), torch.arange(6) // 2
    target = IgnorePairs(None, ignored={"artist": SameClass()})
    got = SemiSupConLoss(target=target)(embeddings, {"artist": artist})
    torch.testing.assert_close(got, NTXentLoss()(embeddings, groups=artist))
    known = torch.tensor([True, True, False, False, False, False])
    got = SemiSupConLoss(target=target)(embeddings, {"artist": artist}, labeled=known)
    only_first = torch.tensor([0, 0, 1, 2, 3, 4])
    torch.testing.assert_close(got, NTXentLoss()(embeddings, groups=only_first))


def test_a_rule_of_ones_own_ignores_what_lies_between():
    """Near in tempo is positive, far is negative, between is neither."""
    labels = torch.tensor([0.0, 0.1, 1.0, 5.0], dtype=torch.float64)
    near = lambda a, b: ((a[:, None] - b).abs() < 0.5).double()  # noqa: E731
    between = lambda a, b: ((a[:, None] - b).abs() >= 0.5) & ((a[:, None] - b).abs() < 2)  # noqa: E731
    embeddings = torch.randn(4, 1, 8, dtype=torch.float64)
    got = SemiSupConLoss(target=IgnorePairs(near, between), reduction="none")(embeddings, labels)
    unit = torch.nn.functional.normalize(embeddings[:, 0], dim=-1)
    s = unit @ unit.T / 0.1
    expected = torch.logaddexp(s[0, 1], s[0, 3]) - s[0, 1]  # the third is left out
    torch.testing.assert_close(got[0, 0], expected)
    assert got[2, 0] == 0


class Unsure(Target):
    """Weight 1 for equal numbers, ignored if they differ by one: a third answer of a target itself."""

    def forward(self, rows, columns):
        return (rows[:, None] == columns).float()

    def ignored(self, rows, columns, rows_known, columns_known):
        return (rows[:, None] - columns).abs() == 1


@implementations
@pytest.mark.parametrize("combine", ["alone", "union", "sum"])
def test_a_target_may_have_a_third_answer(implementation, combine):
    labels = torch.tensor([0, 1, 5, 5, 6, 0])
    embeddings = torch.randn(6, 2, 8, dtype=torch.float64)
    mask = (labels[:, None] - labels).abs() == 1
    target = {"alone": Unsure(), "union": MaxTarget({"a": Unsure()}), "sum": WeightedSum({"a": (Unsure(), 1.0)})}[
        combine
    ]
    given = labels if combine == "alone" else {"a": labels}
    for reduction in REDUCTIONS:
        options = {"reduction": reduction, "implementation": implementation}
        got = SemiSupConLoss(target=target, **options)(embeddings, given)
        torch.testing.assert_close(got, SemiSupConLoss(**options)(embeddings, labels, ignored=mask))


def test_ignored_pairs_of_keys():
    made = random_batch(2, 5, 2, 6, 1.0)
    keys = torch.randn(7, 6, dtype=torch.float64)
    groups, key_groups = torch.tensor([0, 1, 2, 3, 4]), torch.tensor([0, 0, 1, 9, 9, 4, 2])
    key_labels, key_items = torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.tensor([0, 1, 2, 10, 11, 12, 13])
    of_keys = {"keys": keys, "key_items": key_items, "key_labels": key_labels}
    by_groups = loss_of(made, items=torch.arange(5), groups=groups, key_groups=key_groups, **of_keys)
    by_mask = loss_of(made, items=torch.arange(5), ignored=groups[:, None] == key_groups, **of_keys)
    torch.testing.assert_close(by_groups, by_mask)
    rows = [r // 2 for r in range(10)]
    losses, valid = naive_loss(
        made.embeddings.flatten(0, 1),
        rows,
        lambda i, k: float(made.signal.labels[rows[i]] == key_labels[k]),
        0.1,
        keys=keys,
        key_items=key_items.tolist(),
        ignored=lambda i, k: bool(groups[rows[i]] == key_groups[k]),
    )
    assert by_groups.item() == pytest.approx(sum(losses) / sum(valid), rel=1e-6)
    second = torch.randn(5, 2, 6, dtype=torch.float64)
    expected = loss_of(
        made, keys=second, ignored=torch.tensor([0, 0, 1, 2, 2])[:, None] == torch.tensor([0, 0, 1, 2, 2])
    )
    torch.testing.assert_close(loss_of(made, keys=second, groups=torch.tensor([0, 0, 1, 2, 2])), expected)


@pytest.mark.parametrize("form", ["target", "groups"])
def test_a_memory_ignores_pairs_too(form):
    genre, artist = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3])
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    batches = [torch.randn(4, 1, 6, dtype=torch.float64) for _ in range(2)]
    if form == "target":
        target = IgnorePairs({"genre": SameClass()}, ignored={"artist": SameClass()})
        given = {"labels": {"genre": genre, "artist": artist}}
    else:
        target, given = SameClass(), {"labels": genre, "groups": artist}
    memory = CrossBatchMemory(SemiSupConLoss(target=target, reduction="none"), 8)
    for step, embeddings in enumerate(batches):
        got = memory(embeddings, items=torch.arange(4) + 10 * step, anchor_weights=weights, **given)
    losses, _ = naive_loss(
        torch.cat([batches[1], batches[0]])[:, 0],
        list(range(8)),
        lambda i, k: float(genre[i % 4] == genre[k % 4]),
        0.1,
        ignored=lambda i, k: bool(artist[i % 4] == artist[k % 4]),
    )
    assert got.flatten().tolist() == pytest.approx(
        [a * loss for a, loss in zip(weights.tolist(), losses[:4], strict=True)]
    )
    restored = CrossBatchMemory(SemiSupConLoss(target=target, reduction="none"), 8)
    restored.load_state_dict(memory.state_dict())
    again = [m.eval()(batches[0], items=torch.arange(4) + 20, **given) for m in (memory, restored)]
    torch.testing.assert_close(*again)
    if form == "groups":
        with pytest.raises(ValueError, match="groups: expected groups in every batch or in none"):
            memory(batches[0], labels=genre, items=torch.arange(4))


# Weights


@implementations
def test_an_anchor_of_weight_zero_is_only_a_contrast(implementation):
    made = random_batch(0, 6, 2, 5, 1.0)
    losses = loss_of(made, reduction="none", implementation=implementation)
    weights = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 1.0])
    got = loss_of(made, anchor_weights=weights, implementation=implementation)
    torch.testing.assert_close(got, losses[weights > 0].mean())
    torch.testing.assert_close(loss_of(made, anchor_weights=weights * 1e-6, implementation=implementation), got)
    assert loss_of(made, anchor_weights=torch.zeros(6), implementation=implementation) == 0
    whole = torch.tensor([1, 0, 1, 0, 1, 1])
    torch.testing.assert_close(loss_of(made, anchor_weights=whole, implementation=implementation), got)


@implementations
def test_label_weight_goes_from_self_supervision_to_supervision(implementation):
    made = random_batch(0, 6, 2, 5, 1.0)
    options = {"implementation": implementation}
    torch.testing.assert_close(loss_of(made, label_weight=0.0, **options), NTXentLoss()(made.embeddings))
    torch.testing.assert_close(loss_of(made, label_weight=1.0, **options), loss_of(made, **options))
    one_view = random_batch(0, 6, 1, 5, 1.0)  # without own views the weight cancels
    torch.testing.assert_close(loss_of(one_view, label_weight=7.0, **options), loss_of(one_view, **options))


def test_views_that_share_a_label_keep_the_weight_of_views():
    embeddings = torch.randn(1, 2, 5), torch.randn(1, 2, 5)
    both = torch.cat(embeddings).double()
    losses, _ = naive_loss(both.flatten(0, 1), [0, 0, 1, 1], lambda i, k: 1.0, 0.1, label_weight=3.0)
    got = SupConLoss(label_weight=3.0)(both, torch.tensor([4, 4]))
    assert got.item() == pytest.approx(sum(losses) / 4)


def test_balanced_weights_are_those_of_cui_et_al():
    labels = torch.tensor([0, 0, 0, 2, 2, 7, 7, 7])
    labeled = torch.tensor([True, True, True, True, True, True, False, False])
    for beta in (0.0, 0.5, 0.999, 1.0):
        numbers = {0: 3, 2: 2, 7: 1}
        raw = {c: 1 / n if beta == 1 else (1 - beta) / (1 - beta**n) for c, n in numbers.items()}
        scale = 6 / sum(n * raw[c] for c, n in numbers.items())
        expected = [raw[int(c)] * scale if known else 1.0 for c, known in zip(labels, labeled, strict=True)]
        assert class_balanced_weights(labels, labeled, beta=beta).tolist() == pytest.approx(expected)
    assert class_balanced_weights(labels, beta=0.0).tolist() == [1.0] * 8
    counts = torch.tensor([30, 0, 20, 0, 0, 0, 0, 50])
    weights = class_balanced_weights(labels, counts=counts)
    assert weights.tolist() == pytest.approx([100 / 90] * 3 + [100 / 60] * 2 + [100 / 150] * 3)
    assert float(counts[[0, 2, 7]].float() @ weights[[0, 3, 5]] / 100) == pytest.approx(1)
    nothing = torch.zeros(8, dtype=torch.bool)
    assert class_balanced_weights(torch.full((8,), -1), nothing).tolist() == [1.0] * 8
    assert class_balanced_weights(torch.tensor([10**15, 3, 3])).tolist() == pytest.approx([1.5, 0.75, 0.75])
    assert class_balanced_weights(labels[:0]).shape == (0,)


def test_balanced_classes_count_alike_in_the_mean():
    embeddings, labels = torch.randn(6, 2, 8), torch.tensor([0, 0, 0, 0, 1, 1])
    each = SupConLoss(reduction="none")(embeddings, labels).mean(dim=1)
    got = SupConLoss()(embeddings, labels, anchor_weights=class_balanced_weights(labels))
    torch.testing.assert_close(got, (each[:4].mean() + each[4:].mean()) / 2)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"labels": torch.rand(3)}, TypeError, "labels"),
        ({"labels": torch.ones(3, 2).long()}, ValueError, "labels"),
        ({"labels": torch.tensor([0, -1])}, ValueError, "labels: .*negative"),
        ({"labels": torch.arange(3), "labeled": torch.ones(3)}, TypeError, "labeled"),
        ({"labels": torch.arange(3), "labeled": torch.ones(2).bool()}, ValueError, "labeled"),
        ({"labels": torch.arange(3), "counts": torch.ones(2)}, ValueError, "counts"),
        ({"labels": torch.arange(3), "counts": torch.tensor([1, 0, 1])}, ValueError, "counts"),
        ({"labels": torch.arange(3), "counts": [1, 1, 1]}, ValueError, "counts"),
        ({"labels": torch.arange(3), "beta": 1.5}, ValueError, "beta"),
    ],
)
def test_balanced_weights_refuse_bad_input(arguments, error, words):
    with pytest.raises(error, match=words):
        class_balanced_weights(**arguments)


# Hard negatives and weighted positives


def robinson(first, second, temperature, beta, tau_plus):
    """The estimator of the paper for pairs of views, from its equations, without logarithms."""
    rows = torch.nn.functional.normalize(torch.cat([first, second]), dim=1)
    count = 2 * len(first) - 2
    exponentials = torch.exp(rows @ rows.T / temperature)
    place = torch.arange(len(rows))
    other = place.roll(len(first))
    positive = exponentials[place, other]
    is_negative = torch.ones_like(exponentials, dtype=torch.bool)
    is_negative[place, place] = is_negative[place, other] = False
    negatives = exponentials[is_negative].view(len(rows), count)
    importance = negatives**beta
    reweighted = (importance * negatives).sum(1) / importance.mean(1)
    estimate = (reweighted - tau_plus * count * positive) / (1 - tau_plus)
    return -torch.log(positive / (positive + estimate.clamp(min=count * math.exp(-1 / temperature)))).mean()


@implementations
@pytest.mark.parametrize(("beta", "tau_plus"), [(1.0, 0.1), (2.0, 0.0), (0.0, 0.1), (1.0, 0.7)])
def test_hard_negatives_as_robinson_et_al_define_them(implementation, beta, tau_plus):
    first, second = torch.randn(2, 9, 6, dtype=torch.float64).requires_grad_()
    views = torch.stack([first, second], dim=1)
    criterion = NTXentLoss(0.5, beta=beta, tau_plus=tau_plus, implementation=implementation)
    got, expected = criterion(views), robinson(first, second, 0.5, beta, tau_plus)
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(loss, (first, second), retain_graph=True) for loss in (got, expected)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


@implementations
def test_more_concentration_looks_at_fewer_negatives(implementation):
    embeddings = torch.randn(16, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    losses = [NTXentLoss(0.5, beta=beta, implementation=implementation)(embeddings) for beta in (0.0, 0.5, 2.0, 500.0)]
    assert losses == sorted(losses)
    torch.testing.assert_close(losses[0], NTXentLoss(0.5)(embeddings))
    rows = torch.nn.functional.normalize(embeddings.flatten(0, 1), dim=1)
    s = rows @ rows.T / 0.5
    item = torch.arange(32) // 2
    hardest = s.masked_fill(item[:, None] == item, -torch.inf).amax(1)
    positive = s[torch.arange(32), torch.arange(32) ^ 1]
    expected = (torch.logaddexp(positive, math.log(30) + hardest) - positive).mean()
    torch.testing.assert_close(losses[3], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_weighted_decoupled_loss_of_lightly(sigma, implementation):
    peers = pytest.importorskip("lightly.loss")
    first, second = torch.randn(2, 12, 8, dtype=torch.float64).requires_grad_()
    expected = peers.DCLWLoss(temperature=0.2, sigma=sigma)(first, second)
    criterion = NTXentLoss(0.2, denominator="negatives", sigma=sigma, implementation=implementation)
    got = criterion(torch.stack([first, second], dim=1))
    torch.testing.assert_close(got, expected)
    gradients = [torch.autograd.grad(loss, (first, second), retain_graph=True) for loss in (got, expected)]
    for found, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(found, wanted)


@implementations
def test_a_narrow_width_neither_overflows_nor_vanishes(implementation):
    embeddings = torch.randn(6, 2, 16).requires_grad_()
    for sigma in (0.001, 1000.0):
        loss = NTXentLoss(0.1, sigma=sigma, implementation=implementation)(embeddings)
        loss.backward()
        exact = NTXentLoss(0.1, sigma=sigma, implementation="dense")(embeddings.detach().double())
        torch.testing.assert_close(loss.double(), exact, rtol=1e-3, atol=1e-3)
        assert embeddings.grad.isfinite().all()


@implementations
@pytest.mark.parametrize("denominator", ["all", "negatives"])
def test_a_kernel_without_negatives_has_no_hard_ones(implementation, denominator):
    embeddings = torch.randn(4, 2, 8).requires_grad_()
    criterion = SemiSupConLoss(
        target=GaussianKernel(1.0), beta=1.0, tau_plus=0.1, denominator=denominator, implementation=implementation
    )
    loss = criterion(embeddings, torch.rand(4))
    loss.backward()
    assert embeddings.grad.isfinite().all()
    if denominator == "all":
        plain = SemiSupConLoss(target=GaussianKernel(1.0), implementation=implementation)
        assert loss.item() > 0
        assert plain(embeddings, torch.rand(4)).item() > 0
    else:
        assert loss.item() == 0


@implementations
@reductions
@pytest.mark.parametrize("items", [0, 1, 4])
def test_options_of_a_batch_without_positives(implementation, reduction, items):
    embeddings = torch.randn(items, 1, 8, requires_grad=True)
    per_item = {"groups": torch.arange(items), "anchor_weights": torch.ones(items)}
    loss = semi_supcon_loss(embeddings, reduction=reduction, implementation=implementation, **per_item, **EVERYTHING)
    loss.sum().backward()
    assert loss.sum().item() == 0
    assert (embeddings.grad == 0).all()


# What is refused


three = torch.randn(4, 2, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"groups": [0, 1, 2, 3]}, TypeError, "groups: expected a tensor, got list"),
        ({"groups": torch.rand(4)}, TypeError, "groups: expected integer"),
        ({"groups": torch.arange(3)}, ValueError, r"groups: expected shape \(4,\), got \(3,\)"),
        ({"groups": torch.arange(4, device="meta")}, ValueError, "groups: expected on cpu"),
        ({"key_groups": torch.arange(4)}, ValueError, "key_groups"),
        ({"keys": three, "key_groups": torch.arange(4)}, ValueError, "key_items"),
        (
            {"keys": three[:, 0], "key_items": torch.arange(4), "groups": torch.arange(4)},
            ValueError,
            "key_groups: expected ids",
        ),
        (
            {"keys": three[:, 0], "key_items": torch.arange(4), "key_groups": torch.arange(4)},
            ValueError,
            "groups: expected ids.*key_groups",
        ),
        ({"ignored": torch.zeros(4, 4)}, TypeError, "ignored: expected a tensor of bool, got torch.float32"),
        ({"ignored": [[True]]}, TypeError, "ignored.*list"),
        ({"ignored": torch.zeros(8, 8).bool()}, ValueError, r"ignored: expected shape \(4, 4\).*got \(8, 8\)"),
        ({"anchor_weights": torch.ones(8)}, ValueError, r"anchor_weights: expected shape \(4,\), got \(8,\)"),
        ({"anchor_weights": [1.0] * 4}, TypeError, "anchor_weights.*list"),
        ({"anchor_weights": -torch.ones(4)}, ValueError, "anchor_weights: expected finite numbers of at least 0"),
        ({"anchor_weights": torch.full((4,), torch.nan)}, ValueError, "anchor_weights"),
        ({"label_weight": -1}, ValueError, "label_weight"),
        ({"label_weight": math.inf}, ValueError, "label_weight"),
        ({"beta": -0.5}, ValueError, "beta: expected a number of at least 0, got -0.5"),
        ({"beta": "hard"}, ValueError, "beta"),
        ({"tau_plus": 1.0}, ValueError, "tau_plus: expected a fraction below 1, got 1"),
        ({"sigma": 0}, ValueError, "sigma: expected a positive number, got 0"),
        ({"process_group": object()}, ValueError, "process_group"),
        (
            {"labels": torch.arange(4), "target": IgnorePairs({"a": SameClass()}, {"b": SameClass()})},
            TypeError,
            "labels: IgnorePairs expects a dict of .*'a', 'b'",
        ),
        (
            {"labels": {"a": torch.arange(4)}, "target": IgnorePairs({"a": SameClass()}, {"b": SameClass()})},
            ValueError,
            "labels: expected the signals .*'a', 'b'.*got .*'a'",
        ),
        (
            {"labels": {"b": torch.arange(4)}, "target": IgnorePairs(SharedLabels(), {"b": SameClass()})},
            TypeError,
            "SharedLabels expects a tensor, got a dict",
        ),
        (
            {"labels": {"b": torch.rand(4)}, "target": IgnorePairs(None, {"b": SameClass()})},
            TypeError,
            "signal 'b'.*SameClass",
        ),
    ],
)
def test_bad_options_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        semi_supcon_loss(three, **arguments)


def test_modules_take_the_options_and_refuse_bad_ones():
    artist, weights = torch.arange(4) // 2, torch.rand(4)
    expected = semi_supcon_loss(three, beta=1.0, tau_plus=0.1, sigma=0.5, groups=artist, anchor_weights=weights)
    criterion = NTXentLoss(beta=1.0, tau_plus=0.1, sigma=0.5)
    assert criterion(three, groups=artist, anchor_weights=weights) == expected
    mask = artist[:, None] == artist
    assert NTXentLoss()(three, ignored=mask) == SupConLoss(label_weight=0.0)(three, artist, ignored=mask)
    of_numpy = NTXentLoss(beta=np.float32(1), tau_plus=np.float64(0.1), sigma=torch.tensor(0.5))
    assert of_numpy(three, groups=artist, anchor_weights=weights) == expected
    assert "beta=1.0" in repr(criterion)
    assert "beta" not in repr(NTXentLoss())
    for options in ({"beta": -1.0}, {"tau_plus": 2.0}, {"sigma": -1.0}, {"process_group": object()}):
        with pytest.raises(ValueError, match=next(iter(options))):
            NTXentLoss(**options)
    with pytest.raises(ValueError, match="label_weight"):
        SemiSupConLoss(label_weight=-1.0)


# Changes between the loss and its backward pass


@implementations
@pytest.mark.parametrize("what", ["labels", "labeled", "items", "groups", "ignored", "anchor_weights", "tau", "matrix"])
@reductions
def test_changes_before_backward_never_change_the_gradient(implementation, what, reduction):
    """They are noticed, or have no effect."""
    from ssc_toolkit.targets import SimilarityMatrix

    found = []
    for change in (False, True):
        embeddings = torch.randn(8, 2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        target = SimilarityMatrix(torch.eye(8))
        tau = torch.tensor(0.2)
        given = {
            "labels": torch.arange(8) % 3,
            "labeled": torch.arange(8) < 6,
            "items": torch.arange(8),
            "groups": torch.arange(8) // 2,
            "ignored": torch.eye(8, dtype=torch.bool).roll(1, 0),
            "anchor_weights": torch.arange(8) + 1.0,
        }
        options = {"target": target, "temperature": tau, "reduction": reduction, "implementation": implementation}
        losses = semi_supcon_loss(embeddings, **given, **options)
        if change:
            {"tau": tau, "matrix": target.matrix, **given}[what].fill_(1)
        try:
            (losses * torch.arange(1.0, losses.numel() + 1).view(losses.shape)).sum().backward()
        except RuntimeError as error:
            assert change
            assert "modified by an inplace operation" in str(error)  # noqa: PT017
            return
        found.append(embeddings.grad)
    assert torch.equal(*found)


def test_entries_of_a_dict_may_be_replaced_before_backward():
    made = random_batch(3, 8, 2, 5, 0.7, "union")
    found = []
    for change in (False, True):
        embeddings = made.embeddings.clone().requires_grad_()
        labels, labeled = dict(made.signal.labels), dict(made.signal.labeled)
        options = {"target": made.signal.target, "reduction": "none", "implementation": "tiled"}
        losses = semi_supcon_loss(embeddings, labels, labeled=labeled, **options)
        if change:
            labels["class"], labeled["tags"] = torch.zeros(8).long(), torch.ones(8).bool()
        losses.sum().backward()
        found.append(embeddings.grad)
    assert torch.equal(*found)


def test_a_target_that_was_changed_before_backward_is_noticed():
    made = random_batch(3, 8, 2, 5, 0.7, "matrix")
    embeddings = made.embeddings.clone().requires_grad_()
    losses = loss_of(made._replace(embeddings=embeddings), reduction="none", implementation="tiled")
    made.signal.target.matrix = torch.zeros(8, 8)
    with pytest.raises(RuntimeError, match="target: expected the same tensors"):
        losses.sum().backward()


def test_labels_made_in_inference_mode_go_through_tiles():
    with torch.inference_mode():
        labels = torch.arange(8) % 3
    embeddings = torch.randn(8, 2, 4).requires_grad_()
    SupConLoss(reduction="none", implementation="tiled")(embeddings, labels).sum().backward()
    assert embeddings.grad.isfinite().all()
