"""Encoders leave PyTorch whole: saved by safetensors, traced, exported and run by ONNX Runtime, for any batch."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file
from seeded import noise
from torch.export import Dim

from ssc_toolkit import augmentations, losses
from ssc_toolkit.encoders import (
    ContrastiveModel,
    MelCNN,
    Projector,
    SampleCNN,
    SampleCNNXL,
    ShortChunkCNN,
    TUNePlus,
    load_encoder,
)

pytestmark = pytest.mark.filterwarnings("ignore")

MAKES = {
    "MelCNN": lambda: MelCNN(n_mels=24, channels=4, embedding_dim=16),
    "SampleCNN": SampleCNN,
    "SampleCNNXL": SampleCNNXL,
    "TUNePlus": TUNePlus,
    "ShortChunkCNN": lambda: ShortChunkCNN(channels=4),
    "ShortChunkCNN residual": lambda: ShortChunkCNN(channels=4, residual=True),
}
LONG = 2 * 65536  # samples; any encoder makes more than one frame of them

every_encoder = pytest.mark.parametrize("name", MAKES)
every_export = pytest.mark.parametrize(
    "name", [name if name == "MelCNN" else pytest.param(name, marks=pytest.mark.slow) for name in MAKES]
)
"""One export takes seconds: slow for all encoders but the smallest."""


def dynamic(name):
    """Dynamic sizes of an input, and two lengths to try: max_pool1d binds an export to the length of its input."""
    if "CNN" in name and "Sample" not in name:
        return {0: Dim("batch", min=2), 2: Dim("samples", min=LONG, max=10**7)}, (LONG + 9, LONG + 70000)
    return {0: Dim("batch", min=2)}, (59049, 59049)


def assert_same(found, encoder, waveforms):
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(found), encoder(waveforms), atol=1e-4, rtol=1e-4)


@every_encoder
@pytest.mark.parametrize("fused", [False, True])
def test_the_weights_of_an_encoder_are_saved_by_safetensors(name, fused, tmp_path):
    encoder = MAKES[name]().eval()
    model = ContrastiveModel(encoder.fuse() if fused else encoder)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert all(value.is_contiguous() for value in model.state_dict().values())
    again = copy.deepcopy(model)
    for parameter in again.parameters():
        parameter.data.zero_()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    waveforms = noise(2, 1, encoder.min_samples)
    assert_same(again(waveforms).representation, encoder, waveforms)


def test_weights_saved_in_another_layout_load(tmp_path):
    encoder = MelCNN(n_mels=24, channels=4).eval()
    state = {
        key: value.to(memory_format=torch.channels_last) if value.dim() == 4 else value
        for key, value in encoder.state_dict().items()
    }
    torch.save(state, tmp_path / "old.pt")
    again = MelCNN(n_mels=24, channels=4).eval()
    again.load_state_dict(torch.load(tmp_path / "old.pt", weights_only=True))
    save_file(again.state_dict(), tmp_path / "new.safetensors")
    again.to(memory_format=torch.channels_last)
    save_file(again.state_dict(), tmp_path / "new.safetensors")
    again.save_pretrained(tmp_path / "folder")
    waveforms = noise(2, 1, 16000)
    assert_same(load_encoder(tmp_path / "folder")(waveforms).detach(), encoder, waveforms)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Projector(8, norm="batch", depth=3),
        lambda: augmentations.semisupcon_chain(16000),
        lambda: augmentations.clmr_chain(16000),
        lambda: losses.SemiSupConLoss(),
        lambda: losses.SupConLoss(),
        lambda: losses.NTXentLoss(),
    ],
)
def test_other_modules_are_saved_by_safetensors(make, tmp_path):
    content = {"one": torch.zeros(1), **make().state_dict()}  # a loss alone has no tensors
    save_file(content, tmp_path / "model.safetensors")
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == content.keys()
    assert all(torch.equal(saved[name], tensor) for name, tensor in content.items())


@every_export
def test_an_exported_encoder_takes_any_batch(name):
    encoder = MAKES[name]().eval()
    sizes, lengths = dynamic(name)
    exported = torch.export.export(encoder, (noise(3, 1, lengths[0]),), dynamic_shapes=(sizes,)).module()
    for waveforms in (noise(11, 1, lengths[0]), noise(2, 1, lengths[1])):
        assert_same(exported(waveforms).detach(), encoder, waveforms)


@pytest.mark.parametrize("name", ["MelCNN", "ShortChunkCNN residual", pytest.param("TUNePlus", marks=pytest.mark.slow)])
@pytest.mark.parametrize("fused", [False, True])
def test_a_traced_encoder_takes_any_batch(name, fused):
    encoder = MAKES[name]().eval()
    model = encoder.fuse() if fused else encoder
    traced = torch.jit.trace(model, (noise(3, 1, 65536),))
    for waveforms in (noise(1, 1, 65536), noise(20, 1, 65536)):
        assert_same(traced(waveforms).detach(), encoder, waveforms)


@pytest.mark.slow
@every_export
def test_onnx_runtime_gives_the_same_embeddings(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    encoder = MAKES[name]().eval()
    sizes, lengths = dynamic(name)
    path = tmp_path / "encoder.onnx"
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            encoder, (noise(3, 1, lengths[0]),), dynamo=True, dynamic_shapes=(sizes,), verbose=False
        )
    program.save(path)
    session = onnxruntime.InferenceSession(path)
    for waveforms in (noise(11, 1, lengths[0]), noise(2, 1, lengths[1])):
        (found,) = session.run(None, {session.get_inputs()[0].name: waveforms.numpy()})
        assert_same(found, encoder, waveforms)
