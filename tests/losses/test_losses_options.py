"""Every option of the losses against the double loop, and options that are refused."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_batches import REDUCTIONS, ROWS_PER_TILE, LargestTensor, implementations, loss_of, reductions
from loss_reference import Batch, naive_loss, random_batch

from ssc_toolkit.losses import LearnableTemperature, NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import IgnorePairs, SameClass, SharedLabels

pytestmark = pytest.mark.usefixtures("small_tiles")


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
@pytest.mark.parametrize(
    ("beta", "tau_plus"),
    [(0.5, 0.9), *(pytest.param(*pair, marks=pytest.mark.slow) for pair in ((0.0, 0.0), (1.0, 0.0), (1.0, 0.1)))],
)
@pytest.mark.parametrize("kind", ["classes", pytest.param("jaccard", marks=pytest.mark.slow)])
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "weighted"])
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_options_compile_without_a_graph_break(options, backend):
    made = random_batch(5, 6, 2, 16, 0.5)
    criterion = SemiSupConLoss(LearnableTemperature(0.2), **options)
    per_batch = {"groups": torch.arange(6) // 2, "anchor_weights": torch.rand(6), "ignored": torch.eye(6).bool()}
    compiled = torch.compile(criterion, fullgraph=True, backend=backend)
    losses = [
        loss(made.embeddings, made.signal.labels, labeled=made.signal.labeled, **per_batch)
        for loss in (criterion, compiled)
    ]
    torch.testing.assert_close(*losses)


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
        ({"process_group": "x"}, TypeError, "process_group: expected a process group or None, got 'x' of type str"),
        ({"process_group": object(), "gather": True}, TypeError, "process_group: .* of type object"),
        ({"process_group": torch.zeros(2), "gather": True}, TypeError, "process_group: .* of type Tensor"),
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
    for options in ({"beta": -1.0}, {"tau_plus": 2.0}, {"sigma": -1.0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            NTXentLoss(**options)
    with pytest.raises(TypeError, match="process_group"):
        NTXentLoss(gather=True, process_group=[0, 1])
    with pytest.raises(ValueError, match="label_weight"):
        SemiSupConLoss(label_weight=-1.0)
