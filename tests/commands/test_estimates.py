"""Estimates of the commands that embed tracks: they write nothing in a dry run, and change no result."""

from __future__ import annotations

import importlib
import json
from collections import namedtuple

import numpy as np
import pytest
import soundfile
import torch
from compared import write_encoders, write_music

from ssc_toolkit.cli import main
from ssc_toolkit.evaluation.embedding.files import read_metadata

embed_module = importlib.import_module("ssc_toolkit.commands.embed")
compare_module = importlib.import_module("ssc_toolkit.commands.compare")
Usage = namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A table of sixty tracks and two encoders."""
    folder = tmp_path_factory.mktemp("world")
    return write_music(folder), write_encoders(folder)


def embed(world, out, *options):
    return main(["embed", str(world[0]), f"--encoder={world[1][0]}", f"--out={out}", "--window_seconds=0.5", *options])


def compare(world, out, *options):
    return main(
        ["compare", str(world[0]), f"--encoders={json.dumps(list(map(str, world[1])))}", '--names=["one","two"]',
         "--labels=key,tags", "--window_seconds=0.5", "--corruptions=gain,bitcrush", "--severities=1,2",
         "--audio_clips=12", f"--out={out}", *options]
    )  # fmt: skip


def test_a_dry_run_of_embed_writes_nothing(world, tmp_path, capsys):
    before = sorted(world[0].parent.rglob("*"))
    assert embed(world, tmp_path / "a" / "e.npz", f"--cache={tmp_path / 'cache'}", "--dry_run") == 0
    printed = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert sorted(world[0].parent.rglob("*")) == before
    assert "estimate: 60 tracks, 72 s of audio, 120 windows; about" in printed
    assert "(embeddings 0.1 MB, cache 0.1 MB)" in printed


@pytest.mark.parametrize(("window_pooling", "rows"), [("mean_std", 60), ("none", 120)])
def test_the_bytes_of_embeddings_are_estimated(world, tmp_path, capsys, monkeypatch, window_pooling, rows):
    sizes = []
    monkeypatch.setattr("ssc_toolkit.preflight.check_disk", lambda disk, _: sizes.append(sum(disk.values())))
    states = []

    def noted(*arguments, **options):
        states.append(torch.get_rng_state())
        found = estimate(*arguments, **options)
        states.append(torch.get_rng_state())
        return found

    estimate = embed_module.estimate_embedding
    monkeypatch.setattr(embed_module, "estimate_embedding", noted)
    assert embed(world, tmp_path / "e.npz", f"--window_pooling={window_pooling}") == 0
    assert torch.equal(*states)
    with np.load(tmp_path / "e.npz") as content:
        assert len(content["embeddings"]) == rows
        embeddings = content["embeddings"].nbytes
    assert sizes[0] == embeddings + rows * 200
    assert read_metadata(tmp_path / "e.npz")["windows"]["pooling"] == window_pooling


def test_all_windows_of_a_long_track_are_estimated_and_written(world, tmp_path, capsys):
    (tmp_path / "long").mkdir()
    soundfile.write(tmp_path / "long" / "a.wav", np.random.default_rng(0).uniform(-1, 1, 50 * 8000), 8000)
    options = [f"--encoder={world[1][0]}", "--window_seconds=0.5", "--window_pooling=none"]
    assert main(["embed", str(tmp_path / "long"), *options, f"--out={tmp_path / 'e.npz'}"]) == 0
    assert "1 track, 50 s of audio, 100 windows" in capsys.readouterr().out
    with np.load(tmp_path / "e.npz") as content:
        assert content["start_seconds"].tolist() == [number / 2 for number in range(100)]
        assert len(content["embeddings"]) == 100
    assert "64" not in read_metadata(tmp_path / "e.npz")["windows"]["rule"]


def test_a_full_disk_is_an_error_before_embedding(world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ssc_toolkit.preflight.shutil.disk_usage", lambda _: Usage(10**9, 10**9, 1000))
    assert embed(world, tmp_path / "e.npz") == 2
    assert "out: expected" in capsys.readouterr().err
    assert not (tmp_path / "e.npz").exists()


@pytest.mark.slow
def test_a_dry_run_of_compare_writes_nothing(world, tmp_path, capsys):
    assert compare(world, tmp_path / "report", "--dry_run", "--methods=linear,knn,prototypes", "--repeats=2") == 0
    printed = capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    # Two encoders, a random encoder for each of two seeds, and two baselines of statistics.
    assert "estimate: 60 tracks, 72 s of audio, 6 models, 4 corruptions of 20 tracks; about" in printed
    assert "report 4 MB" in printed


@pytest.mark.slow
def test_the_timed_tracks_do_not_change_a_comparison(world, tmp_path, monkeypatch):
    records = []
    for name in ("timed", "plain"):
        assert compare(world, tmp_path / name) == 0
        records.append(json.loads((tmp_path / name / "report.json").read_text())["records"])
        monkeypatch.setattr(compare_module, "estimate_comparison", lambda *_, **__: Silent())
    assert records[0] == records[1]


class Silent:
    def report(self) -> None:
        """Print nothing."""
