"""The projector: what it computes, what it is made of, what it refuses."""

from __future__ import annotations

import itertools
import re

import pytest
import torch
from seeded import generator
from torch import nn

from ssc_toolkit.encoders import Projector


def rows(*shape):
    return torch.randn(*shape, generator=generator())


def names(module):
    return [name for name, _ in module.named_parameters()]


def test_the_default_is_two_matrix_products_with_relu_between():
    projector = Projector(512)
    first, second = projector.parameters()
    representation = rows(7, 512)
    torch.testing.assert_close(projector(representation), (representation @ first.T).clamp(min=0) @ second.T)


def test_the_default_matches_the_published_names_and_sizes():
    projector = Projector(512)
    assert {name: tuple(weight.shape) for name, weight in projector.state_dict().items()} == {
        "0.weight": (512, 512),
        "2.weight": (128, 512),
    }


def test_weights_of_a_plain_sequential_load_and_give_its_output():
    plain = nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Linear(16, 4, bias=False))
    projector = Projector(16, output_dim=4)
    projector.load_state_dict(plain.state_dict())
    representation = rows(3, 2, 16)
    torch.testing.assert_close(projector(representation), plain(representation))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_depth_widths_and_bias(depth, bias):
    projector = Projector(6, 10, 4, depth=depth, bias=bias)
    linear = [layer for layer in projector if isinstance(layer, nn.Linear)]
    widths = [6, *[10] * (depth - 1), 4]
    assert [(layer.in_features, layer.out_features) for layer in linear] == list(itertools.pairwise(widths))
    assert all((layer.bias is not None) == bias for layer in linear)
    assert sum(isinstance(layer, nn.ReLU) for layer in projector) == depth - 1
    count = sum(a * b + bias * b for a, b in itertools.pairwise(widths))
    assert sum(parameter.numel() for parameter in projector.parameters()) == count


def test_depth_one_is_linear():
    projector = Projector(6, output_dim=4, depth=1)
    assert names(projector) == ["0.weight"]
    one, other = rows(2, 5, 6)
    torch.testing.assert_close(projector(one - 2 * other), projector(one) - 2 * projector(other))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_norm_stands_between_linear_and_relu(norm):
    projector = Projector(6, 10, 4, depth=3, norm=norm)
    assert names(projector) == ["0.weight", "1.weight", "1.bias", "3.weight", "4.weight", "4.bias", "6.weight"]
    hidden = projector[1](projector[0](rows(64, 6)))
    over = 0 if norm == "batch" else 1
    torch.testing.assert_close(hidden.mean(over), torch.zeros(hidden.shape[1 - over]), atol=1e-5, rtol=0)
    assert (hidden < 0).any()


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("leading", [(6,), (3, 2), (1, 3, 2), (2, 3, 1, 1)])
def test_leading_dimensions_are_one_batch(norm, leading):
    projector = Projector(8, 12, 4, norm=norm)
    representation = rows(6, 8)
    expected = projector(representation)
    output = projector(representation.view(*leading, 8))
    assert output.shape == (*leading, 4)
    torch.testing.assert_close(output.reshape(6, 4), expected)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_one_vector_and_no_vector_in_eval_mode(norm):
    projector = Projector(8, norm=norm).eval()
    assert projector(rows(8)).shape == (128,)
    assert projector(torch.zeros(0, 2, 8)).shape == (0, 2, 128)


@pytest.mark.parametrize("norm", [None, "batch", "layer"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradients_reach_every_parameter_and_the_input(norm, depth):
    projector = Projector(8, depth=depth, bias=True, norm=norm)
    representation = rows(5, 2, 8).requires_grad_()
    projector(representation).square().sum().backward()
    assert representation.grad.abs().sum() > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in projector.parameters())
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in projector.named_parameters() if "weight" in name)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"input_dim": 0}, "input_dim: expected an integer of at least 1, got 0"),
        ({"input_dim": 8.0}, "input_dim: expected an integer of at least 1, got 8.0"),
        ({"hidden_dim": -1}, "hidden_dim: expected an integer of at least 1, got -1"),
        ({"output_dim": 0}, "output_dim: expected an integer of at least 1, got 0"),
        ({"depth": 0}, "depth: expected an integer from 1 to 100, got 0"),
        ({"depth": True}, "depth: expected an integer from 1 to 100, got True"),
        ({"norm": "group"}, "norm: expected None, 'batch' or 'layer', got 'group'"),
    ],
)
def test_bad_arguments_are_named(arguments, told):
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        Projector(**{"input_dim": 8, **arguments})
