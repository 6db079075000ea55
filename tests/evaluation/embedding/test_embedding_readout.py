"""The readout of embeddings: layers and pooling of frames, in the cache, in baselines and in saved encoders."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.encoders import Encoder, MelCNN, SampleCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import LogMelStatistics, as_model, embed_models, embed_tracks, embed_windows, probe
from ssc_toolkit.evaluation.baselines import make_baselines

RATE = 8000


class Envelope(Encoder):
    """The level of each frame of 10 ms, and its logarithm; counts the windows that it embeds."""

    def __init__(self) -> None:
        super().__init__(embedding_dim=1, sample_rate=RATE, min_samples=80)
        self.level = torch.nn.Identity()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.windows = 0

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("level", "log_level")

    def encode_frames(self, signals: Tensor) -> Tensor:
        self.windows += len(signals)
        frames = signals.unfold(-1, 80, 80).abs().mean(dim=-1)[:, None]
        return (self.level(frames) * self.weight).clamp(min=1e-3).log()


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Noise of constant level or of a level that varies in each second, with the same mean: 30 tracks of each."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for number in range(60):
        varying = np.tile(np.repeat([0.5, 1.5], RATE // 4), 4)
        level = random.uniform(0.05, 0.2) * (varying if number % 2 else 1.0)
        soundfile.write(folder / f"{number:02d}.wav", level * random.choice([-1, 1], 2 * RATE), RATE)
    table = check_audio(load_tracks(folder), progress=False)
    return table.assign(kind=["constant", "varying"] * 30, split=np.repeat(["train", "valid", "test"], 20))


def test_mean_std_separates_classes_that_mean_does_not(tracks):
    scores = {}
    for pooling in ("mean", "mean_std"):
        embeddings = embed_tracks(Envelope(), tracks, 1.0, frame_pooling=pooling, layers=["level"], progress=False)
        scores[pooling] = probe(embeddings, tracks, "kind").headline.value
    assert scores["mean_std"] == 1
    assert scores["mean"] < 0.8


def test_layers_are_concatenated_in_the_given_order(tracks):
    some, encoder = tracks.select(range(4)), Envelope()

    def embedded(pooling, layers):
        return embed_tracks(encoder, some, 1.0, frame_pooling=pooling, layers=layers, progress=False)

    level, last = embedded("mean", ["level"]), embedded("mean", "last")
    np.testing.assert_allclose(embedded("mean", "all"), np.hstack([level, last]), atol=1e-6)
    np.testing.assert_allclose(embedded("mean", ["last", "level"]), np.hstack([last, level]), atol=1e-6)
    np.testing.assert_allclose(embedded("default", None), last, atol=1e-6)
    assert (embedded("max", ["level"]) >= level).all()


def test_frame_pooling_is_not_window_pooling(tracks):
    some = tracks.select(range(4))
    options = {"layers": ["level"], "progress": False}
    by_frames = embed_tracks(Envelope(), some, 1.0, frame_pooling="mean_std", **options)
    by_windows = embed_tracks(Envelope(), some, 1.0, window_pooling="mean_std", **options)
    assert by_frames.shape == by_windows.shape == (4, 2)
    assert by_frames[1, 1] > 0.02 > 0.001 > by_windows[1, 1]  # the level varies within a window, not between windows
    both = embed_tracks(Envelope(), some, 1.0, frame_pooling="mean_std", window_pooling="mean_std", **options)
    np.testing.assert_allclose(both[:, :2], by_frames, atol=1e-6)
    assert both.shape == (4, 4)


def test_embeddings_are_cached_by_their_readout(tracks, tmp_path):
    some, encoder = tracks.select(range(4)), Envelope()

    def is_computed(**options):
        before = encoder.windows
        embed_tracks(encoder, some, 1.0, cache=tmp_path, progress=False, **options)
        return encoder.windows - before >= 8  # two windows of each track

    asked = [{}, {"frame_pooling": "max"}, {"frame_pooling": "max", "layers": "all"}, {"layers": ["level"]}]
    assert all(is_computed(**options) for options in asked)
    assert not any(is_computed(**options) for options in asked)
    encoder.set_readout("mean_std", "all")
    assert is_computed()
    assert not is_computed(frame_pooling="mean_std", layers="all")


def test_the_saved_readout_is_the_default(tracks, tmp_path):
    some = tracks.select(range(2))
    MelCNN(sample_rate=RATE, n_mels=16).set_readout("mean_std", "all").save_pretrained(tmp_path)
    encoder = load_encoder(tmp_path)
    dim = 2 * (16 + 32 + 32 + 256 + 256)
    assert embed_tracks(encoder, some, 1.0, progress=False).shape == (2, dim)
    assert embed_windows(encoder, some, 1.0, progress=False).embeddings.shape == (4, dim)
    assert embed_tracks(encoder, some, 1.0, frame_pooling="mean", progress=False).shape == (2, dim // 2)
    assert embed_tracks(encoder, some, 1.0, layers="last", progress=False).shape == (2, 512)
    found = embed_models({"own": encoder, **make_baselines({"own": encoder}, 0)}, some, 1.0, progress=False)
    assert {name: vectors.shape[1] for name, vectors in found.items()} == {
        "own": dim,
        "random encoder": dim,
        "log-mel statistics": 192,
        "MFCC statistics": 40,
    }


def test_baselines_get_the_readout_of_the_trained_encoder(tracks):
    models = {"own": MelCNN(sample_rate=RATE), **make_baselines({"own": MelCNN(sample_rate=RATE)}, 0)}
    some = tracks.select(range(2))
    found = embed_models(models, some, 1.0, frame_pooling="max", layers=["log_mel", "last"], progress=False)
    assert found["own"].shape == found["random encoder"].shape == (2, 96 + 256)
    np.testing.assert_array_equal(
        found["own"][:, :96], found["random encoder"][:, :96]
    )  # the spectrogram has no weights
    alone = embed_tracks(LogMelStatistics(RATE), some, 1.0, progress=False)
    np.testing.assert_allclose(found["log-mel statistics"], alone, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (
            Envelope(),
            {"frame_pooling": "mean+std"},
            "frame_pooling: expected one of default, mean, mean_std, unit_mean_std, scaled_mean_std, max",
        ),
        (
            Envelope(),
            {"layers": ["loudness"]},
            r"layers: expected last, all or names of layers of Envelope \(level, log",
        ),
        (Envelope(), {"window_pooling": "mean+std"}, "window_pooling: expected one of mean, max, mean_std"),
        (as_model(lambda x: x[:, :2], RATE), {"frame_pooling": "max"}, "frame_pooling: .* is not an Encoder"),
        (as_model(lambda x: x[:, :2], RATE), {"layers": "all"}, "layers: .* is not an Encoder"),
        (
            SampleCNN(RATE, strides=(3,) * 7 + (1,) * 3),
            {"frame_pooling": "mean_std", "window_seconds": 0.3},
            "frame_pooling: expected mean or max, got mean_std; a window of 0.30 s has a single frame in SampleCNN",
        ),
        (
            SampleCNN(RATE, strides=(3,) * 7 + (1,) * 3),
            {"frame_pooling": "unit_mean_std", "window_seconds": 0.3},
            "frame_pooling: expected mean or max, got unit_mean_std; a window of 0.30 s has a single frame",
        ),
    ],
)
def test_bad_combinations_are_errors_before_audio_is_read(tracks, model, options, words):
    missing = tracks.assign(path="nowhere.wav")
    with pytest.raises(InputError, match=words):
        embed_tracks(model, missing, progress=False, **{"window_seconds": 1.0, **options})


def test_random_encoders_have_the_readout_of_each_encoder():
    models = {name: MelCNN(RATE).set_readout(name) for name in ("mean", "mean_std")}
    twins = [model for name, model in make_baselines(models, 0).items() if name.startswith("random")]
    assert {twin.readout.frame_pooling for twin in twins} == set(models)
