"""Embeddings: pooling, the cache, several models at once, models of others, files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from torch import nn

from ssc_toolkit.augmentations import Gain
from ssc_toolkit.data import AudioStore
from ssc_toolkit.encoders import EncoderAdapter, LogMel, MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model, embed_models, embed_tracks, embed_windows, open_model, provenance_of
from ssc_toolkit.evaluation.embedding.eval_mode import eval_mode
from ssc_toolkit.evaluation.embedding.files import read_metadata, write_embeddings
from ssc_toolkit.evaluation.embedding.models import hash_model

RATE = 8000


def level(waveforms: torch.Tensor) -> torch.Tensor:
    """Mean and maximum of (N, samples)."""
    return torch.stack([waveforms.mean(dim=1), waveforms.amax(dim=1)], dim=1)


class Counting(nn.Module):
    """The level, by a weight; counts the windows that it is given."""

    sample_rate = RATE

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.windows = 0

    def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
        self.windows += len(waveforms)
        return level(waveforms[:, 0]) * self.factor


@pytest.mark.parametrize(
    ("window_pooling", "expected"),
    [("mean", [0.1, 0.15, 0.15]), ("max", [0.1, 0.2, 0.2]), ("mean_std", [0.1, 0.15, 0.15])],
)
def test_pooling(tracks, window_pooling, expected):
    found = embed_tracks(as_model(level, RATE), tracks, 1.0, window_pooling=window_pooling, progress=False)
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-4)
    if window_pooling == "mean_std":
        np.testing.assert_allclose(found[:, 2], [0, 0.05, 0.05], atol=1e-4)


def test_windows_without_pooling(tracks):
    found = embed_windows(as_model(level, RATE), tracks, 1.0, progress=False)
    assert found.rows.tolist() == [0, 1, 1, 2, 2]
    assert found.seconds.tolist() == [0, 0, 1, 0, 1]
    np.testing.assert_allclose(found.embeddings[:, 0], [0.1, 0.1, 0.2, 0.1, 0.2], atol=1e-4)


def test_a_function_becomes_a_model_in_one_line(tracks):
    model = as_model(lambda waveforms: level(waveforms).numpy(), RATE, window_seconds=0.5)
    assert embed_tracks(model, tracks, progress=False).shape == (3, 2)
    assert len(embed_windows(model, tracks, progress=False).rows) == 2 + 4 + 5  # windows of half a second
    wrong = as_model(lambda waveforms: waveforms[:, None], RATE)
    with pytest.raises(InputError, match="expected \\(1, dim\\)"):
        embed_tracks(wrong, tracks, 1.0, progress=False)
    with pytest.raises(InputError, match="window_seconds"):
        embed_tracks(model, tracks, 0.0, progress=False)


def test_the_cache_identifies_models_and_audio_by_content(tracks, tmp_path):
    model, cache = Counting(), tmp_path / "cache"

    def embedded(model, table=tracks, **options):
        before = model.windows
        found = embed_tracks(model, table, 0.5, cache=cache, progress=False, **options)
        return found, model.windows - before

    first, windows = embedded(model)
    assert windows == 11
    again, windows = embedded(Counting())  # another object with the same weights
    assert windows == 0
    assert np.array_equal(first, again)
    assert embedded(Counting(2.0))[1] == 11
    assert embedded(model, window_pooling="max")[1] == 11
    assert embedded(model, corruption=Gain((-20, 0)))[1] == 11
    assert embedded(model, corruption=Gain((-20, 0)))[1] == 0
    assert embedded(model, corruption=Gain((-20, 0)), seed=1)[1] == 11
    # The same audio elsewhere is known; other audio at the same place is not.
    (tmp_path / "moved").mkdir()
    moved = tracks.assign(path=[path.replace(str(tmp_path), str(tmp_path / "moved")) for path in tracks["path"]])
    for old, new in zip(tracks["path"], moved["path"], strict=True):
        soundfile.write(new, soundfile.read(old)[0], RATE)
    assert embedded(model, moved)[1] == 0
    soundfile.write(tracks["path"][0], np.full(RATE, 0.7), RATE)
    changed, windows = embedded(model)
    assert windows == 11
    assert changed[0, 0] == pytest.approx(0.7, abs=1e-4)
    # A damaged file counts as none.
    for file in cache.iterdir():
        file.write_bytes(b"half of a")
    assert embedded(model)[1] == 11


def test_a_store_is_cached_by_its_checksums(tracks, tmp_path):
    table = AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False).tracks
    model = Counting()
    for _ in range(2):
        embed_tracks(model, table, 0.5, cache=tmp_path / "cache", progress=False)
    assert model.windows == 11


def test_stores_of_other_channels_have_other_cache_entries(tmp_path):
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", random.uniform(-0.5, 0.5, (RATE, 2)), RATE)
    tracks = pd.DataFrame({"path": [str(tmp_path / "a.wav")]})
    found = []
    for channel in ("mean", "left"):
        store = AudioStore.prepare(tracks, tmp_path / channel, RATE, channel=channel, progress=False)
        found.append(embed_tracks(Counting(), store.tracks, 0.5, cache=tmp_path / "cache", progress=False))
    assert not np.allclose(*found)


def test_a_function_is_cached_by_its_identity_only(tracks, tmp_path):
    with pytest.raises(InputError, match="cache: expected a model with weights or an identity"):
        embed_tracks(as_model(level, RATE), tracks, 0.5, cache=tmp_path / "cache", progress=False)
    named = [as_model(level, RATE, identity=name) for name in ("level 1", "level 1", "level 2")]
    assert hash_model(named[0]) == hash_model(named[1]) != hash_model(named[2])
    assert hash_model(MelCNN(n_mels=48)) != hash_model(MelCNN(n_mels=64))
    front_ends = [{"hop_length": 640}, {"hop_length": 320}, {"standardize": True}, {"scale": "decibels"}]
    adapters = [
        EncoderAdapter(nn.Conv2d(1, 4, 3, padding=1), log_mel=LogMel(RATE, **options), sample_rate=RATE)
        for options in front_ends
    ]
    for adapter in adapters:
        adapter.load_state_dict(adapters[0].state_dict())
    assert len({hash_model(adapter) for adapter in adapters}) == len(adapters)
    assert hash_model(adapters[0].eval()) == hash_model(adapters[0].train())


def test_parts_in_eval_mode_stay_there():
    encoder = MelCNN().train()
    encoder.scale.eval()
    with eval_mode(encoder):
        assert not encoder.training
    assert encoder.training
    assert encoder.temporal.training
    assert not encoder.scale.training


def test_several_models_decode_each_track_once(tracks, monkeypatch):
    from ssc_toolkit.evaluation.embedding import audio_loader

    read: list[str] = []
    own = audio_loader.read_audio
    monkeypatch.setattr(audio_loader, "read_audio", lambda path, *rest: read.append(path) or own(path, *rest))
    models = {"short": as_model(level, RATE, window_seconds=0.5), "long": as_model(level, RATE, window_seconds=1.0)}
    found = embed_models(models, tracks, progress=False)
    assert sorted(read) == sorted(tracks["path"])
    for name, model in models.items():
        np.testing.assert_allclose(found[name], embed_tracks(model, tracks, progress=False), atol=1e-6)
    corrupted = {"corruption": Gain((-20, 0)), "progress": False}
    found = embed_models(models, tracks, **corrupted)
    for name, model in models.items():
        np.testing.assert_allclose(found[name], embed_tracks(model, tracks, **corrupted), atol=1e-6)


def test_models_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "brought.py").write_text(
        "from ssc_toolkit.evaluation import as_model\n"
        "def make():\n    return as_model(lambda x: x[:, :10], 8000)\n"
        "def nothing():\n    return 3\n"
        "def unfinished():\n    raise KeyError('weights')\n"
    )
    (tmp_path / "broken.py").write_text("import torch\nraise RuntimeError('no\\nweights')\n")
    (tmp_path / "ends.py").write_text("raise SystemExit(3)\n")
    monkeypatch.chdir(tmp_path)
    assert open_model("brought:make", allow_code=True)(torch.zeros(2, 1, 100)).shape == (2, 10)
    for source, words in (
        ("brought:nothing", "to return a callable with a sample_rate, got"),
        ("brought:absent", "to return a model, got AttributeError: .*'absent'"),
        ("brought:unfinished", r"got KeyError: 'weights' \(brought.py, line 7\)$"),
        ("broken:make", r"got RuntimeError: no weights \(broken.py, line 2\)$"),
        ("ends:make", "got SystemExit: 3"),
        ("absent:make", "to return a model, got ModuleNotFoundError"),
        ("somewhere", "expected the folder of a saved encoder"),
    ):
        with pytest.raises(InputError, match=words):
            open_model(source, allow_code=True)


def test_errors_of_a_model_name_their_line(tracks):
    def wrong(waveforms):
        raise LookupError("a window\nthat is too long")

    with pytest.raises(
        InputError, match=r"got the exception LookupError: a window that is too long \(test_embedding.*line \d+\)$"
    ):
        embed_tracks(as_model(wrong, RATE), tracks, 0.5, progress=False)

    class Dictionary:
        sample_rate = RATE

        def __call__(self, waveforms):
            return {"embeddings": waveforms}

    with pytest.raises(InputError, match=r"expected \(2, dim\) for 2 windows, got dict"):
        embed_tracks(Dictionary(), tracks, 0.5, progress=False)


def test_windows_are_those_of_the_training(tmp_path):
    MelCNN().save_pretrained(tmp_path / "run" / "encoder")
    assert open_model(str(tmp_path / "run" / "encoder")).window_seconds is None
    (tmp_path / "run" / "settings.json").write_text('{"view_seconds": 2.7}')
    assert open_model(str(tmp_path / "run" / "encoder")).window_seconds == 2.7


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", "garbage", '{"view_seconds": 0}', None])
def test_a_run_without_readable_settings_is_named(tmp_path, content):
    encoder = tmp_path / "run" / "encoder"
    MelCNN().save_pretrained(encoder)
    if content is not None:
        (tmp_path / "run" / "settings.json").write_text(content)
    assert open_model(str(encoder)).window_seconds is None
    (tmp_path / "run" / "last.ckpt").touch()  # now it is the folder of a run
    with pytest.raises(InputError, match=r"encoder: .*settings\.json"):
        open_model(str(encoder))


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_files_hold_embeddings_and_their_origin(tracks, tmp_path, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"e{suffix}"
    told = provenance_of(tracks, window_seconds=1.0, window_pooling="max", seeds=(3,), encoder="mine")
    embeddings = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_embeddings(path, embeddings, {"paths": tracks["path"].to_numpy(dtype=str)}, told)
    content = np.load(path) if suffix == ".npz" else pd.read_parquet(path)
    assert np.array_equal(np.stack(list(content["embeddings"])), embeddings)
    assert list(content["paths"]) == tracks["path"].tolist()
    metadata = read_metadata(path)
    assert metadata == told
    assert (metadata["windows"]["pooling"], metadata["seeds"], metadata["encoder"]) == ("max", [3], "mine")
    assert metadata["versions"]["torch"] == torch.__version__.split("+")[0]


def test_only_models_with_weights_have_diverged(tracks):
    untrained = as_model(lambda waveforms: level(waveforms) * torch.nan, RATE)
    with pytest.raises(InputError, match="got NaN or infinity; correct the function, which is not trained"):
        embed_tracks(untrained, tracks, 1.0, progress=False)
    layer = torch.nn.Linear(RATE, 2)
    torch.nn.init.constant_(layer.weight, torch.nan)
    with pytest.raises(InputError, match="got NaN or infinity; its training has diverged"):
        embed_tracks(as_model(layer, RATE), tracks, 1.0, progress=False)
