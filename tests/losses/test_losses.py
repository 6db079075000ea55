"""The losses against a double loop written from the equation, and against what they must reduce to."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_batches import ROWS_PER_TILE, LargestTensor, any_batches, batches, flat, implementations, temperatures
from loss_reference import SIGNALS, naive_mean, random_batch

import ssc_toolkit.losses.tiled
from ssc_toolkit.losses import LearnableTemperature, NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import SharedLabels

pytestmark = pytest.mark.usefixtures("small_tiles")


@implementations
@given(batch=any_batches, temperature=temperatures, denominator=st.sampled_from(["all", "negatives"]))
def test_equals_the_double_loop(implementation, batch, temperature, denominator):
    made = random_batch(**batch)
    losses, valid = made.reference(temperature, denominator == "negatives")
    got = {
        reduction: semi_supcon_loss(
            made.embeddings,
            made.signal.labels,
            labeled=made.signal.labeled,
            target=made.signal.target,
            temperature=temperature,
            reduction=reduction,
            denominator=denominator,
            implementation=implementation,
        )
        for reduction in ("mean", "sum", "none")
    }
    close = {"rel": 1e-12, "abs": 1e-12}
    assert got["mean"].item() == pytest.approx(naive_mean(losses, valid), **close)
    assert got["sum"].item() == pytest.approx(sum(losses), **close)
    assert got["none"].shape == made.embeddings.shape[:2]
    assert got["none"].flatten().tolist() == pytest.approx(losses, **close)


@given(
    batch=any_batches,
    temperature=temperatures,
    denominator=st.sampled_from(["all", "negatives"]),
    reduction=st.sampled_from(["mean", "sum", "none"]),
)
def test_tiles_give_the_gradient_of_the_whole(batch, temperature, denominator, reduction):
    made = random_batch(**batch)
    found = []
    for implementation in ("dense", "tiled"):
        embeddings = made.embeddings.clone().requires_grad_()
        tau = torch.tensor(temperature, dtype=torch.float64, requires_grad=True)
        losses = semi_supcon_loss(
            embeddings,
            made.signal.labels,
            labeled=made.signal.labeled,
            target=made.signal.target,
            temperature=tau,
            reduction=reduction,
            denominator=denominator,
            implementation=implementation,
        )
        weights = torch.arange(1, losses.numel() + 1, dtype=torch.float64).view(losses.shape)
        gradients = torch.autograd.grad((losses * weights).sum(), (embeddings, tau))
        found.append((losses.detach(), *gradients))
    for dense, tiled in zip(*found, strict=True):
        torch.testing.assert_close(tiled, dense, rtol=1e-9, atol=1e-9)


def test_tiles_of_any_height_give_the_same(monkeypatch):
    made = random_batch(5, 40, 2, 8, 0.7, "dice")
    arguments = {"embeddings": made.embeddings, **made.signal.given}
    expected = semi_supcon_loss(**arguments, target=made.signal.target, implementation="dense")
    for pairs in (1, 80 * 17, 80 * 39, 80 * 79, 80 * 80, 10**6):
        monkeypatch.setitem(ssc_toolkit.losses.tiled.PAIRS_PER_TILE, "cpu", pairs)
        got = semi_supcon_loss(**arguments, target=made.signal.target, implementation="tiled")
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", SIGNALS)
def test_tiles_never_hold_all_pairs(kind, reduction):
    made = random_batch(0, 256, 2, 8, 0.5, kind)
    embeddings = made.embeddings.clone().requires_grad_()
    with LargestTensor() as seen:
        semi_supcon_loss(
            embeddings,
            made.signal.labels,
            labeled=made.signal.labeled,
            target=made.signal.target,
            implementation="tiled",
            reduction=reduction,
        ).sum().backward()
    assert seen.elements <= max(ROWS_PER_TILE * 512 * 2, 256 * 256 if kind == "matrix" else 0)


@given(batch=batches)
def test_flat_form_takes_any_ids_in_any_order(batch):
    made = random_batch(**batch)
    generator = torch.Generator().manual_seed(batch["seed"])
    ids = torch.randperm(1000, generator=generator)[: len(made.embeddings)] - 500
    rows, items, labels, labeled = flat(made.embeddings, ids, made.signal.labels, made.signal.labeled)
    order = torch.randperm(len(rows), generator=generator)
    expected = semi_supcon_loss(
        made.embeddings, made.signal.labels, labeled=made.signal.labeled, reduction="none"
    ).flatten()
    got = semi_supcon_loss(rows[order], labels[order], labeled=labeled[order], items=items[order], reduction="none")
    torch.testing.assert_close(got, expected[order])


@given(batch=batches)
def test_items_of_the_same_id_are_views_of_one(batch):
    made = random_batch(**batch)
    twice = torch.cat([made.embeddings, made.embeddings.flip(0)])
    ids = torch.cat([torch.arange(len(made.embeddings)), torch.arange(len(made.embeddings)).flip(0)])
    views = torch.cat([made.embeddings, made.embeddings], dim=1)
    torch.testing.assert_close(semi_supcon_loss(twice, items=ids), semi_supcon_loss(views))


@given(batch=batches, scale=st.floats(1e-3, 1e3))
def test_rotation_scale_and_names_of_classes_change_nothing(batch, scale):
    made = random_batch(**batch)
    generator = torch.Generator().manual_seed(batch["seed"])
    dim = made.embeddings.shape[-1]
    rotation, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
    renamed = torch.randperm(3, generator=generator)[made.signal.labels]
    expected = semi_supcon_loss(made.embeddings, made.signal.labels, labeled=made.signal.labeled)
    got = semi_supcon_loss(made.embeddings @ rotation * scale, renamed, labeled=made.signal.labeled)
    torch.testing.assert_close(got, expected)


@given(batch=any_batches)
def test_invariant_to_the_order_of_items_and_views(batch):
    made = random_batch(**batch)
    generator = torch.Generator().manual_seed(batch["seed"])
    order = torch.randperm(len(made.embeddings), generator=generator)
    views = torch.randperm(made.embeddings.shape[1], generator=generator)

    def permuted(value):
        return {name: v[order] for name, v in value.items()} if isinstance(value, dict) else value[order]

    expected = semi_supcon_loss(made.embeddings, **made.signal.given, target=made.signal.target)
    got = semi_supcon_loss(
        made.embeddings[order][:, views],
        permuted(made.signal.labels),
        labeled=permuted(made.signal.labeled),
        target=made.signal.target,
    )
    torch.testing.assert_close(got, expected)


@given(batch=batches)
def test_no_labels_is_nt_xent(batch):
    made = random_batch(**batch)
    expected = NTXentLoss()(made.embeddings)
    torch.testing.assert_close(SemiSupConLoss()(made.embeddings), expected)
    nothing_known = torch.zeros(len(made.embeddings), dtype=torch.bool)
    torch.testing.assert_close(SemiSupConLoss()(made.embeddings, made.signal.labels, labeled=nothing_known), expected)


@given(batch=batches)
def test_all_labels_is_supcon(batch):
    made = random_batch(**batch)
    everything_known = torch.ones(len(made.embeddings), dtype=torch.bool)
    expected = SupConLoss()(made.embeddings, made.signal.labels)
    torch.testing.assert_close(
        SemiSupConLoss()(made.embeddings, made.signal.labels, labeled=everything_known), expected
    )
    torch.testing.assert_close(SemiSupConLoss()(made.embeddings, made.signal.labels), expected)


def test_two_views_of_one_item_alone_have_loss_zero():
    embeddings = torch.randn(1, 2, 4)
    assert NTXentLoss(reduction="none")(embeddings).tolist() == [[0.0, 0.0]]


def test_closed_form_of_orthogonal_items():
    # Two items, two identical views each, the items orthogonal: one positive at 1/t, two negatives at 0.
    embeddings = torch.eye(2, dtype=torch.float64)[:, None].expand(2, 2, 2)
    expected = math.log(math.exp(10.0) + 2) - 10.0
    assert NTXentLoss(temperature=0.1)(embeddings).item() == pytest.approx(expected, rel=1e-6)
    decoupled = NTXentLoss(temperature=0.1, denominator="negatives")(embeddings)
    assert decoupled.item() == pytest.approx(math.log(2) - 10.0, rel=1e-6)


def test_anchors_without_positives_do_not_count():
    embeddings = torch.randn(5, 1, 8, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1, 2, 3])
    losses = semi_supcon_loss(embeddings, labels, reduction="none")
    assert (losses[2:] == 0).all()
    torch.testing.assert_close(semi_supcon_loss(embeddings, labels), losses[:2].mean())


@implementations
@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("items", [1, 4])
def test_a_batch_without_positives_gives_zero_and_zero_gradients(implementation, denominator, reduction, items):
    embeddings = torch.randn(items, 1, 8, requires_grad=True)
    loss = semi_supcon_loss(
        embeddings, reduction=reduction, denominator=denominator, implementation=implementation
    ).sum()
    loss.backward()
    assert loss.item() == 0
    assert (embeddings.grad == 0).all()


@implementations
def test_one_class_for_the_whole_batch(implementation):
    embeddings = torch.randn(4, 2, 8, requires_grad=True)
    labels = torch.zeros(4, dtype=torch.long)
    loss = semi_supcon_loss(embeddings, labels, implementation=implementation)
    loss.backward()
    assert loss.item() > 0
    assert embeddings.grad.isfinite().all()
    embeddings.grad = None
    loss = semi_supcon_loss(embeddings, labels, implementation=implementation, denominator="negatives")
    loss.backward()
    assert loss.item() == 0  # nothing to contrast with
    assert (embeddings.grad == 0).all()


@implementations
def test_nan_in_unlabeled_rows_changes_nothing(implementation):
    embeddings = torch.randn(4, 2, 8, requires_grad=True)
    tags = torch.randint(0, 2, (4, 3)).float()
    labeled = torch.tensor([True, True, False, False])
    unknown = torch.where(labeled[:, None], tags, torch.nan)
    arguments = {"target": SharedLabels(), "implementation": implementation}
    loss = semi_supcon_loss(embeddings, unknown, labeled=labeled, **arguments)
    torch.testing.assert_close(loss, semi_supcon_loss(embeddings, tags, labeled=labeled, **arguments))
    loss.backward()
    assert embeddings.grad.isfinite().all()


def test_an_unlabeled_item_only_adds_a_negative():
    made = random_batch(0, 4, 2, 8, 1.0)
    stranger = torch.randn(1, 2, 8, dtype=torch.float64)
    embeddings, labels = torch.cat([made.embeddings, stranger]), made.signal.labels
    labeled = torch.tensor([True] * 4 + [False])
    before = semi_supcon_loss(made.embeddings, labels, reduction="none")
    after = semi_supcon_loss(embeddings, torch.cat([labels, labels[:1]]), labeled=labeled, reduction="none")
    assert (after[:4] > before).all()
    rows = torch.nn.functional.normalize(embeddings.flatten(0, 1), dim=-1)
    added = (rows[:8] @ rows[8:].T / 0.1).logsumexp(1).view(4, 2)
    lse = _denominator(made.embeddings)
    torch.testing.assert_close(after[:4] - before, torch.logaddexp(lse, added) - lse)


def _denominator(embeddings):
    rows = torch.nn.functional.normalize(embeddings.flatten(0, 1), dim=-1)
    similarities = (rows @ rows.T / 0.1).fill_diagonal_(-torch.inf)
    return similarities.logsumexp(1).view(embeddings.shape[:2])


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("kind", ["classes", "jaccard", "union"])
def test_gradients_by_finite_differences(kind, denominator):
    made = random_batch(1, 4, 2, 3, 0.8, kind)

    def loss(embeddings, temperature, implementation):
        return semi_supcon_loss(
            embeddings,
            **made.signal.given,
            target=made.signal.target,
            temperature=temperature,
            denominator=denominator,
            implementation=implementation,
        )

    inputs = (made.embeddings.requires_grad_(), torch.tensor(0.5, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(lambda *args: loss(*args, "dense"), inputs)
    assert torch.autograd.gradcheck(lambda *args: loss(*args, "tiled"), inputs)
    assert torch.autograd.gradgradcheck(lambda *args: loss(*args, "dense"), inputs)


def test_second_derivatives_of_tiles_are_refused_not_wrong():
    embeddings = torch.randn(4, 2, 8, requires_grad=True)
    for reduction in ("mean", "none"):
        loss = semi_supcon_loss(embeddings, implementation="tiled", reduction=reduction).sum()
        with pytest.raises(RuntimeError, match="implementation: expected 'dense'"):
            torch.autograd.grad(loss, embeddings, create_graph=True)


@pytest.mark.parametrize(
    "kind", ["classes", *(pytest.param(k, marks=pytest.mark.slow) for k in ("dice", "weighted sum"))]
)
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_without_a_graph_break(kind, backend):
    made = random_batch(5, 6, 2, 16, 0.5, kind)
    criterion = SemiSupConLoss(target=made.signal.target)
    compiled = torch.compile(criterion, fullgraph=True, backend=backend)
    embeddings = [made.embeddings.clone().requires_grad_() for _ in range(2)]
    losses = [loss(z, **made.signal.given) for loss, z in zip((criterion, compiled), embeddings, strict=True)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(embeddings[0].grad, embeddings[1].grad)


def test_a_learned_temperature_moves_within_its_bounds():
    criterion = SemiSupConLoss(temperature=LearnableTemperature(0.1, bounds=(0.05, 0.2)))
    noise = torch.randn(8, 2, 8, generator=torch.Generator().manual_seed(0))
    embeddings = torch.eye(8)[:, None] + 0.1 * noise
    optimizer = torch.optim.SGD(criterion.parameters(), lr=100.0)
    for _ in range(20):
        optimizer.zero_grad()
        criterion(embeddings).backward()
        optimizer.step()
    # Views agree, so the loss falls with the temperature.
    assert 0.05 <= criterion.temperature().item() < 0.08
    fresh = SemiSupConLoss(temperature=LearnableTemperature(0.1, bounds=(0.05, 0.2)))
    fresh.load_state_dict(criterion.state_dict())
    assert fresh(embeddings).item() == criterion(embeddings).item()


@settings(max_examples=20)
@given(views=st.integers(1, 3))
def test_an_empty_batch_is_zero(views):
    embeddings = torch.randn(0, views, 8, requires_grad=True)
    for implementation in ("dense", "tiled"):
        loss = semi_supcon_loss(embeddings, implementation=implementation)
        loss.backward()
        assert loss.item() == 0
