"""Statistics, Rank-N-Contrast, and peers on the same input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from loss_reference import random_batch

from ssc_toolkit.losses import (
    LearnableTemperature,
    NTXentLoss,
    RankNContrastLoss,
    SemiSupConLoss,
    SupConLoss,
    contrastive_statistics,
)
from ssc_toolkit.targets import GaussianKernel, MaxTarget, SharedLabels

# Statistics


@given(seed=st.integers(0, 1000), kind=st.sampled_from(["classes", "dice", "union"]), views=st.integers(1, 3))
def test_statistics_by_their_definitions(seed, kind, views):
    made = random_batch(seed, 6, views, 4, 0.6, kind)
    found = contrastive_statistics(made.embeddings, **made.signal.given, target=made.signal.target)
    z = torch.nn.functional.normalize(made.embeddings.flatten(0, 1), dim=-1).numpy()
    item = [r // views for r in range(len(z))]
    masks = made.signal.labeled if isinstance(made.signal.labeled, dict) else {"": made.signal.labeled}
    known = [any(bool(mask[i]) for mask in masks.values()) for i in item]
    pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j]
    weight = {(i, j): 1.0 if item[i] == item[j] else made.signal.weight(item[i], item[j]) for i, j in pairs}
    distance = {(i, j): float(((z[i] - z[j]) ** 2).sum()) for i, j in pairs}
    aligned = [distance[p] for p in pairs if item[p[0]] == item[p[1]]]
    agreements = []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if item[j] != item[i] and known[j]]
        if known[i] and others:
            agreements.append(weight[i, min(others, key=lambda j: distance[i, j])])
    expected = {
        "alignment": np.mean(aligned) if aligned else math.nan,
        "uniformity": math.log(np.mean([math.exp(-2 * d) for d in distance.values()])),
        "positive_fraction": np.mean(list(weight.values())),
        "positives_per_anchor": sum(weight.values()) / len(z),
        "neighbor_agreement": np.mean(agreements) if agreements else math.nan,
    }
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-6, abs=1e-9, nan_ok=True), name


def test_statistics_of_nothing_are_nan_not_errors():
    found = contrastive_statistics(torch.randn(1, 1, 4))
    assert math.isnan(found["uniformity"])
    assert math.isnan(found["neighbor_agreement"])


# Rank-N-Contrast


def naive_rank_loss(embeddings, labels, temperature):
    """From the paper's equation."""
    rows = [tuple(row) for row in embeddings.tolist()]
    values = [row if isinstance(row, list) else [row] for row in labels.tolist()]
    losses = []
    for i in range(len(rows)):
        s = {k: -math.dist(rows[i], rows[k]) / temperature for k in range(len(rows)) if k != i}
        d = {k: math.dist(values[i], values[k]) for k in s}
        terms = [math.log(sum(math.exp(s[k]) for k in s if d[k] >= d[j])) - s[j] for j in s]
        losses.append(sum(terms) / len(terms) if terms else 0.0)
    return losses


@given(
    seed=st.integers(0, 2**31),
    items=st.integers(1, 6),
    views=st.integers(1, 3),
    width=st.sampled_from([0, 1, 2]),
    levels=st.sampled_from([2, 5, 1000]),
    temperature=st.sampled_from([0.1, 2.0]),
)
def test_rank_n_contrast_equals_the_double_loop(seed, items, views, width, levels, temperature):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(items, views, 3, generator=generator, dtype=torch.float64)
    labels = torch.randint(levels, (items, width) if width else (items,), generator=generator).double()
    labeled = torch.rand(items, generator=generator) < 0.7
    kept = embeddings[labeled].flatten(0, 1), labels[labeled].repeat_interleave(views, 0)
    expected = naive_rank_loss(*kept, temperature)
    unknown = torch.where(labeled.view(-1, *[1] * (labels.dim() - 1)), labels, torch.nan)
    none = RankNContrastLoss(temperature, "none")(embeddings, unknown, labeled=labeled)
    assert none.shape == embeddings.shape[:2]
    assert none[labeled].flatten().tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert (none[~labeled] == 0).all()
    mean = sum(expected) / len(expected) if len(expected) > 1 else 0.0
    assert RankNContrastLoss(temperature)(embeddings, labels, labeled=labeled).item() == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rank_n_contrast_takes_a_grid_of_tenths_for_a_grid(dtype):
    embeddings = torch.randn(11, 3, dtype=dtype)
    whole = torch.arange(11, dtype=dtype)
    torch.testing.assert_close(RankNContrastLoss()(embeddings, whole / 10), RankNContrastLoss()(embeddings, whole))
    with pytest.raises(TypeError, match="labels"):
        RankNContrastLoss()(embeddings, {"year": whole})


def test_rank_n_contrast_has_gradients_also_at_equal_points():
    embeddings = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0.0, 0.1, 0.1, 2.0, 3.0, 3.0])
    assert torch.autograd.gradcheck(lambda z: RankNContrastLoss()(z, labels), embeddings)
    equal = torch.zeros(4, 2, 3, requires_grad=True)
    RankNContrastLoss()(equal, torch.arange(4.0)).backward()
    assert equal.grad.isfinite().all()
    half = torch.randn(4, 2, 3).half().requires_grad_()
    RankNContrastLoss(0.05)(half, torch.arange(4.0)).backward()
    assert half.grad.isfinite().all()
    with pytest.raises(ValueError, match="finite"):
        RankNContrastLoss()(equal, torch.full((4,), torch.nan))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(0, 2, 8), (0, 8), (3, 0, 8)])
def test_rank_n_contrast_of_an_empty_batch_is_zero(shape, reduction):
    for labels in (torch.rand(shape[0]), torch.rand(shape[0], 2), torch.zeros(shape[0], dtype=torch.bool)):
        embeddings = torch.randn(shape, requires_grad=True)
        loss = RankNContrastLoss(reduction=reduction)(embeddings, labels)
        loss.sum().backward()
        assert loss.sum() == 0
        assert loss.shape == (shape[:-1] if reduction == "none" else ())
        assert embeddings.grad.shape == shape


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.uint16, torch.int64, torch.float16])
def test_rank_n_contrast_takes_numbers_of_any_dtype(dtype):
    made = random_batch(0, 6, 2, 4, 1.0)
    labels = torch.tensor([0, 1, 1, 0, 1, 0])
    expected = naive_rank_loss(made.embeddings.flatten(0, 1), labels.double().repeat_interleave(2), 2.0)
    got = RankNContrastLoss(reduction="none")(made.embeddings, labels.to(dtype))
    assert got.flatten().tolist() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(TypeError, match=r"labels: .*real numbers"):
        RankNContrastLoss()(made.embeddings, labels.to(torch.complex64))


def test_rank_n_contrast_tells_large_integers_apart():
    made = random_batch(0, 6, 1, 4, 1.0)
    seconds = torch.tensor([0, 1, 3, 7, 15, 31])
    expected = RankNContrastLoss()(made.embeddings, seconds)
    torch.testing.assert_close(RankNContrastLoss()(made.embeddings, seconds + 1_700_000_000), expected)
    single = made.embeddings.float()
    kernel = SemiSupConLoss(target=GaussianKernel(5.0))
    torch.testing.assert_close(kernel(single, seconds + 1_700_000_000), kernel(single, seconds))


def test_rank_n_contrast_learns_its_temperature():
    made = random_batch(0, 5, 2, 4, 1.0)
    numbers = torch.rand(5, dtype=torch.float64)
    criterion = RankNContrastLoss(LearnableTemperature(0.5, bounds=(0.1, 4.0)).double())
    fixed = RankNContrastLoss(0.5)(made.embeddings, numbers)
    torch.testing.assert_close(criterion(made.embeddings, numbers), fixed)

    def loss(embeddings, logit):
        return torch.func.functional_call(criterion, {"temperature.logit": logit}, (embeddings, numbers))

    logit = criterion.temperature.logit.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (made.embeddings.requires_grad_(), logit))
    optimizer = torch.optim.SGD(criterion.parameters(), lr=1.0)
    criterion(made.embeddings, numbers).backward()
    optimizer.step()
    assert abs(criterion.temperature().item() - 0.5) > 1e-4
    for temperature in (0, -1, "warm"):
        with pytest.raises(ValueError, match="temperature"):
            RankNContrastLoss(temperature)


# Peers on the same input


def test_simclr_algorithm_1():
    """The paper's pseudocode in numpy: N pairs as rows 2k - 1 and 2k."""
    made = random_batch(7, 9, 2, 8, 0.0)
    z = made.embeddings.flatten(0, 1).numpy()
    s = z @ z.T / (np.linalg.norm(z, axis=1)[:, None] * np.linalg.norm(z, axis=1))
    exponentials = np.exp(s / 0.5)

    def pair_loss(i, j):
        return -np.log(exponentials[i, j] / (exponentials[i].sum() - exponentials[i, i]))

    expected = sum(pair_loss(2 * k, 2 * k + 1) + pair_loss(2 * k + 1, 2 * k) for k in range(9)) / 18
    assert NTXentLoss(temperature=0.5)(made.embeddings).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_pytorch_metric_learning_agrees(seed):
    peers = pytest.importorskip("pytorch_metric_learning.losses")
    made = random_batch(seed, 12, 2, 8, 1.0)
    rows = made.embeddings.flatten(0, 1)
    labels = made.signal.labels.repeat_interleave(2)
    expected = peers.SupConLoss(temperature=0.2)(rows, labels)
    torch.testing.assert_close(SupConLoss(temperature=0.2)(made.embeddings, made.signal.labels), expected)
    items = torch.arange(12).repeat_interleave(2)
    expected = peers.NTXentLoss(temperature=0.2)(rows, items)
    torch.testing.assert_close(NTXentLoss(temperature=0.2)(made.embeddings), expected)


@pytest.mark.parametrize("seed", range(3))
def test_lightly_agrees(seed):
    peers = pytest.importorskip("lightly.loss")
    made = random_batch(seed, 12, 2, 8, 0.0)
    expected = peers.NTXentLoss(temperature=0.2)(made.embeddings[:, 0], made.embeddings[:, 1])
    torch.testing.assert_close(NTXentLoss(temperature=0.2)(made.embeddings), expected)


# What peers get wrong


def test_anchors_without_positives_are_not_averaged_in():
    made = random_batch(0, 6, 1, 8, 1.0)
    labels = torch.tensor([0, 0, 1, 2, 3, 4])
    losses = SemiSupConLoss(reduction="none")(made.embeddings, labels)
    assert SemiSupConLoss()(made.embeddings, labels).item() == pytest.approx(losses[:2].mean().item())


def test_an_embedding_of_nan_shows_in_the_loss():
    embeddings = torch.randn(4, 2, 8)
    embeddings[1, 0] = torch.nan
    for implementation in ("dense", "tiled"):
        assert NTXentLoss(implementation=implementation)(embeddings).isnan()


def test_float16_at_low_temperature_has_gradients():
    embeddings = torch.randn(64, 2, 128).half().requires_grad_()
    NTXentLoss(temperature=0.01)(embeddings).backward()
    assert embeddings.grad.isfinite().all()
    assert (embeddings.grad != 0).float().mean() > 0.5


def test_tags_numbers_and_many_views_are_only_targets():
    embeddings = torch.randn(6, 3, 8, requires_grad=True)
    criterion = SemiSupConLoss(target=MaxTarget({"tags": SharedLabels(), "valence": GaussianKernel(0.2)}))
    labels = {"tags": torch.randint(0, 2, (6, 4)), "valence": torch.rand(6)}
    known = {"tags": torch.arange(6) < 3, "valence": torch.arange(6) > 1}
    criterion(embeddings, labels, labeled=known).backward()
    assert embeddings.grad.isfinite().all()
