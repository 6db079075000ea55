"""Pretraining on a user's own files, in real processes that are really killed."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ssc_toolkit.augmentations import Gain
from ssc_toolkit.data import ContrastiveDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.losses import NTXentLoss
from ssc_toolkit.training import SemiSupConDataModule, SemiSupConModule, pretrain
from ssc_toolkit.training.module import warmup_cosine

FORMATS = {"wav": ("WAV", "PCM_16"), "flac": ("FLAC", "PCM_24"), "mp3": ("MP3", "MPEG_LAYER_III")}
SMALL = {"view_seconds": 0.5, "batch_size": 6, "steps": 8, "checkpoint_every": 2}


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    """A folder of tones in three formats at two rates, and a table with partly known labels."""
    folder = tmp_path_factory.mktemp("music")
    rows = []
    random = np.random.default_rng(0)
    for number in range(24):
        suffix = list(FORMATS)[number % 3]
        rate = (16000, 44100)[number % 2]
        hertz = (220.0, 330.0, 440.0)[number // 8]
        time_axis = np.arange(int(1.5 * rate)) / rate
        samples = 0.4 * np.sin(2 * np.pi * hertz * time_axis) + 0.02 * random.normal(size=len(time_axis))
        container, subtype = FORMATS[suffix]
        soundfile.write(folder / f"{number:02d}.{suffix}", samples, rate, format=container, subtype=subtype)
        note = ("A3", "E4", "A4")[number // 8] if number % 2 else ""
        rows.append(
            [
                f"{number:02d}.{suffix}",
                note,
                f"{note}|tone" if note else "",
                ("train", "train", "train", "valid")[number % 4],
            ]
        )
    with (folder / "my.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "note", "tags", "split"], *rows])
    return folder


def history(folder: Path) -> list[dict[str, str]]:
    """Rows of a run, without the one column that tells of the machine."""
    with (folder / "history.csv").open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name != "clips_per_second"} for row in csv.DictReader(file)
        ]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"labels": "note"},
        {"labels": "note", "labeled_fraction": 1.0},
        {"labels": "tags", "label_budget": 0.5, "minimum_shared": 2},
        {"monitor": "note", "views": 3, "omit": ("pitch_shift",), "severity": 0.5},
    ],
    ids=["self-supervised", "semi-supervised", "supervised", "tags", "three views"],
)
def test_pretraining_on_own_files(music, tmp_path, arguments):
    encoder_folder = pretrain(str(music / "my.csv"), str(tmp_path / "run"), **SMALL, **arguments)
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    if "labels" in arguments or "monitor" in arguments:
        assert 0 <= float(rows[-1]["neighbor_agreement"]) <= 1
    encoder = load_encoder(encoder_folder)
    assert encoder(torch.zeros(1, 16000)).shape == (1, 256)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["batch_size"] == 6


def test_training_lowers_the_loss(music, tmp_path):
    pretrain(str(music / "my.csv"), str(tmp_path), labels="note", view_seconds=0.5, batch_size=12, steps=40)
    losses = [float(row["loss"]) for row in history(tmp_path)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3


def command(music: Path, out: Path, *extra: str) -> list[str]:
    options = [f"--{name}={value}" for name, value in SMALL.items() if name != "steps"]
    return [
        *(sys.executable, "-m", "ssc_toolkit.cli", "pretrain", f"--tracks={music / 'my.csv'}", f"--out={out}"),
        *("--labels=note", "--steps=30", *options, *extra),
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_to_the_same_losses(music, tmp_path, workers):
    subprocess.run(command(music, tmp_path / "whole"), check=True, capture_output=True)
    process = subprocess.Popen(
        command(music, tmp_path / "killed", f"--workers={workers}"),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    checkpoint = tmp_path / "killed" / "last.ckpt"
    while not checkpoint.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "encoder").exists()
    done = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < done < 30
    subprocess.run(command(music, tmp_path / "killed", f"--workers={workers}"), check=True, capture_output=True)
    assert history(tmp_path / "killed") == history(tmp_path / "whole")
    first, second = (load_encoder(tmp_path / name / "encoder").state_dict() for name in ("whole", "killed"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_run_says_so_and_exits_with_130(music, tmp_path):
    process = subprocess.Popen(
        command(music, tmp_path, "--steps=3000"),
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; the same command goes on from what is saved" in errors
    assert "Traceback" not in errors


def test_a_loss_that_is_no_number_stops_the_run(music, tmp_path):
    with pytest.raises(InputError, match=r"loss is .* at step .*learning_rate"):
        pretrain(str(music / "my.csv"), str(tmp_path), **SMALL, learning_rate=1e30)
    assert not (tmp_path / "encoder").exists()


def test_two_runs_do_not_share_a_folder(music, tmp_path):
    first = subprocess.Popen(command(music, tmp_path, "--steps=3000"), stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "last.ckpt").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        second = subprocess.run(
            command(music, tmp_path, "--steps=3000"), capture_output=True, text=True, check=False, timeout=120
        )
        assert second.returncode == 2
        assert "another process is at work" in second.stderr
    finally:
        first.kill()
        first.wait()


def test_more_shared_labels_than_anybody_has_are_refused(music, tmp_path):
    with pytest.raises(InputError, match="minimum_shared: no track has more than"):
        pretrain(str(music / "my.csv"), str(tmp_path), **SMALL, labels="tags", minimum_shared=50)


def test_folders_of_others_are_left_alone(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), **SMALL}
    (tmp_path / "foreign" / "encoder").mkdir(parents=True)
    with pytest.raises(InputError, match=r"holds encoder without settings.json"):
        pretrain(out=str(tmp_path / "foreign"), **arguments)
    pretrain(out=str(tmp_path / "mine"), **arguments)
    assert (tmp_path / "mine" / "encoder" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    (tmp_path / "mine" / "settings.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        pretrain(out=str(tmp_path / "mine"), **arguments)
    # A run that left nothing to go on from holds nobody up.
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "settings.json").write_text('{"steps": 7}')
    pretrain(out=str(tmp_path / "early"), **arguments)


def test_a_finished_run_is_left_alone(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path), **SMALL}
    folder = pretrain(**arguments)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert pretrain(**arguments) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_run_with_other_settings_or_data_is_refused(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path), **SMALL}
    pretrain(**arguments)
    with pytest.raises(InputError, match=r"temperature was 0\.1, is 0\.2"):
        pretrain(**arguments, temperature=0.2)
    with pytest.raises(InputError, match="tracks or their labels have changed"):
        pretrain(**arguments | {"tracks": str(music)}, root=None)


def test_a_checkpoint_of_another_model_is_refused(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path), **SMALL}
    pretrain(**arguments)
    encoder = tmp_path / "encoder"
    encoder.rename(tmp_path / "elsewhere")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.projector.0.weight"] = torch.zeros(3, 3)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="checkpoint of another model"):
        pretrain(**arguments)
    (tmp_path / "last.ckpt").write_bytes(b"half a checkp")
    with pytest.raises(InputError, match="no checkpoint of this library"):
        pretrain(**arguments)
    assert not encoder.exists()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-code-ran",)


def test_a_hostile_checkpoint_does_not_run(music, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path / "run"), **SMALL}
    pretrain(**arguments)
    (tmp_path / "run" / "encoder").rename(tmp_path / "elsewhere")
    torch.save({"state_dict": Hostile()}, tmp_path / "run" / "last.ckpt")
    with pytest.raises(InputError, match="no checkpoint"):
        pretrain(**arguments)
    assert not (tmp_path / "hostile-code-ran").exists()


def small_module(**options) -> SemiSupConModule:
    torch.manual_seed(0)
    return SemiSupConModule(ContrastiveModel(MelCNN()), **options)


def test_the_module_takes_any_loss_and_augmentation(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    batch = torch.utils.data.default_collate(ContrastiveDataset(tracks, 16000, 0.5).__getitems__([0, 1, 2]))
    module = small_module(loss=lambda z, labels, labeled: NTXentLoss()(z), augment=Gain((-6, 0)))
    one, two, other = (module.contrast(batch, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one == two != other
    with pytest.raises(ValueError, match="learning_rate"):
        small_module(learning_rate=0)
    with pytest.raises(ValueError, match="warmup"):
        small_module(warmup=2)


def test_the_data_module_uses_no_more_labels_than_the_budget(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = encode_labels(tracks, "note")
    data = SemiSupConDataModule(
        ContrastiveDataset(tracks, 16000, 0.5, labels=labels), batch_size=8, label_budget=0.25, seed=1
    )
    loader = iter(data.train_dataloader())
    seen = {}
    for _ in range(20):
        batch = next(loader)
        seen |= dict(
            zip(batch["item"][batch["labeled"]].tolist(), batch["labels"][batch["labeled"]].tolist(), strict=True)
        )
    assert len(seen) == 3
    assert set(seen.values()) == {0, 1, 2}
    with pytest.raises(ValueError, match="labeled_fraction"):
        SemiSupConDataModule(ContrastiveDataset(tracks, 16000, 0.5, labels=labels), labeled_fraction=2)


def test_the_learning_rate_rises_and_falls():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(100)]
    assert factors[0] < 0.2
    assert max(factors) == pytest.approx(1, abs=0.02)
    assert factors[:10] == sorted(factors[:10])
    assert factors[11:] == sorted(factors[11:], reverse=True)
    assert factors[-1] < 0.01
    assert warmup_cosine(0, 1, 0.0) == 1
