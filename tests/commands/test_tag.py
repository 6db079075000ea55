"""Tables with the probabilities of the classes of a model."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import tone, write_audio, write_noise
from command_calls import call
from seeded import noise

from ssc_toolkit.audio import read_audio
from ssc_toolkit.data import AudioStore, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import MelCNN, MusiCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model, tag_tracks
from ssc_toolkit.evaluation.embedding.tagging import open_tagger

TEACHER = """
import os, time, torch

class Pitch(torch.nn.Module):
    classes = ["high", "low, or so"]
    sample_rate = 16000
    window_seconds = 1.0

    def forward(self, waveforms):
        with open("calls.txt", "a") as file:
            file.write(f"{len(waveforms)}\\n")
        time.sleep(float(os.environ.get("TEACHER_SECONDS", "0")))
        spectra = torch.fft.rfft(waveforms[:, 0]).abs().square()
        middle = round(spectra.shape[1] * 330 / 8000)
        high = spectra[:, middle:].sum(1) / spectra.sum(1)
        return torch.stack([high, 1 - high], dim=1)

class Logits(Pitch):
    def forward(self, waveforms):
        return super().forward(waveforms) * 10

class Narrow(Pitch):
    def forward(self, waveforms):
        return super().forward(waveforms)[:, :1]

class Broken(Pitch):
    def forward(self, waveforms):
        raise RuntimeError("no such layer")

class Twice(Pitch):
    classes = ["high", "high"]

class Nameless(Pitch):
    classes = None

class Path(Pitch):
    classes = ["Path", "low"]

class Piped(Pitch):
    classes = ["a|b", "low"]
"""


@pytest.fixture(autouse=True)
def teacher(tmp_path, monkeypatch) -> Path:
    """A folder to run commands in, with the module `teacher`."""
    (tmp_path / "teacher.py").write_text(TEACHER)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("teacher", None)


def tag(music: Path, *options: str, model: str = "teacher:Pitch"):
    return call("tag", f"--model={model}", "--allow_code", f"--tracks={music}", "--out=tagged.csv", *options)


def test_probabilities_follow_the_sound(music):
    result = tag(music / "my.csv", "--threshold=0.5", "--prefix=p ")
    assert result.returncode == 0, result.stderr
    assert "40 tracks with probabilities of 2 classes" in result.stdout
    before, table = load_tracks(music / "my.csv").frame, load_tracks("tagged.csv").frame
    assert list(table) == [*before, "p high", "p low, or so", "p tags"]
    pd.testing.assert_frame_equal(table[["path", "split", "hertz", "tags"]], before[["path", "split", "hertz", "tags"]])
    is_high = (table["pitch"] == "high").to_numpy()
    assert (table["p high"][is_high] > 0.8).all()
    assert (table["p high"][~is_high] < 0.2).all()
    assert np.allclose(table["p high"] + table["p low, or so"], 1, atol=2e-6)
    assert table["p tags"].tolist() == ["high" if high else "low, or so" for high in is_high]
    assert not Path(".tagged.csv.parts").exists()


def test_windows_of_a_long_track_are_averaged(tmp_path):
    for rate, channels in ((16000, 1), (44100, 2), (8000, 1)):
        sound = np.concatenate([tone(220, 3.0, rate), tone(880, 1.0, rate)])
        write_audio(tmp_path / "music" / f"{rate}.wav", np.stack([sound] * channels, axis=1), rate)
    assert tag(tmp_path / "music").returncode == 0
    table = load_tracks("tagged.csv")
    assert table["high"].tolist() == pytest.approx([0.25] * 3, abs=0.05)


def test_unusable_files_have_empty_cells(tmp_path, music):
    for name in ("a.wav", "b.wav", "c.wav"):
        write_noise(tmp_path / "music" / name, 1.0)
    (tmp_path / "music" / "b.wav").write_bytes(b"no audio")
    result = tag(tmp_path / "music", "--max_unusable=0.5", "--threshold=0.9999")
    assert result.returncode == 0, result.stderr
    assert "1 tracks that cannot be used have empty cells" in result.stdout
    table = load_tracks("tagged.csv")
    assert len(table) == 3
    assert table["high"].isna().tolist() == table["tags"].isna().tolist() == [False, True, False]
    labels = encode_labels(table, ["high", "low, or so"], kind="number")
    assert labels.labeled.tolist() == [True, False, True]
    assert tag(tmp_path / "music", "--overwrite").returncode == 2
    assert len(load_tracks("tagged.csv")) == 3


def test_tracks_without_tags_are_known_to_have_none(music):
    assert tag(music / "my.csv", "--threshold=1", "--prefix=t_").returncode == 0
    labels = encode_labels("tagged.csv", "t_tags", kind="multi-hot", names=["high", "low, or so"])
    assert labels.labeled.all()
    assert not labels.values.any()


def test_stores_are_tagged_and_take_the_table(music, tmp_path):
    AudioStore.prepare(load_tracks(music / "other.csv"), tmp_path / "store", 16000, progress=False)
    assert tag(tmp_path / "store", "--prefix=p ").returncode == 0
    again = call("prepare", "--tracks=tagged.csv", f"--out={tmp_path / 'store'}", "--sample_rate=16000")
    assert again.returncode == 0, again.stderr
    assert "p high" in load_tracks(tmp_path / "store")


def test_musicnn_is_the_mean_of_its_taggram(music):
    encoder = MusiCNN(tags=["piano", "drums", "voice"]).eval()
    tracks = check_audio(music / "my.csv", progress=False).select(range(3))
    found = tag_tracks(encoder, tracks, 0.5, progress=False)
    for path, row in zip(tracks["path"], found, strict=True):
        windows = torch.from_numpy(read_audio(path, 16000)).reshape(2, 1, 8000)
        with torch.no_grad():
            expected = encoder.taggram(windows).mean(dim=(0, 1))
        np.testing.assert_allclose(row, expected.numpy(), atol=1e-5)


def test_functions_need_classes_and_an_identity_to_resume(music, tmp_path):
    tracks = check_audio(music / "other.csv", progress=False)
    model = as_model(lambda waveforms: torch.full((len(waveforms), 1), 0.25), 16000)
    with pytest.raises(InputError, match="model: expected a model with probabilities of classes"):
        tag_tracks(model, tracks)
    model.classes = ["quarter"]
    assert (tag_tracks(model, tracks, progress=False) == 0.25).all()
    with pytest.raises(InputError, match="identity"):
        tag_tracks(model, tracks, cache=tmp_path / "cache", progress=False)
    model.identity = "a quarter"
    for _ in range(2):
        assert (tag_tracks(model, tracks, cache=tmp_path / "cache", progress=False) == 0.25).all()


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("teacher:Logits", [], "model: expected probabilities from 0 to 1"),
        ("teacher:Narrow", [], "model: expected probabilities (10, 2), one for each class, got (10, 1)"),
        ("teacher:Broken", [], "RuntimeError: no such layer"),
        ("teacher:Twice", [], "model: expected different names"),
        ("teacher:Nameless", [], "model: expected a model with probabilities of classes"),
        ("teacher:Path", [], "prefix: expected one with which no class has the name of another column, got 'Path'"),
        ("teacher:Pitch", ["--threshold=0.5"], "prefix: expected one with which no class has the name of another"),
        ("teacher:Piped", ["--threshold=0.5", "--prefix=p "], "threshold: expected none if the name of a class"),
        ("teacher:Missing", [], "model: expected teacher:Missing to return a model"),
        ("nowhere", [], "model: expected the folder of a saved encoder"),
        ("encoder", [], "model: expected a model with probabilities of classes"),
        ("teacher:Pitch", ["--threshold=0"], "threshold: expected"),
        ("teacher:Pitch", ["--window_seconds=-1"], "window_seconds: expected"),
        ("teacher:Pitch", ["--out=tagged.txt"], "out: expected a file name ending in .csv"),
        ("teacher:Pitch", ["--out=other.csv"], "out: other.csv exists"),
        ("teacher:Pitch", ["--max_unusable=2"], "max_unusable: expected"),
    ],
)
def test_errors_write_no_table(music, tmp_path, model, options, words):
    Path("other.csv").write_text("mine")
    if model == "encoder":
        MelCNN(n_mels=16).save_pretrained(tmp_path / "encoder")
    result = tag(music / "other.csv", *options, model=model)
    assert result.returncode == 2
    assert words in result.stderr.replace(f"{tmp_path}/", "")
    assert not Path("tagged.csv").exists()
    assert Path("other.csv").read_text() == "mine"


def test_code_is_run_only_if_it_is_allowed(music):
    Path("teacher.py").write_text("open('code-ran', 'w')\n" + TEACHER)
    options = [f"--tracks={music / 'other.csv'}", "--out=tagged.csv"]
    Path("a.yaml").write_text("model: teacher:Pitch\nallow_code: true\n")
    for model, words in (
        ("--model=teacher:Pitch", "model: expected --allow_code with teacher:Pitch"),
        ("--config=a.yaml", "allow_code: expected --allow_code on the command line"),
    ):
        result = call("tag", model, *options)
        assert result.returncode == 2
        assert words in result.stderr
        assert not Path("code-ran").exists()
        assert not Path("tagged.csv").exists()
    with pytest.raises(InputError, match="model: expected --allow_code with teacher:Pitch"):
        open_tagger("teacher:Pitch")
    assert not Path("code-ran").exists()


@pytest.mark.slow
def test_a_killed_command_resumes_without_lost_work(music):
    rows = pd.concat([load_tracks(music / "my.csv").frame.drop(columns="tags")] * 4)  # 160 tracks, 128 at once
    rows.to_csv("many.csv", index=False)
    command = [sys.executable, "-m", "ssc_toolkit.cli", "tag", "--model=teacher:Pitch", "--tracks=many.csv"]
    command += ["--out=tagged.csv", "--allow_code"]
    process = subprocess.Popen(command, env=os.environ | {"TEACHER_SECONDS": "0.5"}, stderr=subprocess.DEVNULL)
    parts, calls = Path(".tagged.csv.parts"), Path("calls.txt")
    while not (parts.is_dir() and list(parts.glob("*.npy")) and sum(map(int, calls.read_text().split())) > 128):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("tagged.csv").exists()
    calls.unlink()
    assert call(*command[3:]).returncode == 0
    assert sum(map(int, calls.read_text().split())) == 32
    table = load_tracks("tagged.csv")
    assert len(table) == 160
    assert table["high"].notna().all()
    assert not parts.exists()


@pytest.mark.slow
def test_tags_of_a_teacher_train_an_encoder(music, tmp_path):
    assert tag(music / "other.csv", "--threshold=0.5", "--prefix=t_").returncode == 0
    result = call(
        "pretrain", "--tracks=tagged.csv", "--labels=t_tags", "--out=run", "--steps=2", "--batch_size=4",
        "--view_seconds=0.5", "--encoder.n_mels=16", "--encoder.channels=4", "--encoder.embedding_dim=8",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "encoder" / "model.safetensors").is_file()


def test_probabilities_do_not_depend_on_other_tracks():
    encoder = MusiCNN(tags=["piano", "drums"]).eval()
    waveforms = noise(2, 1, 48000, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(encoder.taggram(waveforms)[:1], encoder.taggram(waveforms[:1]))
