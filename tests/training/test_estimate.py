"""Estimates of a training before it starts: they change nothing, and count what there is."""

from __future__ import annotations

import copy
import importlib
import random
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch
from training_runs import SMALL, losses, pretrain_on

from ssc_toolkit.data import AudioStore, ContrastiveDataset, check_audio, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss
from ssc_toolkit.options import PretrainOptions, SegmentOptions, TrainerOptions
from ssc_toolkit.preflight import find_memory
from ssc_toolkit.training import SemiSupConDataModule, SemiSupConModule
from ssc_toolkit.training.trial import Trial

pretraining = importlib.import_module("ssc_toolkit.training.pretrain")  # the package has a function of this name
Usage = namedtuple("Usage", "total used free")


def weights(folder):
    return load_encoder(folder).state_dict()


def is_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


OPTIONS = {
    "plain": {"labels": "note"},
    "accumulation": {"labels": "note", "trainer": TrainerOptions(accumulate=2)},
    "memory": {"labels": "note", "memory": 24},
    "chunks": {"labels": "note", "trainer": TrainerOptions(chunk_size=2)},
    "two sources": {"labels": "note", "unlabeled": "again"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_the_timed_steps_do_not_change_the_run(music, tmp_path, monkeypatch, capsys, name):
    options = SMALL | {"steps": 3} | OPTIONS[name]
    if "unlabeled" in options:
        options["unlabeled"] = str(music)
    found = pretrain_on(music / "my.csv", tmp_path / "timed", **options)
    assert "estimate: " in capsys.readouterr().out
    monkeypatch.setattr(pretraining.Estimate, "report", lambda _: None)
    monkeypatch.setattr(pretraining, "estimate_training", lambda *_: pretraining.Estimate("", 0.0, 0, {}))
    without = pretrain_on(music / "my.csv", tmp_path / "plain", **options)
    assert losses(tmp_path / "timed") == losses(tmp_path / "plain")
    assert is_equal(weights(found), weights(without))


def test_the_timed_steps_gather_from_no_other_process(music):
    options = PretrainOptions(tracks=str(music / "my.csv"), out="run", **SMALL)
    loss = CrossBatchMemory(SemiSupConLoss(gather=True), 8)
    module = SemiSupConModule(ContrastiveModel(MelCNN(n_mels=32)), loss)
    dataset = ContrastiveDataset(check_audio(load_tracks(music / "my.csv")), 16000, 0.5)
    data = SemiSupConDataModule(dataset, 6)
    trial = Trial(copy.deepcopy(module), data, options, torch.device("cpu"))
    assert [part.gather for part in trial.module.modules() if hasattr(part, "gather")] == [False]
    assert loss.loss.gather


def states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.mark.slow
def test_the_timed_steps_do_not_change_random_states(music, tmp_path, monkeypatch):
    """The model draws from all generators, as dropout does."""
    calls = []

    def draw(*_):
        calls.append((torch.rand(1), np.random.rand(), random.random()))  # noqa: NPY002

    def checked(module, *arguments):
        module.model.encoder.register_forward_hook(draw)
        before, training = states(), module.training
        weights_before = {name: value.clone() for name, value in module.state_dict().items()}
        found = estimate(module, *arguments)
        assert states() == before
        assert is_equal(module.state_dict(), weights_before)
        assert module.training == training
        assert all(weight.grad is None for weight in module.parameters())
        return found

    estimate = pretraining.estimate_training
    monkeypatch.setattr(pretraining, "estimate_training", checked)
    pretrain_on(music / "my.csv", tmp_path / "a", labels="note", dry_run=True, **SMALL)
    assert len(calls) >= 3


@pytest.mark.slow
def test_a_dry_run_prints_and_writes_nothing(music, tmp_path, capsys):
    before = states()
    out = tmp_path / "runs" / "a"
    files = sorted(music.rglob("*"))
    pretrain_on(music / "my.csv", out, labels="note", dry_run=True, **SMALL)
    printed = capsys.readouterr().out
    assert not out.parent.exists()
    assert sorted(music.rglob("*")) == files
    assert "estimate: 18 tracks, 27 s of audio, 8 steps of 6 tracks" in printed
    assert "of memory" in printed
    assert "2 checkpoints" in printed
    assert states()[:2] == before[:2]


@pytest.mark.slow
def test_the_estimate_of_a_resumed_run_counts_the_steps_left(music, tmp_path, capsys):
    options = SMALL | {"labels": "note"}
    pretrain_on(music / "my.csv", tmp_path / "a", **options)
    shutil.rmtree(tmp_path / "a" / "encoder")
    files = sorted((tmp_path / "a").rglob("*"))
    capsys.readouterr()
    pretrain_on(music / "my.csv", tmp_path / "a", dry_run=True, **options)
    assert "0 steps of 6 tracks" in capsys.readouterr().out
    assert sorted((tmp_path / "a").rglob("*")) == files


@pytest.mark.slow
def test_too_little_disk_space_is_an_error_before_the_run(music, tmp_path, monkeypatch):
    monkeypatch.setattr("ssc_toolkit.preflight.shutil.disk_usage", lambda _: Usage(10**9, 10**9, 10**6))
    with pytest.raises(InputError, match=r"out: expected .* of free space in .*, got 1"):
        pretrain_on(music / "my.csv", tmp_path / "a", labels="note", dry_run=True, **SMALL)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_too_little_memory_is_an_error_before_a_whole_step(music, tmp_path, monkeypatch):
    """The views of such a batch would need terabytes; two items are enough to see it."""
    assert (find_memory()[0] or 0) > 0
    monkeypatch.setattr("ssc_toolkit.training.trial.Trial.time_step", lambda _: pytest.fail("a whole step"))
    monkeypatch.setattr("ssc_toolkit.preflight.find_memory", lambda: (2**28, 2**28))
    with pytest.raises(InputError, match=r"memory: expected .*chunk_size, or choose a smaller batch_size"):
        pretrain_on(music / "my.csv", tmp_path / "a", labels="note", dry_run=True, **SMALL | {"batch_size": 18})


@pytest.mark.slow
def test_pretraining_avoids_silence(tmp_path, caplog):
    from audio_files import RATE, tone, write_audio

    for number in range(6):
        samples = np.zeros(10 * RATE)
        samples[3 * RATE : 5 * RATE] = tone(300.0 + 50 * number, 2.0)
        write_audio(tmp_path / "music" / f"{number}.wav", samples)
    write_audio(tmp_path / "music" / "noise.wav", np.random.default_rng(0).integers(-1, 2, 10 * RATE) / 32768)
    AudioStore.prepare(load_tracks(tmp_path / "music"), tmp_path / "store", 16000, progress=False)
    seen = []

    def noted(module, batch, *arguments):
        seen.append(batch["waveforms"].float().abs().amax(dim=(2, 3))[batch["item"] != 6])
        return augmented(module, batch, *arguments)

    augmented = pretraining.SemiSupConModule._augmented
    options = {"view_seconds": 1.0, "batch_size": 4, "steps": 8, "severity": 0.0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining.SemiSupConModule, "_augmented", noted)
        pretrain_on(tmp_path / "store", tmp_path / "a", segments=SegmentOptions(silence_threshold_db=-40), **options)
        assert min(batch.min() for batch in seen) > 1000
        assert "1 of 7 tracks are silent throughout" in caplog.text
        seen.clear()
        pretrain_on(tmp_path / "store", tmp_path / "b", **options)
        assert min(batch.min() for batch in seen) == 0
    with pytest.raises(InputError, match="other settings"):
        PretrainOptions(
            tracks=str(tmp_path / "store"),
            out=str(tmp_path / "a"),
            segments=SegmentOptions(silence_threshold_db=-20),
            **options,
        ).check()


def test_silence_needs_a_store(music, tmp_path):
    options = {"out": str(tmp_path / "a"), "segments": SegmentOptions(silence_threshold_db=-40.0)}
    with pytest.raises(InputError, match=r"segments\.silence_threshold_db: expected tracks from a store"):
        PretrainOptions(tracks=str(music), **options).check()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").touch()
    PretrainOptions(tracks=str(tmp_path / "store"), **options).check()
    with pytest.raises(InputError, match=r"segments\.silence_threshold_db: expected unlabeled from a store"):
        PretrainOptions(tracks=str(tmp_path / "store"), unlabeled=str(music), **options).check()
    for threshold in (0.0, 10.0, -300.0):
        with pytest.raises(InputError, match=r"segments\.silence_threshold_db: expected"):
            PretrainOptions(
                tracks=str(tmp_path / "store"), **options | {"segments": SegmentOptions(silence_threshold_db=threshold)}
            ).check()
