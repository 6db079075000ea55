"""Strided convolutions in bfloat16, where outputs of a single column came from memory that was never written."""

from __future__ import annotations

import pytest
import torch
from seeded import noise
from torch import nn

from ssc_toolkit.encoders import MelCNN, ShortChunkCNN
from ssc_toolkit.encoders.strided import StridedConv2d


def layer_and_image(columns, kernel, stride, channels=8):
    torch.manual_seed(0)
    layer = StridedConv2d(channels, 16, kernel_size=kernel, stride=stride, padding=kernel // 2)
    return layer, noise(2, channels, 64, columns)


def dirty_memory():
    """Leave NaN in the memory that the next tensors get."""
    for size in (1 << 12, 1 << 16, 1 << 20):
        torch.full((4, size), float("nan"))


@pytest.mark.parametrize("columns", [1, 2, 3, 4, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 2), (3, 3)])
def test_strided_convolutions_are_right_in_bfloat16(columns, kernel, stride):
    layer, image = layer_and_image(columns, kernel, stride)
    plain = nn.Conv2d(8, 16, kernel, stride, kernel // 2)
    plain.load_state_dict(layer.state_dict())
    with torch.no_grad():
        expected = plain(image)
        assert torch.equal(layer(image), expected)
        for _ in range(5):
            dirty_memory()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                torch.testing.assert_close(layer(image).float(), expected, atol=0.05, rtol=0.05)
        layer.bfloat16()
        for _ in range(5):
            dirty_memory()
            torch.testing.assert_close(layer(image.bfloat16()).float(), expected, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_their_gradients_are_right_in_bfloat16(columns):
    layer, image = layer_and_image(columns, 3, 2)
    weights, grads = [], []
    for dtype in (torch.float32, torch.bfloat16):
        dirty_memory()
        layer.zero_grad()
        own = image.to(dtype, copy=True).requires_grad_()
        layer.to(dtype)(own).square().sum().backward()
        weights.append(layer.weight.grad.float().clone())
        grads.append(own.grad.float())
    for exact, found in (weights, grads):
        assert (found - exact).abs().max() < 0.03 * exact.abs().max()


@pytest.mark.parametrize("make", [MelCNN, lambda: MelCNN(channels=4), lambda: ShortChunkCNN(residual=True)])
def test_the_shortest_clips_have_one_embedding_in_bfloat16(make):
    torch.manual_seed(0)
    encoder = make().eval()
    clips = 0.1 * noise(2, encoder.min_samples)
    with torch.no_grad():
        expected = encoder(clips)
        encoder.bfloat16()
        for each in (encoder, encoder.fuse()):
            found = []
            for _ in range(4):
                dirty_memory()
                found.append(each(clips))
            assert all(torch.equal(one, found[0]) for one in found)
            assert (found[0].float() - expected).abs().max() < 0.1 * expected.abs().max()


def test_fused_encoders_fold_their_strided_convolutions():
    for encoder in (MelCNN(), ShortChunkCNN(channels=4, residual=True)):
        left = [
            name for name, part in encoder.fuse().named_modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
        ]
        assert left == ["scale"]
