"""The losses where tensors have no values to read: torch.func, make_fx, fake tensors, torch.jit.trace, torch.export."""

from __future__ import annotations

import pytest
import torch
from loss_reference import SIGNALS, random_batch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from ssc_toolkit.losses import NTXentLoss, RankNContrastLoss, SemiSupConLoss, contrastive_statistics, semi_supcon_loss
from ssc_toolkit.targets.base import values_are_readable

KINDS = sorted(SIGNALS)


def made(kind, seed=3):
    return random_batch(seed, 6, 2, 4, 0.7, kind)


def loss_of(batch, embeddings, **options):
    return semi_supcon_loss(embeddings, **batch.signal.given, target=batch.signal.target, **options)


def test_nothing_is_readable_where_it_may_have_no_value():
    seen = []

    def look(tensor):
        seen.append(values_are_readable(tensor))
        return tensor * 2

    real = torch.ones(3)
    assert values_are_readable(real)
    torch.func.vmap(look)(real)
    torch.func.grad(lambda x: look(x).sum())(real)
    torch.func.jacrev(look)(real)
    for mode in ("real", "fake", "symbolic"):
        make_fx(look, tracing_mode=mode)(real)
        make_fx(look, tracing_mode=mode, pre_dispatch=True)(real)
    with FakeTensorMode() as mode:
        look(torch.ones(3))
        fake = mode.from_tensor(real)
    look(fake)
    torch.jit.trace(look, real, check_trace=False)
    assert len(seen) >= 12
    assert not any(seen)
    assert values_are_readable(real)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("kind", KINDS)
def test_vmap_gives_the_loss_of_each_batch(kind, reduction):
    batch = made(kind)
    embeddings = torch.randn(3, 6, 2, 4, dtype=torch.float64)
    got = torch.func.vmap(lambda z: loss_of(batch, z, reduction=reduction))(embeddings)
    torch.testing.assert_close(got, torch.stack([loss_of(batch, z, reduction=reduction) for z in embeddings]))


def test_vmap_over_labels_masks_and_ids():
    embeddings = torch.randn(3, 6, 2, 4, dtype=torch.float64)
    labels = torch.randint(-1, 3, (3, 6))
    labeled, items = labels >= 0, torch.randint(0, 4, (3, 6))
    criterion = SemiSupConLoss()
    for names in (("labels",), ("labeled",), ("items",), ("labels", "labeled", "items")):
        given = {"labels": labels.clamp(min=0), "labeled": labeled, "items": items}
        mapped = {name: given[name] for name in names}
        fixed = {name: value[0] for name, value in given.items() if name not in names}

        def loss(z, one, fixed=fixed):
            return criterion(z, **one, **fixed)

        got = torch.func.vmap(loss)(embeddings, mapped)
        expected = [loss(z, {name: mapped[name][n] for name in names}) for n, z in enumerate(embeddings)]
        torch.testing.assert_close(got, torch.stack(expected))
        alone = torch.func.vmap(lambda one, loss=loss: loss(embeddings[0], one))(mapped)
        assert alone.shape == (3,)


@pytest.mark.parametrize("kind", KINDS)
def test_func_grad_is_the_gradient_of_autograd(kind):
    batch = made(kind)
    leaf = batch.embeddings.clone().requires_grad_()
    loss_of(batch, leaf).backward()
    torch.testing.assert_close(torch.func.grad(lambda z: loss_of(batch, z))(batch.embeddings), leaf.grad)


def test_gradients_of_each_batch_by_vmap_of_grad():
    batch = made("classes")
    embeddings = torch.randn(3, 6, 2, 4, dtype=torch.float64)
    each = torch.func.vmap(torch.func.grad(lambda z: loss_of(batch, z)))(embeddings)
    for z, gradient in zip(embeddings, each, strict=True):
        torch.testing.assert_close(torch.func.grad(lambda z: loss_of(batch, z))(z), gradient)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_tiles_under_torch_func_point_to_dense(reduction):
    batch = made("classes")

    def loss(z):
        return loss_of(batch, z, implementation="tiled", reduction=reduction).sum()

    for call in (lambda z: torch.func.grad(loss)(z), lambda z: torch.func.vmap(loss)(z[None])):
        with pytest.raises(RuntimeError, match=r"implementation: expected 'dense' or 'auto' under torch\.func"):
            call(batch.embeddings)


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
@pytest.mark.parametrize("kind", ["classes", "two shared labels", "tempo", "union", "function"])
def test_a_traced_loss_computes_the_loss_of_another_batch(kind, mode):
    batch, other = made(kind), made(kind, seed=4)
    if kind == "function":
        other = other._replace(signal=batch.signal)

    def loss(embeddings, labels, labeled):
        return semi_supcon_loss(embeddings, labels, labeled=labeled, target=batch.signal.target)

    graph = make_fx(loss, tracing_mode=mode)(batch.embeddings, batch.signal.labels, batch.signal.labeled)
    got = graph(other.embeddings, other.signal.labels, other.signal.labeled)
    torch.testing.assert_close(got, loss(other.embeddings, other.signal.labels, other.signal.labeled))


@pytest.mark.slow
@pytest.mark.parametrize("implementation", ["auto", "dense", "tiled"])
@pytest.mark.parametrize("kind", KINDS)
def test_fake_tensors_pass(kind, implementation):
    batch = made(kind)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:

        def fake(value):
            if isinstance(value, dict):
                return {name: fake(one) for name, one in value.items()}
            return mode.from_tensor(value)

        embeddings = mode.from_tensor(batch.embeddings).requires_grad_()
        loss = semi_supcon_loss(
            embeddings,
            fake(batch.signal.labels),
            labeled=fake(batch.signal.labeled),
            target=batch.signal.target,
            implementation=implementation,
        )
        loss.backward()
    assert loss.shape == ()
    assert embeddings.grad.shape == embeddings.shape


def test_statistics_and_rank_n_contrast_pass_too():
    batch, numbers = made("classes"), torch.rand(6, dtype=torch.float64)
    embeddings = torch.randn(3, 6, 2, 4, dtype=torch.float64)

    def rank(z):
        return RankNContrastLoss()(z, numbers)

    torch.testing.assert_close(torch.func.vmap(rank)(embeddings), torch.stack([rank(z) for z in embeddings]))
    with FakeTensorMode() as mode:
        embeddings = mode.from_tensor(embeddings)
        assert RankNContrastLoss()(embeddings[0], mode.from_tensor(numbers)).shape == ()
        found = contrastive_statistics(embeddings[0], mode.from_tensor(batch.signal.labels))
        assert found["alignment"].shape == ()


def test_a_traced_module_has_no_batch_of_its_own():
    first, second = torch.randn(2, 6, 2, 8)
    traced = torch.jit.trace(NTXentLoss(), first)
    torch.testing.assert_close(traced(second), NTXentLoss()(second))
    exported = torch.export.export(SemiSupConLoss(), (first, torch.arange(6) % 3)).module()
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    torch.testing.assert_close(exported(second, labels), SemiSupConLoss()(second, labels))
