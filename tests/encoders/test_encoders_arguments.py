"""Arguments of encoders: NumPy's are those of Python, bad ones are named."""

from __future__ import annotations

import inspect
import json
import re

import numpy as np
import pytest
import torch
from seeded import noise
from torch import nn

from ssc_toolkit.encoders import (
    ENCODERS,
    ContrastiveModel,
    Encoder,
    MelCNN,
    Projector,
    SampleCNN,
    ShortChunkCNN,
    TUNePlus,
    load_encoder,
    load_published,
    make_encoder,
)
from ssc_toolkit.errors import InputError

SHORT = (3, 3, 3, 1, 1, 1, 1, 1, 1, 2)

GIVEN = {
    "MelCNN": {
        "sample_rate": 12000,
        "n_mels": 40,
        "n_fft": 600,
        "hop_length": 256,
        "channels": 4,
        "embedding_dim": 8,
    },
    "SampleCNN": {"sample_rate": 12000, "strides": SHORT},
    "SampleCNNXL": {"sample_rate": 12000, "strides": SHORT},
    "TUNePlus": {"sample_rate": 12000, "channels": 2},
    "ShortChunkCNN": {"sample_rate": 12000, "channels": 2},
}


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("kind", [np.int64, np.array, torch.tensor])
def test_numbers_of_numpy_and_torch_are_saved(name, kind, tmp_path):
    parameters = inspect.signature(ENCODERS[name]).parameters
    assert GIVEN[name].keys() == {key for key, parameter in parameters.items() if "int" in parameter.annotation}
    given = {
        key: list(map(np.int64, value)) if kind is np.int64 and key == "strides" else kind(value)
        for key, value in GIVEN[name].items()
    }
    encoder = ENCODERS[name](**given).eval()
    encoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.items() >= {**GIVEN[name], **({"strides": list(SHORT)} if "strides" in given else {})}.items()
    assert type(encoder.sample_rate) is type(encoder.embedding_dim) is type(encoder.min_samples) is int
    waveforms = noise(1, encoder.min_samples)
    with torch.no_grad():
        assert torch.equal(load_encoder(tmp_path)(waveforms), encoder(waveforms))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: MelCNN(n_mels=0), "n_mels: expected an integer of at least 1, got 0"),
        (lambda: MelCNN(n_mels="96"), "n_mels: expected an integer of at least 1, got '96'"),
        (lambda: MelCNN(hop_length=-3), "hop_length: expected an integer of at least 1, got -3"),
        (lambda: MelCNN(channels=0), "channels: expected an integer of at least 1, got 0"),
        (lambda: MelCNN(embedding_dim=0), "embedding_dim: expected an integer of at least 1, got 0"),
        (lambda: MelCNN(sample_rate="x"), "sample_rate: expected an integer of at least 1, got 'x'"),
        (lambda: MelCNN(max_hz=-1), "max_hz: expected a positive number of hertz, got -1"),
        (lambda: SampleCNN(strides=3), "strides: expected 10 integers, got 3"),
        (lambda: SampleCNN(strides=None), "strides: expected 10 integers, got None"),
        (lambda: SampleCNN(strides="3" * 10), "strides: expected an integer of at least 1, got '3'"),
        (lambda: SampleCNN(strides=(3.0,) * 10), "strides: expected an integer of at least 1, got 3.0"),
        (lambda: SampleCNN(sample_rate=0), "sample_rate: expected an integer of at least 1, got 0"),
        (lambda: TUNePlus(channels=2.5), "channels: expected an integer of at least 1, got 2.5"),
        (lambda: ShortChunkCNN(channels=True), "channels: expected an integer of at least 1, got True"),
        (lambda: ContrastiveModel(MelCNN(), Projector(512)), "projector: expected an input_dim of 256"),
        (
            lambda: ContrastiveModel(nn.Linear(8, 4)),
            "projector: expected a module, got None, and Linear has no embedding_dim",
        ),
        (lambda: load_published("x.pt", SampleCNN), "encoder: expected an instance"),
        (lambda: load_published("x.pt", "SampleCNN"), "encoder: expected an instance"),
        (lambda: load_published(None), "path: expected the path of a file, got None"),
        (lambda: load_encoder(None), "encoder: expected the path of a folder, got None"),
        (lambda: MelCNN.from_pretrained(None), "encoder: expected the path of a folder, got None"),
        (lambda: ContrastiveModel(MelCNN), "encoder: expected a module"),
        (lambda: ContrastiveModel("MelCNN"), "encoder: expected a module"),
        (lambda: ContrastiveModel(MelCNN(), 128), "projector: expected a module or None, got 128"),
    ],
)
def test_bad_arguments_are_named(make, told):
    with pytest.raises((ValueError, TypeError), match=f"^{re.escape(told)}"):
        make()


def test_any_module_with_a_projector_is_a_model():
    output = ContrastiveModel(nn.Linear(8, 4), nn.Linear(4, 2))(torch.zeros(3, 8))
    assert (output.representation.shape, output.projection.shape) == ((3, 4), (3, 2))
    assert ContrastiveModel(MelCNN(), Projector(np.int64(256), 8, 4)).projector.output_dim == 4


class WithFilter(Encoder):
    """Somebody's own encoder, with an argument that is no plain value."""

    def __init__(self, taps: nn.Module | None = None, width: int = 3) -> None:
        super().__init__(embedding_dim=width, sample_rate=8000, min_samples=8)
        self.taps = nn.Conv1d(1, width, 8) if taps is None else taps

    def encode_frames(self, signals):
        return self.taps(signals[:, None])


def test_an_argument_that_json_cannot_hold_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"made with taps, which config\.json cannot contain"):
        WithFilter(nn.Conv1d(1, 3, 8, stride=4)).save_pretrained(tmp_path)
    encoder = WithFilter(width=np.int64(2))
    encoder.save_pretrained(tmp_path)
    assert torch.equal(WithFilter.from_pretrained(tmp_path).taps.weight, encoder.taps.weight)
    text = (tmp_path / "README.md").read_text()
    assert f"from {__name__} import WithFilter" in text
    assert 'WithFilter.from_pretrained("path' in text


def test_unknown_arguments_of_an_encoder_are_named():
    assert make_encoder("MelCNN", max_hz=5000.0).log_mel.bands.shape[0] < MelCNN().log_mel.bands.shape[0]
    with pytest.raises(InputError, match=r"max_herz: expected an argument of MelCNN \(sample_rate, .*mean max_hz\?"):
        make_encoder("MelCNN", max_herz=8000.0)
    with pytest.raises(InputError, match=r"n_mels: expected an argument of SampleCNN \(sample_rate, strides\)"):
        make_encoder("SampleCNN", n_mels=64)
