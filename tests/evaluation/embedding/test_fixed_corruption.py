"""Stored corruptions: what was heard once is heard again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from ssc_toolkit.augmentations import Chain, ColoredNoise, Gain, Reverse, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.data import AudioStore, TrackTable, check_audio, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import FixedCorruption, Task, as_model, embed_models, embed_tracks, fit_probe, robustness
from ssc_toolkit.evaluation.conditions import split_under_test

RATE = 16000


def quarters(waveforms: torch.Tensor) -> torch.Tensor:
    """Level of each quarter of (N, samples)."""
    return waveforms.unflatten(1, (4, -1)).square().mean(dim=2).sqrt()


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Six tracks of noise, 2 s, growing louder."""
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    for number in range(6):
        samples = np.linspace(0.02, 0.2, 2 * RATE) * random.standard_normal(2 * RATE)
        soundfile.write(folder / f"{number}.wav", samples, RATE)
    table = load_tracks(folder).assign(split=["train", "test"] * 3)
    return check_audio(table, progress=False)


def heard(tracks, fixed, rate=RATE, seconds=1.0):
    return embed_tracks(as_model(quarters, rate), tracks, seconds, corruption=fixed, progress=False)


@pytest.mark.parametrize("name", ["chain", *CORRUPTIONS])
def test_a_stored_corruption_gives_the_same_audio(tracks, tmp_path, name):
    transform = semisupcon_chain(RATE, 1.5) if name == "chain" else corruption(name, RATE, 1.5)
    fixed = FixedCorruption.draw(transform, RATE, tracks, seed=3)
    fixed.save(tmp_path / "draws.pt")
    again = FixedCorruption.load(tmp_path / "draws.pt")
    assert again.fingerprint() == fixed.fingerprint()
    first = heard(tracks, fixed)
    # Other tracks beside them, in another order, in batches of another size: each track is as it was.
    some = tracks.select([4, 1, 3])
    np.testing.assert_allclose(heard(some, again), first[[4, 1, 3]], atol=1e-5)


def test_stored_draws_do_not_depend_on_generator_or_presets(tracks, tmp_path, monkeypatch):
    fixed = FixedCorruption.draw(Chain([Gain((-20, 0)), ColoredNoise((0, 10), sample_rate=RATE)]), RATE, tracks)
    fixed.save(tmp_path / "draws.pt")
    expected = heard(tracks, fixed)

    def no_more(*arguments, **options):
        raise AssertionError("nothing may be drawn")

    for name in ("rand", "randint", "randperm"):
        monkeypatch.setattr(torch, name, no_more)
    np.testing.assert_allclose(heard(tracks, FixedCorruption.load(tmp_path / "draws.pt")), expected, atol=1e-6)


def test_models_with_other_rates_and_windows_get_the_same_audio(tracks):
    fixed = FixedCorruption.draw(Chain([Reverse(), Gain((-20, 0))]), RATE, tracks)
    models = {
        "own": as_model(quarters, RATE, window_seconds=1.0),
        "half": as_model(quarters, RATE // 2, window_seconds=1.0),
        "short": as_model(quarters, RATE, window_seconds=0.8),
    }
    found = embed_models(models, tracks, corruption=fixed, progress=False)
    # White noise has half of its power below half of the band.
    np.testing.assert_allclose(found["half"], found["own"] / np.sqrt(2), rtol=0.1)
    # Reversed as a whole before it is cut: windows of .8 s begin with the loud end too.
    assert (found["short"][:, 0] > found["short"][:, -1]).all()
    np.testing.assert_allclose(found["short"].mean(axis=1), found["own"].mean(axis=1), rtol=0.25)
    with pytest.raises(InputError, match="corruption: expected a FixedCorruption"):
        embed_models(models, tracks, corruption=Gain((-20, 0)), progress=False)


def test_a_draw_depends_on_the_seed_and_the_name_of_its_track(tracks):
    transform = semisupcon_chain(RATE)
    fixed = FixedCorruption.draw(transform, RATE, tracks, seed=1)
    some = FixedCorruption.draw(transform, RATE, tracks.select([4, 1]), seed=1)
    for own, all_of_them in zip(some.drawn.children, fixed.drawn.children, strict=True):
        for name, value in own.values.items():
            assert torch.equal(value, all_of_them.values[name][[4, 1]])
    gains = [FixedCorruption.draw(transform, RATE, tracks, seed).drawn.children[0].values["gain_db"] for seed in (1, 2)]
    assert (gains[0] != gains[1]).all()


def test_draws_of_the_earlier_format_are_refused(tracks, tmp_path):
    path = tmp_path / "draws.pt"
    FixedCorruption.draw(Gain((-20, 0)), RATE, tracks).save(path)
    state = torch.load(path, weights_only=True)
    torch.save({**state, "format": 1}, path)
    with pytest.raises(InputError, match=r"expected format 2, got format 1 in .*; draw the corruptions again"):
        FixedCorruption.load(path)


def test_draws_follow_track_names_not_folders(tracks, tmp_path):
    fixed = FixedCorruption.draw(Gain((-20, 0)), RATE, tracks)
    moved = tracks.assign(path=["/elsewhere/" + path.rsplit("/", 1)[1] for path in tracks["path"]])
    assert torch.equal(fixed.draw_for(moved).values["gain_db"], fixed.drawn.values["gain_db"])
    with pytest.raises(InputError, match=r"1 of 7 tracks have no draw, such as new\.wav"):
        fixed.draw_for(pd.concat([moved.frame, moved.frame.iloc[:1].assign(path="/elsewhere/new.wav")]))
    (tmp_path / "no.pt").write_bytes(b"nothing")
    for path, words in ((tmp_path / "no.pt", "is damaged"), (tmp_path / "absent.pt", "there is no")):
        with pytest.raises(InputError, match=words):
            FixedCorruption.load(path)


def test_a_store_gives_the_same_audio_as_its_files(tracks, tmp_path):
    table = AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False).tracks
    test = split_under_test(table)
    assert test.store == table.store == str(tmp_path / "store")
    fixed = FixedCorruption.draw(Gain((-20, 0)), RATE, split_under_test(tracks))
    np.testing.assert_allclose(heard(test, fixed), heard(split_under_test(tracks), fixed), atol=1e-4)


def test_robustness_takes_stored_corruptions_and_every_head(tracks):
    table = pd.concat([tracks.frame] * 3, ignore_index=True)
    table["split"] = np.repeat(["train", "valid", "test"], 6)
    table["label"] = ["a", "b", "b"] * 6
    model = as_model(quarters, RATE)
    embeddings = embed_tracks(model, table, 1.0, progress=False)
    probes = {method: fit_probe(embeddings, table, "label", method) for method in ("linear", "knn", "prototypes")}
    seeds = [fit_probe(embeddings, table, "label", "prototypes", label_fraction=0.6, seed=seed) for seed in range(2)]
    fixed = FixedCorruption.draw(Gain(-200.0), RATE, split_under_test(TrackTable(table)))
    tasks = [Task(name, name) for name in (*probes, "seeds")]
    scores = robustness(
        model, {**probes, "seeds": seeds}, tasks, table, 1.0, lambda severity: fixed, (0.0, 1.0), progress=False
    )
    assert set(scores) == {"linear", "knn", "prototypes", "seeds"}
    assert scores["knn"][0.0].headline.value == 1  # the test tracks are training tracks
    assert scores["knn"][1.0].headline.value < 1  # silence
    assert scores["seeds"][1.0].seeds == 2
