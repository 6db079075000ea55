"""The losses against a double loop written from the equation, and against what they must reduce to."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_reference import SIGNALS, naive_loss, naive_mean, random_batch
from torch.utils._python_dispatch import TorchDispatchMode

import ssc_toolkit.losses.tiled
from ssc_toolkit.losses import LearnableTemperature, NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import KeySimilarity, LabelOverlap, SharedLabels

sizes = {
    "seed": st.integers(0, 2**31),
    "items": st.integers(1, 7),
    "views": st.integers(1, 4),
    "dim": st.integers(1, 6),
    "share_labeled": st.sampled_from([0.0, 0.3, 0.7, 1.0]),
}
batches = st.fixed_dictionaries(sizes)
any_batches = st.fixed_dictionaries(sizes | {"kind": st.sampled_from(list(SIGNALS))})
temperatures = st.sampled_from([0.01, 0.05, 0.1, 0.5, 2.0])
implementations = pytest.mark.parametrize("implementation", ["dense", "tiled"])
ROWS_PER_TILE = 16
"""Batches here have up to 28 rows, so that two tiles are walked over."""


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setitem(ssc_toolkit.losses.tiled.PAIRS_PER_TILE, "cpu", 1)
    monkeypatch.setattr(ssc_toolkit.losses.tiled, "LEAST_ROWS", ROWS_PER_TILE)


def flat(embeddings, *per_item):
    views = embeddings.shape[1]
    return embeddings.flatten(0, 1), *(tensor.repeat_interleave(views, dim=0) for tensor in per_item)


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


class LargestTensor(TorchDispatchMode):
    """Sees the number of elements of the largest tensor that an operation made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


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
def test_invariant_to_rotation_and_scale_of_embeddings_and_names_of_classes(batch, scale):
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
def test_nan_in_unlabelled_rows_changes_nothing(implementation):
    embeddings = torch.randn(4, 2, 8, requires_grad=True)
    tags = torch.randint(0, 2, (4, 3)).float()
    labeled = torch.tensor([True, True, False, False])
    unknown = torch.where(labeled[:, None], tags, torch.nan)
    arguments = {"target": SharedLabels(), "implementation": implementation}
    loss = semi_supcon_loss(embeddings, unknown, labeled=labeled, **arguments)
    torch.testing.assert_close(loss, semi_supcon_loss(embeddings, tags, labeled=labeled, **arguments))
    loss.backward()
    assert embeddings.grad.isfinite().all()


def test_an_unlabelled_item_only_adds_a_negative():
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


@implementations
@given(batch=st.fixed_dictionaries(sizes | {"kind": st.sampled_from(["classes", "dice", "union"])}))
def test_keys_are_the_only_contrasts(implementation, batch):
    """A queue: rows of other items, some of which are the anchors' items seen before."""
    made = random_batch(**batch)
    count, views = made.embeddings.shape[:2]
    generator = torch.Generator().manual_seed(batch["seed"] + 1)
    chosen = torch.randint(count, (count + 2,), generator=generator)  # whose labels the keys have
    key_items = torch.where(torch.rand(count + 2, generator=generator) < 0.5, chosen, chosen + 100)
    keys = torch.randn(count + 2, batch["dim"], generator=generator, dtype=torch.float64)

    def of_keys(value):
        return {name: v[chosen] for name, v in value.items()} if isinstance(value, dict) else value[chosen]

    rows = [item for item in range(count) for _ in range(views)]
    losses, valid = naive_loss(
        made.embeddings.flatten(0, 1),
        rows,
        lambda i, k: made.signal.weight(rows[i], int(chosen[k])),
        0.1,
        keys=keys,
        key_items=key_items.tolist(),
    )
    got = semi_supcon_loss(
        made.embeddings,
        made.signal.labels,
        labeled=made.signal.labeled,
        target=made.signal.target,
        items=torch.arange(count),
        keys=keys,
        key_labels=of_keys(made.signal.labels),
        key_labeled=of_keys(made.signal.labeled),
        key_items=key_items,
        implementation=implementation,
    )
    assert got.item() == pytest.approx(naive_mean(losses, valid), rel=1e-12, abs=1e-12)


@given(batch=batches)
def test_keys_of_a_second_encoder_are_views_of_the_same_items(batch):
    made = random_batch(**batch)
    keys = torch.randn(made.embeddings.shape, dtype=torch.float64)
    rows, items, labels, labeled = flat(
        made.embeddings, torch.arange(len(made.embeddings)), made.signal.labels, made.signal.labeled
    )
    expected = semi_supcon_loss(
        rows,
        labels,
        labeled=labeled,
        items=items,
        keys=keys.flatten(0, 1),
        key_labels=labels,
        key_labeled=labeled,
        key_items=items,
    )
    got = semi_supcon_loss(made.embeddings, made.signal.labels, labeled=made.signal.labeled, keys=keys)
    torch.testing.assert_close(got, expected)


def test_info_nce_is_cross_entropy_over_the_keys():
    queries, keys = torch.randn(2, 6, 1, 8, dtype=torch.float64)
    unit = torch.nn.functional.normalize
    logits = unit(queries[:, 0], dim=-1) @ unit(keys[:, 0], dim=-1).T / 0.2
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(6))
    torch.testing.assert_close(NTXentLoss(temperature=0.2)(queries, keys=keys), expected)


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


@implementations
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1])
@pytest.mark.parametrize("kind", ["random", "identical views", "all equal", "orthogonal views"])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_finite_and_near_float64(implementation, dtype, temperature, kind, autocast):
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(6, 2, 16, generator=generator)
    if kind == "identical views":
        embeddings[:, 1] = embeddings[:, 0]
    elif kind == "all equal":
        embeddings[:] = embeddings[0, 0]
    elif kind == "orthogonal views":
        embeddings = torch.eye(16)[:12].reshape(6, 2, 16).clone()
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    half = embeddings.to(dtype).requires_grad_()
    exact = half.detach().double().requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        loss = semi_supcon_loss(half, labels, temperature=temperature, implementation=implementation)
    expected = semi_supcon_loss(exact, labels, temperature=temperature, implementation="dense")
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)
    loss.backward()
    expected.backward()
    largest = exact.grad.abs().max()
    assert half.grad.isfinite().all()
    # One unit in the last place of the dtype, relative to the largest gradient.
    assert (half.grad.double() - exact.grad).abs().max() <= largest * torch.finfo(dtype).eps + 1e-5


def test_contradicting_clusters_at_low_temperature_keep_their_gradient():
    """Positives far apart: where log(p + tiny) has no gradient left, this has that of logsumexp."""
    embeddings = torch.tensor([[1.0, 0.0], [-1.0, 0.01], [1.0, 0.02], [-1.0, 0.0]], dtype=torch.float64)[:, None]
    labels = torch.tensor([0, 0, 1, 1])
    for temperature in (0.05, 0.01):
        single = embeddings.float().requires_grad_()
        double = embeddings.clone().requires_grad_()
        semi_supcon_loss(single, labels, temperature=temperature).backward()
        semi_supcon_loss(double, labels, temperature=temperature, implementation="dense").backward()
        torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-4, atol=1e-4)
        assert double.grad.norm() > 0.1 / temperature * 0.01


def test_autocast_does_not_lower_the_precision_of_similarities():
    made = random_batch(5, 6, 2, 16, 0.5)
    embeddings = made.embeddings.float()
    expected = semi_supcon_loss(embeddings, **made.signal.given, temperature=0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = semi_supcon_loss(embeddings, **made.signal.given, temperature=0.01)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_nor_does_it_that_of_the_gradients_of_tiles(reduction):
    """Also where backward() is called within autocast; autograd's own, of the dense form, then computes in bfloat16."""
    made = random_batch(5, 6, 2, 16, 0.5)
    gradients = []
    for enabled in (False, True):
        embeddings = made.embeddings.float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            criterion = SemiSupConLoss(0.05, reduction=reduction, implementation="tiled")
            criterion(embeddings, **made.signal.given).sum().backward()
        gradients.append(embeddings.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("kind", ["classes", "dice", "weighted sum"])
def test_compiles_without_a_graph_break(kind):
    made = random_batch(5, 6, 2, 16, 0.5, kind)
    criterion = SemiSupConLoss(target=made.signal.target)
    compiled = torch.compile(criterion, fullgraph=True)
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


@implementations
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_row_of_zeros_gets_no_gradient_and_spoils_no_other(implementation, dtype):
    embeddings = torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    embeddings[0] = 0
    embeddings.requires_grad_()
    semi_supcon_loss(embeddings, torch.tensor([0, 0, 1, 1, 2, 2]), implementation=implementation).backward()
    assert embeddings.grad.isfinite().all()
    assert (embeddings.grad[0] == 0).all()
    assert embeddings.grad.abs().max() < 10


def test_modules_of_other_dtypes_read_the_same_labels():
    tags = torch.tensor([[1, 0], [1, 1]] * 3)
    keys = torch.tensor([0, 7, 0, 9, 1, 0], dtype=torch.uint8)
    for dtype in (torch.float64, torch.float16):
        embeddings = torch.randn(6, 2, 8).to(dtype)
        for target, labels in ((LabelOverlap("dice", [1.0, 2.0]), tags), (KeySimilarity(), keys)):
            expected = SemiSupConLoss(target=target)(embeddings, labels)
            got = SemiSupConLoss(target=target).to(dtype)(embeddings, labels)
            torch.testing.assert_close(got, expected, rtol=2e-3, atol=2e-3)


@settings(max_examples=20)
@given(views=st.integers(1, 3))
def test_an_empty_batch_is_zero(views):
    embeddings = torch.randn(0, views, 8, requires_grad=True)
    for implementation in ("dense", "tiled"):
        loss = semi_supcon_loss(embeddings, implementation=implementation)
        loss.backward()
        assert loss.item() == 0


@implementations
def test_no_keys_at_all_are_no_positives(implementation):
    queries = torch.randn(3, 2, 8, requires_grad=True)
    nothing = {"keys": torch.randn(0, 8), "key_items": torch.zeros(0, dtype=torch.int64)}
    loss = semi_supcon_loss(queries, items=torch.arange(3), implementation=implementation, **nothing)
    loss.backward()
    assert loss.item() == 0
    assert (queries.grad == 0).all()
