"""What the losses refuse: each error names the argument, what was expected and what came."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from ssc_toolkit.losses import LearnableTemperature, NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.targets import MaxTarget, SameClass, SharedLabels, SimilarityMatrix

three = torch.randn(4, 2, 8)
classes = torch.tensor([0, 1, 0, 1])
yes = torch.ones(4, dtype=torch.bool)
both = MaxTarget({"a": SameClass(), "b": SharedLabels()})


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"embeddings": torch.zeros(4, 2, 8, dtype=torch.long)}, TypeError, "embeddings"),
        ({"embeddings": [[1.0]]}, TypeError, "embeddings.*list"),
        ({"embeddings": torch.randn(4, 2, 0)}, ValueError, "embeddings"),
        ({"embeddings": three, "labels": [0, 1, 0, 1]}, TypeError, "labels.*list"),
        ({"embeddings": three, "temperature": "warm"}, ValueError, "temperature"),
        (
            {"embeddings": three, "labels": torch.tensor([1, 2, torch.nan, 4]), "target": lambda a, b: a[:, None] - b},
            ValueError,
            "target.*NaN",
        ),
        ({"embeddings": three, "labels": {"a": classes}}, TypeError, "labels: SameClass expects a tensor, got a dict"),
        ({"embeddings": three, "labels": classes.to("meta")}, ValueError, "labels: expected on cpu"),
        ({"embeddings": three, "keys": [1]}, TypeError, "keys.*list"),
        (
            {"embeddings": three, "keys": torch.randn(2, 8), "key_items": classes[:2], "key_labels": torch.rand(2)},
            TypeError,
            "key_labels: SameClass",
        ),
        (
            {
                "embeddings": three,
                "labels": torch.ones(4, 3),
                "keys": torch.randn(2, 8),
                "key_items": classes[:2],
                "key_labels": torch.ones(2, 5),
                "target": SharedLabels(),
            },
            ValueError,
            "key_labels: expected rows like",
        ),
        (
            {"embeddings": three, "labels": classes, "labeled": [True] * 4},
            TypeError,
            "labeled.*list.*as_tensor.*bool",
        ),
        (
            {"embeddings": three, "labels": classes, "labeled": torch.ones(4)},
            TypeError,
            "labeled: expected a tensor of bool, got torch.float32; use torch.as_tensor",
        ),
        (
            {"embeddings": three, "labels": classes, "labeled": yes.numpy()},
            TypeError,
            "labeled.*ndarray.*torch.as_tensor",
        ),
        ({"embeddings": three.to_sparse()}, TypeError, "embeddings.*dense.*to_dense"),
        (
            {"embeddings": three, "labels": torch.ones(4, 3).to_sparse(), "target": SharedLabels()},
            TypeError,
            "labels: .*dense.*labels.to_dense()",
        ),
        ({"embeddings": three, "items": classes.to_sparse()}, TypeError, "items.*to_dense"),
        ({"embeddings": three, "groups": classes.to_sparse()}, TypeError, "groups.*to_dense"),
        ({"embeddings": three, "labels": classes, "labeled": yes.to_sparse()}, TypeError, "labeled.*to_dense"),
        ({"embeddings": three.to("meta")}, ValueError, "embeddings.*expected a tensor that has values.*meta"),
        ({"embeddings": three, "items": torch.arange(4) * 1j}, TypeError, "items.*complex"),
        (
            {"embeddings": three, "labels": classes, "target": lambda a, b: np.ones((len(a), len(b)))},
            TypeError,
            "target: .*returns a torch.Tensor.*numpy.ndarray",
        ),
        ({"embeddings": three, "temperature": LearnableTemperature()}, ValueError, "temperature.*call it"),
        ({"embeddings": three, "temperature": np.array(0.1)}, ValueError, "temperature.*ndarray; pass a float"),
        ({"embeddings": three, "temperature": "0.1"}, ValueError, "temperature.*str; pass a float"),
        ({"embeddings": three, "temperature": torch.tensor(1)}, ValueError, "temperature.*torch.int64"),
        ({"embeddings": three, "labels": classes, "target": lambda a, b: None}, TypeError, "target.*NoneType"),
        ({"embeddings": three, "target": SameClass}, TypeError, "target"),
        ({"embeddings": three, "temperature": torch.tensor(-0.1)}, ValueError, "temperature"),
        ({"embeddings": torch.randn(8)}, ValueError, "embeddings"),
        ({"embeddings": torch.randn(4, 2, 2, 8)}, ValueError, "embeddings"),
        ({"embeddings": torch.randn(4, 8)}, ValueError, "items"),
        ({"embeddings": torch.randn(4, 8), "items": torch.arange(3)}, ValueError, "items"),
        ({"embeddings": torch.randn(4, 8), "items": torch.rand(4)}, TypeError, "items"),
        ({"embeddings": three, "items": torch.arange(8)}, ValueError, "items"),
        ({"embeddings": three, "labels": torch.arange(3)}, ValueError, "labels"),
        ({"embeddings": three, "labels": torch.tensor(1)}, ValueError, "labels"),
        ({"embeddings": three, "labels": torch.rand(4)}, TypeError, "labels"),
        ({"embeddings": three, "labels": torch.tensor([0, -1, 0, 1])}, ValueError, "negative"),
        ({"embeddings": three, "labels": torch.ones(4, 3)}, ValueError, "SharedLabels"),
        ({"embeddings": three, "labels": classes, "target": SharedLabels()}, ValueError, "multi-hot"),
        (
            {"embeddings": three, "labels": torch.full((4, 3), 0.5), "target": SharedLabels()},
            ValueError,
            "0 or 1",
        ),
        ({"embeddings": three, "labeled": classes.bool()}, ValueError, "labels: expected labels"),
        ({"embeddings": three, "labels": classes, "labeled": classes}, TypeError, "labeled"),
        ({"embeddings": three, "labels": classes, "labeled": torch.ones(3, dtype=torch.bool)}, ValueError, "labeled"),
        ({"embeddings": three, "labels": classes, "labeled": {"a": yes}}, TypeError, "labeled"),
        ({"embeddings": three, "labels": {"a": classes}, "target": both}, ValueError, r"labels.*'b'"),
        ({"embeddings": three, "labels": {}, "target": both}, ValueError, "labels"),
        ({"embeddings": three, "labels": classes, "target": both}, TypeError, "labels.*dict"),
        (
            {"embeddings": three, "labels": {"a": classes, "b": torch.ones(3, 2)}, "target": both},
            ValueError,
            r"labels\['b'\]",
        ),
        (
            {
                "embeddings": three,
                "labels": {"a": classes, "b": torch.ones(4, 2)},
                "labeled": {"a": yes},
                "target": both,
            },
            ValueError,
            r"labeled.*'b'",
        ),
        (
            {"embeddings": three, "labels": {"a": classes - 1, "b": torch.ones(4, 2)}, "target": both},
            ValueError,
            "signal 'a': labels",
        ),
        (
            {"embeddings": three, "labels": classes * 9, "target": SimilarityMatrix(torch.eye(2))},
            ValueError,
            "0 to 1",
        ),
        ({"embeddings": three, "labels": classes, "target": lambda a, b: torch.ones(2, 2)}, ValueError, "target"),
        (
            {"embeddings": three, "labels": classes, "target": lambda a, b: -torch.ones(len(a), len(b))},
            ValueError,
            "target",
        ),
        ({"embeddings": three, "target": 3}, TypeError, "target"),
        ({"embeddings": three, "keys": torch.randn(5, 8)}, ValueError, "key_items"),
        ({"embeddings": three, "keys": torch.randn(5, 2, 8)}, ValueError, "key_items"),
        ({"embeddings": three, "keys": three, "key_labels": classes}, ValueError, "key_items"),
        ({"embeddings": three, "key_labels": classes}, ValueError, "keys"),
        ({"embeddings": three, "keys": torch.randn(4, 2, 7)}, ValueError, "keys.*8"),
        ({"embeddings": three, "keys": three.long()}, TypeError, "keys"),
        (
            {"embeddings": three, "keys": torch.randn(5, 8), "key_items": torch.arange(5), "key_labels": classes},
            ValueError,
            "key_labels",
        ),
        ({"embeddings": three, "temperature": 0.0}, ValueError, "temperature"),
        ({"embeddings": three, "temperature": math.nan}, ValueError, "temperature"),
        ({"embeddings": three, "temperature": torch.ones(2)}, ValueError, "temperature"),
        ({"embeddings": three, "reduction": "average"}, ValueError, "reduction"),
        ({"embeddings": three, "denominator": "some"}, ValueError, "denominator"),
        ({"embeddings": three, "implementation": "fast"}, ValueError, "implementation"),
    ],
)
def test_bad_input_is_named(arguments, error, words):
    with pytest.raises(error, match=words):
        semi_supcon_loss(**arguments)


@pytest.mark.parametrize("number", [np.float32(0.1), np.float64(0.1), np.float16(0.1), Fraction(1, 10), np.int64(1), 1])
def test_temperatures_are_numbers_of_any_kind(number):
    expected = semi_supcon_loss(three, temperature=float(number))
    assert semi_supcon_loss(three, temperature=number) == expected
    for make in (SemiSupConLoss, NTXentLoss):
        assert make(temperature=number)(three) == expected
        assert f"temperature={float(number)}," in repr(make(temperature=number))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint16, torch.uint32, torch.uint64])
@pytest.mark.parametrize("implementation", ["dense", "tiled"])
def test_labels_and_ids_are_integers_of_any_dtype(dtype, implementation):
    criterion = SemiSupConLoss(implementation=implementation)
    expected = criterion(three, classes, items=torch.arange(4))
    assert criterion(three, classes.to(dtype), items=torch.arange(4).to(dtype)) == expected
    tags = torch.tensor([[1, 0], [1, 1], [0, 1], [0, 0]])
    criterion = SemiSupConLoss(target=SharedLabels(), implementation=implementation)
    assert criterion(three, tags.to(dtype)) == criterion(three, tags)


def test_modules_refuse_bad_settings():
    with pytest.raises(ValueError, match="temperature"):
        SemiSupConLoss(temperature=-1)
    with pytest.raises(ValueError, match="reduction"):
        NTXentLoss(reduction="median")
    with pytest.raises(ValueError, match="initial"):
        LearnableTemperature(2.0, bounds=(0.01, 1.0))


def test_two_views_are_told_to_be_stacked():
    first, second = torch.randn(2, 4, 8)
    for criterion in (SemiSupConLoss(), SupConLoss(), SemiSupConLoss(target=SharedLabels())):
        with pytest.raises((TypeError, ValueError), match=r"torch\.stack\(\[first, second\], dim=1\)"):
            criterion(first, second)


@pytest.mark.parametrize(
    ("second", "error", "words"),
    [
        (classes, TypeError, "second_views.*no labels"),
        (torch.randn(4, 7), ValueError, r"second_views: expected shape \(4, 8\)"),
        (three, TypeError, r"second_views.*\(4, 2, 8\)"),
        ([1], TypeError, "second_views.*list"),
    ],
)
def test_what_is_no_second_view_is_named(second, error, words):
    with pytest.raises(error, match=words):
        NTXentLoss()(torch.randn(4, 8), second)
