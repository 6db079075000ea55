"""The encoders that tests run over, and weights that are not those of a fresh one."""

from __future__ import annotations

import pytest
import torch
from seeded import noise
from torch.nn.modules.batchnorm import _BatchNorm

from ssc_toolkit.encoders import ENCODERS, SampleCNN, SampleCNNXL, ShortChunkCNN, TUNePlus


def small_xl():
    """SampleCNN-XL for inputs of 243 samples."""
    return SampleCNNXL(strides=(3,) * 5 + (1,) * 5)


def small_residual():
    return ShortChunkCNN(channels=8, residual=True)


def small_short_chunk():
    return ShortChunkCNN(channels=8)


def small_tune_plus():
    return TUNePlus(channels=3)


def small_sample_cnn():
    return SampleCNN(strides=(3,) * 6 + (1,) * 4)


every_encoder = pytest.mark.parametrize("make", list(ENCODERS.values()), ids=list(ENCODERS))
every_small_encoder = pytest.mark.parametrize(
    "make",
    [ENCODERS["MelCNN"], small_sample_cnn, small_xl, small_tune_plus, small_short_chunk, small_residual],
    ids=["MelCNN", "SampleCNN", "SampleCNNXL", "TUNePlus", "ShortChunkCNN", "ShortChunkCNN-residual"],
)


def lived_in(encoder):
    """The encoder in eval mode, with batch norms as they are after training: no zero mean, no unit scale."""
    torch.manual_seed(0)
    for module in encoder.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.2, 2)
            module.weight.data.uniform_(-0.5, 2)
            module.bias.data.normal_(0, 0.1)
    return encoder.eval()


def training_step(model, *inputs):
    """Output, gradients and buffers after the forward and backward pass of a training step."""
    output = model(*inputs)
    (output * noise(*output.shape).to(output.dtype)).sum().backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    return output.detach(), gradients, dict(model.named_buffers())


def kept_for_backward(encoder, waveforms) -> int:
    """Bytes that a forward pass keeps for the backward pass."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        embeddings = encoder(waveforms)
    assert embeddings.requires_grad
    return sum(sizes.values())


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
