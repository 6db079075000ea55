"""The evaluation commands say which test tracks are in the training sets of probes or in the pretraining music."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from audio_files import write_audio
from command_calls import call
from melodies import MELODY_RATE, melody, write_versions

from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.evaluation.leaks import TRAINING_TRACKS, record_tracks, save_record


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    """A run whose training had a.wav, and a table whose test set has an MP3 of it and a copy of a training track."""
    folder = tmp_path_factory.mktemp("leaks")
    rows = []
    for number in range(12):
        write_audio(folder / f"{number:02d}.wav", melody(number, 2.0), MELODY_RATE)
        split = ("train", "train", "valid", "test")[number % 4]
        rows.append([f"{number:02d}.wav", split, ("x", "y")[number // 4 % 2], f"artist {number % 11}"])
    shutil.copy(folder / "00.wav", folder / "copy.wav")
    rows += [["copy.wav", "test", "y", "artist 30"], ["versions/compressed.mp3", "test", "x", None]]
    write_versions(folder / "versions", melody(100, 2.0))
    write_audio(folder / "pretraining" / "a.wav", melody(100, 2.0), MELODY_RATE)
    write_audio(folder / "pretraining" / "b.wav", melody(101, 2.0), MELODY_RATE)
    pd.DataFrame(rows, columns=["path", "split", "label", "artist"]).to_csv(folder / "my.csv", index=False)
    for run in ("run", "old"):
        MelCNN(n_mels=32).save_pretrained(folder / run / "encoder")
    save_record(record_tracks(folder / "pretraining", progress=False), folder / "run" / TRAINING_TRACKS)
    return folder


COMMANDS = {
    "probe": ["--methods=prototypes"],
    "robustness": ["--methods=prototypes", "--corruptions=gain", "--severities=1"],
    "retrieval": ["--split=test"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_leaks_are_in_terminal_and_report(scene, tmp_path, command):
    options = [f"--tracks={scene / 'my.csv'}", "--labels=label", "--window_seconds=0.5", f"--out={tmp_path / 'out'}"]
    code, out, errors = call(command, f"--encoder={scene / 'run' / 'encoder'}", *options, *COMMANDS[command])
    assert code == 0, errors
    (line,) = [line for line in out.splitlines() if line.startswith("Leaks of")]
    assert "1 of 5 are near-duplicates of tracks in the pretraining music (versions/compressed.mp3 and a.wav" in line
    content = json.loads((tmp_path / "out" / "report.json").read_text())["leaks"]
    found = {(leak["source"], leak["kind"]): leak["tracks"] for leak in content["found"]}
    assert found["pretraining music", "near-duplicate"] == 1
    if command == "retrieval":
        assert set(found) == {("pretraining music", "near-duplicate")}
        assert "none found in the ranked tracks" in line
    else:
        assert found["training set of the probes", "same file"] == 1
        assert "1 of 5 are also in the training set of the probes (copy.wav is 00.wav)" in line
        assert found["training set of the probes", "same artist"] == 1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h2" in page
    assert "Leaks" in page
    assert "compressed.mp3" in (tmp_path / "out" / "report.md").read_text()


def test_compare_names_the_encoder_of_each_leak(scene, tmp_path):
    encoders = f"--encoders={scene / 'run' / 'encoder'},{scene / 'old' / 'encoder'}"
    options = [f"--tracks={scene / 'my.csv'}", "--labels=label", "--window_seconds=0.5", "--methods=prototypes"]
    code, out, errors = call(
        "compare", encoders, *options, "--audio_clips=0", f"--out={tmp_path / 'out'}", "--names=new,old"
    )
    assert code == 0, errors
    (line,) = [line for line in out.splitlines() if line.startswith("Leaks of")]
    assert "1 of 5 are near-duplicates of tracks in the pretraining music of new" in line
    assert "unknown for the pretraining music of old" in line
    content = json.loads((tmp_path / "out" / "report.json").read_text())["leaks"]
    assert content["unknown"] == ["pretraining music of old"]


def test_a_clean_collection_says_so(scene, tmp_path):
    table = pd.read_csv(scene / "my.csv")[:11].drop(columns="artist")
    table["path"] = [str(scene / path) for path in table["path"]]
    table.to_csv(tmp_path / "t.csv", index=False)
    options = [f"--tracks={tmp_path / 't.csv'}", "--labels=label", "--window_seconds=0.5", "--methods=prototypes"]
    code, out, errors = call("probe", f"--encoder={scene / 'run' / 'encoder'}", *options)
    assert code == 0, errors
    assert "Leaks of test tracks: none found in the training set of the probes and the pretraining music." in out


def test_a_damaged_record_stops_before_audio_is_read(scene, tmp_path, monkeypatch):
    shutil.copytree(scene / "run", tmp_path / "run")
    with (tmp_path / "run" / TRAINING_TRACKS).open("r+b") as file:
        file.truncate(1000)
    monkeypatch.setattr("ssc_toolkit.commands.inputs.check_audio", None)
    options = [f"--tracks={scene / 'my.csv'}", "--labels=label"]
    code, _, errors = call("probe", f"--encoder={tmp_path / 'run' / 'encoder'}", *options)
    assert code == 2
    assert TRAINING_TRACKS in errors


@pytest.mark.parametrize("groups", ["apart", "together"])
def test_cross_validation_compares_tracks_of_other_groups(scene, tmp_path, groups):
    names = [*(f"{number:02d}.wav" for number in range(12)), "copy.wav"]
    table = pd.DataFrame({"path": [str(scene / name) for name in names], "label": [*list("xy" * 6), "x"]})
    table["take"] = [*map(str, range(12)), "0" if groups == "together" else "12"]
    table.to_csv(tmp_path / "t.csv", index=False)
    options = [f"--tracks={tmp_path / 't.csv'}", "--labels=label", "--window_seconds=0.5", "--methods=prototypes"]
    encoder = f"--encoder={scene / 'old' / 'encoder'}"
    code, _out, errors = call("probe", encoder, *options, "--folds=3", "--group_by=take", f"--out={tmp_path / 'out'}")
    assert code == 0, errors
    found = json.loads((tmp_path / "out" / "report.json").read_text())["leaks"]["found"]
    same = [leak for leak in found if leak["kind"] == "same file"]
    if groups == "together":
        assert same == []
    else:
        assert [(leak["source"], leak["tracks"]) for leak in same] == [("other groups of the cross-validation", 2)]
