"""Encoders are fused by themselves where tracks are embedded on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from encoder_kinds import every_small_encoder, lived_in, small_sample_cnn
from seeded import noise
from torch import nn

from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.encoders import EncoderAdapter, MelCNN, load_encoder
from ssc_toolkit.evaluation import as_model, embed_tracks
from ssc_toolkit.evaluation.embedding.models import FUSED_TOLERANCE, fused_if_equal, hash_model


def music(folder, rate, seconds):
    """Two tracks of noise, of one and two windows."""
    for number in (1, 2):
        samples = noise(round(number * seconds * rate), seed=number).numpy()
        soundfile.write(folder / f"{number}.wav", samples, rate, subtype="FLOAT")
    return check_audio(load_tracks(folder), progress=False)


def by_hand(encoder, tracks, seconds):
    """The mean over the windows of the encoder's own embeddings."""
    size, found = round(seconds * encoder.sample_rate), []
    for path in tracks["path"]:
        samples = torch.from_numpy(soundfile.read(path, dtype="float32")[0])
        with torch.no_grad():
            found.append(encoder(samples[: len(samples) // size * size].view(-1, 1, size)).mean(0))
    return torch.stack(found).numpy()


def furthest(found, expected):
    return np.max(np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1))


@every_small_encoder
def test_tracks_have_the_embeddings_of_the_encoder(make, tmp_path):
    encoder = lived_in(make()).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    seconds = max(0.5, encoder.min_samples / encoder.sample_rate + 0.01)
    tracks = music(tmp_path, encoder.sample_rate, seconds)
    found = embed_tracks(encoder, tracks, seconds, progress=False)
    assert encoder.training
    assert not encoder.fused
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert furthest(found, by_hand(encoder.eval(), tracks, seconds)) < FUSED_TOLERANCE
    with torch.inference_mode():
        assert fused_if_equal(encoder, noise(3, 1, round(seconds * encoder.sample_rate))).fused


class Skips(MelCNN):
    """An encoder that uses an intermediate layer of a sequence, although it says that it does not."""

    rearrangeable = True

    def encode_frames(self, signals):
        image = self.spectral[0](self.scale(self.log_mel(signals)[:, None]))
        return image.mean(dim=2)


def test_a_fused_copy_that_differs_is_not_used(tmp_path):
    encoder = lived_in(Skips())
    with torch.inference_mode():
        windows = noise(3, 1, 16000)
        assert not torch.allclose(encoder.fuse()(windows), encoder(windows), rtol=1e-2)
        assert fused_if_equal(encoder, windows) is encoder
    tracks = music(tmp_path, 16000, 1.0)
    assert furthest(embed_tracks(encoder, tracks, 1.0, progress=False), by_hand(encoder, tracks, 1.0)) < 1e-6


@pytest.mark.parametrize(
    "model",
    [
        as_model(lambda waveforms: waveforms[:, :8], 16000),
        as_model(nn.Sequential(nn.Unflatten(1, (1, 16000)), nn.Conv1d(1, 4, 8), nn.BatchNorm1d(4)), 16000),
        EncoderAdapter(
            nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 8), nn.AdaptiveAvgPool1d(1), nn.Flatten()), 16000
        ),
        MelCNN().fuse(),
    ],
)
def test_other_models_are_taken_as_they_are(model):
    assert fused_if_equal(model, noise(2, 1, 16000)) is model


def test_embeddings_in_a_cache_stay_valid(tmp_path):
    encoder = lived_in(small_sample_cnn())
    folder, cache = tmp_path / "music", tmp_path / "cache"
    folder.mkdir()
    tracks = music(folder, encoder.sample_rate, 0.5)
    key = hash_model(encoder)
    found = embed_tracks(encoder, tracks, 0.5, cache=cache, progress=False)
    assert hash_model(encoder) == key
    assert len(list(cache.glob("*.npy"))) == 1
    encoder.save_pretrained(tmp_path / "encoder")
    again = embed_tracks(load_encoder(tmp_path / "encoder"), tracks, 0.5, cache=cache, progress=False)
    assert np.array_equal(found, again)
    assert len(list(cache.glob("*.npy"))) == 1
