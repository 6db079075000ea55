"""Making a store: added files, kills, bounded shards, bad files."""

import csv
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from audio_files import RATE, write_noise

from ssc_toolkit.data import AudioStore, check_audio, load_tracks, prepare_store, read_audio, verify_store
from ssc_toolkit.errors import InputError


def test_a_second_run_decodes_only_what_is_new(music, tmp_path, caplog):
    folder = tmp_path / "store"
    prepare_store(load_tracks(music), folder, RATE, progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}
    write_noise(music / "new.wav", seed=77)
    os.utime(music / "0.wav")  # touched, not changed
    write_noise(music / "4.wav", 3.0, seed=99)  # changed
    (music / "8.wav").unlink()  # gone, but its audio is in the store
    tracks = pd.concat([load_tracks(music).frame, pd.DataFrame({"path": [str(music / "8.wav")]})], ignore_index=True)
    with caplog.at_level(logging.INFO):
        store = AudioStore.prepare(tracks, folder, RATE, progress=False)
    assert "2 of them were decoded now" in caplog.text
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}.items()
    assert len(store) == 11
    row = store.tracks["path"].tolist().index(str(music / "4.wav"))
    np.testing.assert_allclose(store[row], read_audio(music / "4.wav", RATE), atol=1e-4)
    assert not verify_store(folder, progress=False).damaged


def test_copies_of_a_file_are_separate_tracks(tmp_path):
    write_noise(tmp_path / "music" / "a.wav")
    for number in range(6):
        (tmp_path / "music" / f"copy-{number}.wav").write_bytes((tmp_path / "music" / "a.wav").read_bytes())
    tracks = load_tracks(tmp_path / "music")
    store = AudioStore.prepare(tracks, tmp_path / "store", RATE, threads=4, progress=False)
    assert store.tracks["path"].tolist() == tracks["path"].tolist()


def test_shards_are_bounded(tmp_path):
    for number in range(5):
        write_noise(tmp_path / "music" / f"{number}.wav", 30.0, seed=number)  # 480 kB each
    write_noise(tmp_path / "music" / "long.wav", 90.0, seed=9)
    store = AudioStore.prepare(
        load_tracks(tmp_path / "music"), tmp_path / "store", RATE, threads=1, shard_megabytes=1, progress=False
    )
    sizes = sorted(path.stat().st_size for path in (tmp_path / "store" / "shards").glob("*.pcm"))
    assert len(sizes) == 4
    assert sizes[-1] == 90 * RATE * 2  # alone
    assert sizes[-2] <= 2**20
    parts = [store.part(rank, 3).tolist() for rank in range(3)]
    assert sorted(row for part in parts for row in part) == list(range(6))
    shards = json.loads((tmp_path / "store" / "store.json").read_text())["shards"]
    index = pd.read_parquet(next((tmp_path / "store").glob("index-*")))
    assert len(shards) == 4
    owners = [set(index["shard"].to_numpy()[part]) for part in parts]
    assert sum(map(len, owners)) == 4  # no shard is needed by two processes


KILLED = """
import sys, threading, os, signal, time
from pathlib import Path
from ssc_toolkit.data import load_tracks, prepare_store
folder = Path(sys.argv[2])
def kill():
    while len(list((folder / "shards").glob("*.json"))) < 2:
        time.sleep(0.002)
    time.sleep(float(sys.argv[3]))
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
prepare_store(load_tracks(sys.argv[1]), folder, 22050, shard_megabytes=1, progress=False)
"""


@pytest.mark.parametrize("delay", [0.0, pytest.param(0.03, marks=pytest.mark.slow)])
def test_a_killed_prepare_resumes_from_complete_shards(tmp_path, delay, caplog):
    for number in range(60):
        write_noise(tmp_path / "music" / f"{number}.flac", 20.0, 44100, 2, seed=number % 5)
    folder = tmp_path / "store"
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "music"), str(folder), str(delay)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    complete = sorted((folder / "shards").glob("*.json"))
    assert complete
    with pytest.raises(InputError, match="is not finished"):
        AudioStore(folder)
    with caplog.at_level(logging.INFO):
        store = AudioStore.prepare(load_tracks(tmp_path / "music"), folder, 22050, progress=False)
    decoded = int(caplog.text.split("; ")[1].split(" ")[0])
    assert 0 < decoded < 60
    assert set(complete) <= set((folder / "shards").glob("*.json"))
    assert not list((folder / "shards").glob(".*"))
    assert len(store) == 60
    for row in (0, 31, 59):
        np.testing.assert_allclose(store[row], read_audio(store.tracks["path"][row], 22050), atol=1e-4)
    assert not verify_store(folder, progress=False).damaged


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_tracks(listening, tmp_path, caplog):
    first = write_noise(tmp_path / "music" / "0.flac", 30.0, 44100, 2)
    for number in range(1, 150):
        shutil.copyfile(first, tmp_path / "music" / f"{number}.flac")
    command = [sys.executable, "-m", "ssc_toolkit.cli", "prepare", f"--tracks={tmp_path / 'music'}", "--threads=1"]
    run = subprocess.Popen(
        [*command, f"--out={tmp_path / 'store'}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    three_tracks = 3 * 30 * 22050 * 2
    while not any(file.stat().st_size > three_tracks for file in (tmp_path / "store" / "shards").glob(".*")):
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "rerun the same command to resume" in errors
    kept = sum(len(json.loads(file.read_text())["tracks"]) for file in (tmp_path / "store" / "shards").glob("*.json"))
    assert 0 < kept < 150
    with caplog.at_level(logging.INFO):
        prepare_store(load_tracks(tmp_path / "music"), tmp_path / "store", 22050, progress=False)
    assert f"{150 - kept} of them were decoded now" in caplog.text


def bad_files(folder: Path) -> None:
    for number in range(20):
        write_noise(folder / f"good-{number}.wav", seed=number)
    (folder / "broken.mp3").write_text("no audio")
    soundfile.write(folder / "empty.wav", np.zeros(0), RATE)
    soundfile.write(folder / "silent.flac", np.zeros(RATE), RATE)
    write_noise(folder / "short.ogg", 0.3)
    whole = write_noise(folder / "cut.flac", 3.0).read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])


def test_bad_files_are_named_counted_reported_and_left_out(tmp_path, caplog):
    bad_files(tmp_path / "music")
    store = AudioStore.prepare(
        load_tracks(tmp_path / "music"), tmp_path / "store", RATE, min_seconds=1.0, max_unusable=0.2, progress=False
    )
    assert len(store) == 20
    assert "5 of 25 audio files cannot be used" in caplog.text
    with (tmp_path / "store" / "unusable.csv").open() as file:
        report = {Path(row["path"]).name: row["problem"] for row in csv.DictReader(file)}
    assert report.keys() == {"broken.mp3", "empty.wav", "silent.flac", "short.ogg", "cut.flac"}
    assert report["silent.flac"] == "is silent from beginning to end"
    assert report["short.ogg"] == "expected at least 1.00 s, got 0.30 s"
    assert "contains no audio" in report["empty.wav"]
    assert (check_audio(store.tracks)["path"] == store.tracks["path"]).all()


def test_too_many_bad_files_are_all_named_and_lose_nothing(tmp_path, caplog):
    bad_files(tmp_path / "music")
    tracks = load_tracks(tmp_path / "music")
    bad = ("broken.mp3", "empty.wav", "silent.flac", "cut.flac")
    for options in ({"max_unusable": 0.05}, {"strict": True}):
        with pytest.raises(InputError, match=r"^4 of 25 audio files cannot be used: .*unusable\.csv") as error:
            prepare_store(tracks, tmp_path / "store", RATE, threads=1, progress=False, **options)
        assert all(name in str(error.value) for name in bad)
        assert len((tmp_path / "store" / "unusable.csv").read_text().splitlines()) == 5
    for name in ("broken.mp3", "empty.wav", "silent.flac", "cut.flac"):
        write_noise(tmp_path / "music" / name, seed=5)
    with caplog.at_level(logging.INFO):
        prepare_store(tracks, tmp_path / "store", RATE, strict=True, progress=False)
    assert "4 of them were decoded now" in caplog.text
    assert len(AudioStore(tmp_path / "store")) == 25
    assert not (tmp_path / "store" / "unusable.csv").exists()


def test_check_audio_reports_and_may_be_strict(tmp_path, caplog):
    bad_files(tmp_path / "music")
    tracks = load_tracks(tmp_path / "music")
    kept = check_audio(tracks, 1.0, 0.2, progress=False, report=tmp_path / "report.csv")
    assert len(kept) == 20
    assert len((tmp_path / "report.csv").read_text().splitlines()) == 6
    with pytest.raises(InputError, match="strict allows none"):
        check_audio(tracks, 1.0, 1.0, progress=False, strict=True)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_name_that_is_not_utf8_is_one_bad_file(music, tmp_path, caplog):
    (music / "0.wav").rename(music / os.fsdecode(b"latin\xe9.wav"))
    store = AudioStore.prepare(load_tracks(music), tmp_path / "store", RATE, progress=False, max_unusable=0.2)
    assert len(store) == 9
    assert "its name is not text in UTF-8; rename it" in (tmp_path / "store" / "unusable.csv").read_text()


def test_prepare_refuses_a_url_before_work(music):
    with pytest.raises(InputError, match="expected a local folder, got"):
        prepare_store(load_tracks(music), "file:///tmp/store", RATE)
