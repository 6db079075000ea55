"""The command that probes the frames of an encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from annotated_music import write_annotated_music
from command_calls import call

from ssc_toolkit.encoders import MelCNN


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    folder = write_annotated_music(tmp_path_factory.mktemp("frames"))
    MelCNN(n_mels=64).save_pretrained(folder / "encoder")
    return folder


def test_a_single_layer_is_scored(scene):
    options = [f"--encoder={scene / 'encoder'}", f"--tracks={scene / 'tracks.csv'}", "--window_seconds=2"]
    beats = f"--annotations={scene / 'beats.csv'}"
    code, out, errors = call("frames", *options, "--task=beats", beats, "--layers=log_mel")
    assert code == 0, errors
    assert "beat F-measure" in out


def test_layers_of_encoder_and_random_encoder_are_scored(scene, tmp_path):
    code, out, errors = call(
        "frames", f"--encoder={scene / 'encoder'}", f"--tracks={scene / 'tracks.csv'}", "--task=chord_roots",
        f"--annotations={scene / 'chord_roots.csv'}", "--layers=log_mel,last", "--window_seconds=2",
        f"--out={tmp_path / 'out'}",
    )  # fmt: skip
    assert code == 0, errors
    assert "chord root accuracy" in out
    records = json.loads((tmp_path / "out" / "report.json").read_text())["records"]
    found = {(record["model"], record["method"]): record for record in records}
    assert set(found) == {
        (model, layer) for model in ("random encoder", "this encoder") for layer in ("log_mel", "temporal.5")
    }
    best = found["this encoder", "log_mel"]
    assert best["low"] <= best["value"] <= best["high"]
    assert best["value"] == found["random encoder", "log_mel"]["value"]  # its spectrogram has no weights
    assert best["value"] > 0.25


@pytest.mark.slow
def test_beats_of_a_corpus_are_derived_from_its_scores(scene, small_corpus, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_corpus.parent.parent))
    options = [f"--encoder={scene / 'encoder'}", f"--tracks={small_corpus / 'tracks.csv'}", "--layers=log_mel"]
    code, out, errors = call("frames", *options, "--task=beats", "--window_seconds=3")
    assert code == 0, errors
    assert "beat F-measure" in out
    assert (small_corpus / "beats.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task=melody"], "task: expected one of 'beats', 'chord_roots', got melody"),
        (["--task=beats"], "annotations: expected a CSV file with the beats of"),
        (["--task=beats", "--annotations=nowhere.csv"], "annotations: there is no file nowhere.csv"),
        (
            ["--task=beats", "--annotations=beats.csv", "--layers=conv9"],
            "layers: expected last, all or names of layers",
        ),
        (["--task=beats", "--annotations=chord_roots.csv"], "it has no column 'seconds'"),
        (["--task=beats", "--annotations=beats.csv"], "layers: expected frames of at most 0.07 s"),
        (["--task=beats", "--annotations=beats.csv", "--layers=all,last"], "layers: expected last, all or a list"),
    ],
)
def test_invalid_options_stop_before_audio_is_read(scene, monkeypatch, arguments, words):
    monkeypatch.chdir(scene)
    monkeypatch.setattr("ssc_toolkit.commands.inputs.check_audio", None)
    code, _, errors = call("frames", "--encoder=encoder", "--tracks=tracks.csv", *arguments)
    assert code == 2, errors
    assert words in errors
