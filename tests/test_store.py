"""The audio store: real files in, real kills, real processes, a real HTTP server."""

from __future__ import annotations

import csv
import functools
import http.server
import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssc_toolkit.data import (
    AudioStore,
    ContrastiveDataset,
    as_float,
    check_audio,
    encode_labels,
    load_tracks,
    prepare_store,
    read_audio,
    verify_store,
)
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import embed_tracks
from ssc_toolkit.samplers import BalancedBatchSampler, RandomSegments

RATE = 8000


def noise(path: Path, seconds: float = 2.0, rate: int = RATE, channels: int = 1, seed: int = 0, **kind: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels))
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(8) / 8, "same"), 0, samples)
    soundfile.write(path, smooth, rate, **kind)
    return path


@pytest.fixture
def music(tmp_path) -> Path:
    """Ten files of all formats, rates and channels."""
    folder = tmp_path / "music"
    for number in range(10):
        suffix = ("wav", "flac", "ogg", "mp3")[number % 4]
        rate = (8000, 16000, 44100)[number % 3]
        noise(folder / f"{number}.{suffix}", 1.0 + number / 4, rate, 1 + number % 2, seed=number)
    return folder


@pytest.fixture
def store(music, tmp_path) -> AudioStore:
    return AudioStore.prepare(load_tracks(music), tmp_path / "store", RATE, progress=False)


def test_a_store_holds_what_the_files_hold(store):
    assert len(store) == 10
    for row, path in enumerate(store.tracks["path"]):
        expected = read_audio(path, RATE)
        assert len(store[row]) == len(expected) == store.lengths[row]
        assert np.abs(store[row].numpy() - expected).max() <= 0.5 / 32768 + 1e-6
        assert store.tracks["seconds"][row] == pytest.approx(len(expected) / RATE)


def test_sixteen_bits_come_back_unchanged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    store = AudioStore.prepare(load_tracks(tmp_path), tmp_path / "store", RATE, progress=False)
    assert torch.equal(store[0] * 32768, torch.tensor(samples, dtype=torch.float32))


def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path, caplog):
    samples = np.full(4000, 0.5)
    samples[:7], samples[7:10] = 1.5, -1.5
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with caplog.at_level(logging.INFO):
        store = AudioStore.prepare(load_tracks(tmp_path), tmp_path / "store", RATE, progress=False)
    assert store.tracks["clipped"].tolist() == [10]
    assert "10 samples of 1 tracks were clipped" in caplog.text
    assert store[0][:7].tolist() == [32767 / 32768] * 7
    assert store[0][7:10].tolist() == [-1.0] * 3


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_segments_are_spans_of_tracks_and_zeros_beyond(tmp_path_factory, data):
    store = shared_store(tmp_path_factory.getbasetemp() / "shared")
    count = data.draw(st.integers(0, 6))
    length = data.draw(st.integers(1, 3 * RATE))
    rows = data.draw(st.lists(st.integers(0, len(store) - 1), min_size=count, max_size=count))
    starts = data.draw(st.lists(st.integers(0, 4 * RATE), min_size=count, max_size=count))
    segments = store.read(rows, starts, length)
    assert segments.shape == (count, length)
    for segment, row, start in zip(segments, rows, starts, strict=True):
        own = store[row][start : start + length]
        assert torch.equal(segment[: len(own)], own)
        assert (segment[len(own) :] == 0).all()


@functools.cache
def shared_store(folder: Path) -> AudioStore:
    for number in range(3):
        noise(folder / "music" / f"{number}.wav", 1.0 + number / 2, seed=number)
    return AudioStore.prepare(load_tracks(folder / "music"), folder / "store", RATE, progress=False)


def test_what_cannot_be_read_is_an_error(store):
    for rows, starts, length, kind in (
        ([99], [0], 10, IndexError),
        ([-1], [0], 10, IndexError),
        ([0], [-1], 10, ValueError),
        ([0], [0], 0, ValueError),
    ):
        with pytest.raises(kind, match="expected"):
            store.read(rows, starts, length)


def test_label_columns_are_kept_as_they_were(music, tmp_path):
    tracks = load_tracks(music)
    tracks["id"] = [f"00{row}" for row in range(10)]
    tracks["tags"] = ["a|b", "|", None, *["b"] * 7]
    tracks["tempo"] = [99.5, *[None] * 9]
    tracks["name"] = ["None", "NA", *["nan"] * 8]
    tracks.attrs["dataset"] = {"name": "mine", "labels": {"tags": {"kind": "multi-hot", "names": ["b", "a", "c"]}}}
    AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False)
    found = AudioStore(tmp_path / "store").tracks
    assert found["id"].tolist() == tracks["id"].tolist()
    assert found["name"].tolist() == tracks["name"].tolist()
    assert found["tempo"].tolist()[0] == 99.5
    assert found["tempo"].isna().sum() == 9
    labels = encode_labels(found, "tags")
    assert labels.names == ("b", "a", "c")
    assert labels.labeled.tolist() == [True, True, False, *[True] * 7]
    assert labels.values[:2].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_a_second_run_decodes_only_what_is_new(music, tmp_path, caplog):
    folder = tmp_path / "store"
    prepare_store(load_tracks(music), folder, RATE, progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}
    noise(music / "new.wav", seed=77)
    os.utime(music / "0.wav")  # touched, not changed
    noise(music / "4.wav", 3.0, seed=99)  # changed
    (music / "8.wav").unlink()  # gone, but its audio is in the store
    tracks = pd.concat([load_tracks(music), pd.DataFrame({"path": [str(music / "8.wav")]})], ignore_index=True)
    with caplog.at_level(logging.INFO):
        store = AudioStore.prepare(tracks, folder, RATE, progress=False)
    assert "2 of them were decoded now" in caplog.text
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in (folder / "shards").iterdir()}.items()
    assert len(store) == 11
    row = store.tracks["path"].tolist().index(str(music / "4.wav"))
    np.testing.assert_allclose(store[row], read_audio(music / "4.wav", RATE), atol=1e-4)
    assert not verify_store(folder, progress=False).damaged


def test_copies_of_a_file_are_tracks_of_their_own(tmp_path):
    noise(tmp_path / "music" / "a.wav")
    for number in range(6):
        (tmp_path / "music" / f"copy-{number}.wav").write_bytes((tmp_path / "music" / "a.wav").read_bytes())
    tracks = load_tracks(tmp_path / "music")
    store = AudioStore.prepare(tracks, tmp_path / "store", RATE, workers=4, progress=False)
    assert store.tracks["path"].tolist() == tracks["path"].tolist()


def test_shards_are_bounded(tmp_path):
    for number in range(5):
        noise(tmp_path / "music" / f"{number}.wav", 30.0, seed=number)  # 480 kB each
    noise(tmp_path / "music" / "long.wav", 90.0, seed=9)
    store = AudioStore.prepare(
        load_tracks(tmp_path / "music"), tmp_path / "store", RATE, workers=1, shard_megabytes=1, progress=False
    )
    sizes = sorted(path.stat().st_size for path in (tmp_path / "store" / "shards").glob("*.pcm"))
    assert len(sizes) == 4
    assert sizes[-1] == 90 * RATE * 2  # alone
    assert sizes[-2] <= 2**20
    parts = [store.part(rank, 3).tolist() for rank in range(3)]
    assert sorted(row for part in parts for row in part) == list(range(6))
    shards = json.loads((tmp_path / "store" / "store.json").read_text())["shards"]
    index = np.load(next((tmp_path / "store").glob("index-*.npy")))
    assert len(shards) == 4
    owners = [set(index["shard"][part]) for part in parts]
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


@pytest.mark.parametrize("delay", [0.0, 0.03])
def test_a_killed_run_goes_on_from_its_complete_shards(tmp_path, delay, caplog):
    for number in range(60):
        noise(tmp_path / "music" / f"{number}.flac", 20.0, 44100, 2, seed=number % 5)
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


def bad_files(folder: Path) -> None:
    for number in range(20):
        noise(folder / f"good-{number}.wav", seed=number)
    (folder / "broken.mp3").write_text("no audio")
    soundfile.write(folder / "empty.wav", np.zeros(0), RATE)
    soundfile.write(folder / "silent.flac", np.zeros(RATE), RATE)
    noise(folder / "short.ogg", 0.3)
    whole = noise(folder / "cut.flac", 3.0).read_bytes()
    (folder / "cut.flac").write_bytes(whole[: len(whole) // 2])


def test_bad_files_are_named_counted_reported_and_left_out(tmp_path, caplog):
    bad_files(tmp_path / "music")
    store = AudioStore.prepare(
        load_tracks(tmp_path / "music"), tmp_path / "store", RATE, minimum_seconds=1.0, most_skipped=0.2, progress=False
    )
    assert len(store) == 20
    assert "5 of 25 audio files cannot be used" in caplog.text
    with (tmp_path / "store" / "unusable.csv").open() as file:
        report = {Path(row["path"]).name: row["problem"] for row in csv.DictReader(file)}
    assert report.keys() == {"broken.mp3", "empty.wav", "silent.flac", "short.ogg", "cut.flac"}
    assert report["silent.flac"] == "is silent from beginning to end"
    assert report["short.ogg"] == "0.30 s long, at least 1.00 s needed"
    assert "holds no audio" in report["empty.wav"]
    assert (check_audio(store.tracks)["path"] == store.tracks["path"]).all()


def test_too_many_bad_files_stop_the_run_and_lose_nothing(tmp_path):
    bad_files(tmp_path / "music")
    tracks = load_tracks(tmp_path / "music")
    for options in ({"most_skipped": 0.05}, {"strict": True}):
        with pytest.raises(InputError, match=r"of 25 audio files cannot be used.*: .*unusable\.csv"):
            prepare_store(tracks, tmp_path / "store", RATE, progress=False, **options)
        assert (tmp_path / "store" / "unusable.csv").exists()
    for name in ("broken.mp3", "empty.wav", "silent.flac", "cut.flac"):
        noise(tmp_path / "music" / name, seed=5)
    prepare_store(tracks, tmp_path / "store", RATE, strict=True, progress=False)
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


def test_a_store_that_does_not_fit_is_refused(store, music, tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(InputError, match="is at 8000 Hz, 16000 Hz are needed"):
        AudioStore(folder, sample_rate=16000)
    with pytest.raises(InputError, match="store at 8000 Hz, not 16000"):
        prepare_store(load_tracks(music), folder, 16000)
    with pytest.raises(InputError, match="is at 8000 Hz, 22050"):
        ContrastiveDataset(store.tracks, sample_rate=22050, view_seconds=0.5)
    noise(tmp_path / "other" / "x.wav")
    with pytest.raises(InputError, match="store of other tracks"):
        prepare_store(load_tracks(tmp_path / "other"), folder, RATE, progress=False)
    with pytest.raises(InputError, match="holds something else"):
        prepare_store(load_tracks(music), tmp_path / "other", RATE)
    with pytest.raises(InputError, match="there is no store"):
        AudioStore(tmp_path / "nowhere")
    info = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(info | {"format": 99}))
    with pytest.raises(InputError, match="has format 99"):
        AudioStore(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        AudioStore(folder)


def test_damage_is_found_named_and_mended(store, music, tmp_path):
    folder = tmp_path / "store"
    shard = next((folder / "shards").glob("*.pcm"))
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    noise(music / "0.wav", 1.0, seed=123)
    (music / "5.flac").unlink()
    found = verify_store(folder, progress=False)
    assert found.damaged == [str(shard)]
    assert found.changed == [str(music / "0.wav")]
    assert found.gone == 1
    shard.write_bytes(content[:-4])  # shorter than it should be: seen without a verification
    cut_short = AudioStore(folder)
    with pytest.raises(InputError, match="instead of"):
        cut_short.read(range(10), [0] * 10, 100)
    noise(music / "5.flac", seed=4)
    prepare_store(load_tracks(music), folder, RATE, progress=False)
    mended = verify_store(folder, progress=False)
    assert (mended.damaged, mended.changed, mended.gone) == ([], [], 0)


def test_a_dataset_reads_the_same_views_from_a_store_as_from_files(store, music):
    from_store = ContrastiveDataset(store.tracks, RATE, 0.5, views=3, view_sampler=RandomSegments())
    files = check_audio(load_tracks(music), progress=False)
    from_files = ContrastiveDataset(files, RATE, 0.5, views=3, view_sampler=RandomSegments())
    # A header may round the length of a file up where a decoder does not.
    from_files.lengths = from_store.lengths
    one, other = (
        dataset.batch([3, 1, 4, 1, 5], torch.Generator().manual_seed(0)) for dataset in (from_store, from_files)
    )
    assert one["waveforms"].shape == (5, 3, 1, RATE // 2)
    torch.testing.assert_close(one["waveforms"], other["waveforms"], atol=1e-3, rtol=0)
    assert one["item"].tolist() == [3, 1, 4, 1, 5]
    explicit = ContrastiveDataset(files, RATE, 0.5, views=3, view_sampler=RandomSegments(), store=store)
    again = explicit.batch([3, 1, 4, 1, 5], torch.Generator().manual_seed(0))
    assert torch.equal(again["waveforms"], one["waveforms"])


def test_part_of_a_table_still_reads_from_the_store(store, music):
    part = store.tracks[store.tracks["seconds"] > 2].reset_index(drop=True)
    for path in music.iterdir():
        path.unlink()
    waveforms = ContrastiveDataset(part, RATE, 0.5)[0]["waveforms"]
    assert waveforms.abs().max() > 0.01

    class Level:
        sample_rate = RATE

        def __call__(self, waveforms):
            return waveforms.square().mean(dim=2)

    embedded = embed_tracks(Level(), part, 1.0, progress=False)
    expected = [float(store[int(store.rows_of([path])[0])][: 2 * RATE].square().mean()) for path in part["path"]]
    np.testing.assert_allclose(embedded[:3, 0], expected[:3], rtol=0.2)
    with pytest.raises(InputError, match="lacks 1 of 2 tracks, such as nothing"):
        store.rows_of([part["path"][0], "nothing.wav"])


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_of_a_loader_read_what_the_main_process_reads(store, context):
    dataset = ContrastiveDataset(store.tracks, RATE, 0.5)
    dataset.batch([0, 1])  # shards are open in the parent
    sampler = BalancedBatchSampler(torch.arange(10) % 2, classes_per_batch=2, items_per_class=2, steps=4)
    loader = DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    assert [batch["waveforms"].shape for batch in batches] == [(4, 2, 1, RATE // 2)] * 4
    for batch in batches:
        for item, views in zip(batch["item"], batch["waveforms"], strict=True):
            whole = store[int(item)].unfold(0, RATE // 2, 1)
            for view in views[:, 0]:
                assert (whole == view).all(dim=1).any()
    assert len(pickle.dumps(store)) < 1000


@pytest.fixture
def server(tmp_path):
    """Serves the folder over HTTP; its list of requests."""
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            if self.command == "GET":
                requests.append(self.path)

    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}", requests
        found.shutdown()


def test_a_store_elsewhere_is_copied_shard_by_shard_when_it_is_needed(tmp_path, server):
    for number in range(6):
        noise(tmp_path / "music" / f"{number}.wav", 40.0, seed=number)
    tracks = load_tracks(tmp_path / "music")
    local = AudioStore.prepare(tracks, tmp_path / "store", RATE, workers=1, shard_megabytes=1, progress=False)
    url, requests = server
    remote = AudioStore(f"{url}/store", cache=tmp_path / "cache")
    assert len(remote) == 6
    assert not [path for path in requests if ".pcm" in path]
    assert torch.equal(remote[0], local[0])
    assert len({path for path in requests if ".pcm" in path}) == 1
    remote.fetch(remote.part(1, 2), progress=False)
    fetched = {path for path in requests if ".pcm" in path}
    assert len(fetched) < len(list((tmp_path / "store" / "shards").glob("*.pcm")))
    before = len(requests)
    again = AudioStore(f"{url}/store", cache=tmp_path / "cache")
    assert torch.equal(again[0], local[0])
    assert all("store.json" in path for path in requests[before:])
    assert AudioStore(f"file://{tmp_path}/store", cache=tmp_path / "cache").tracks["path"].tolist() == [*tracks["path"]]


def test_a_store_elsewhere_that_is_not_whole_is_named(tmp_path, server):
    noise(tmp_path / "music" / "a.wav")
    prepare_store(load_tracks(tmp_path / "music"), tmp_path / "store", RATE, progress=False)
    shard = next((tmp_path / "store" / "shards").glob("*.pcm"))
    shard.write_bytes(shard.read_bytes()[:100])
    url, _ = server
    with pytest.raises(InputError, match="100 bytes instead of"):
        AudioStore(f"{url}/store", cache=tmp_path / "cache")[0]
    assert not list((tmp_path / "cache").rglob("*.pcm"))
    with pytest.raises(InputError, match=r"no store\.json"):
        AudioStore(f"{url}/nowhere", cache=tmp_path / "cache")
    with pytest.raises(InputError, match="cannot open"):
        AudioStore("nosuchprotocol://x/store", cache=tmp_path / "cache")


def test_an_interrupted_run_keeps_its_tracks(tmp_path, caplog):
    first = noise(tmp_path / "music" / "0.flac", 30.0, 44100, 2)
    for number in range(1, 150):
        shutil.copyfile(first, tmp_path / "music" / f"{number}.flac")
    command = [sys.executable, "-m", "ssc_toolkit.cli", "prepare", f"--tracks={tmp_path / 'music'}", "--workers=1"]
    run = subprocess.Popen([*command, f"--out={tmp_path / 'store'}"], stderr=subprocess.PIPE, text=True)
    three_tracks = 3 * 30 * 22050 * 2
    while not any(file.stat().st_size > three_tracks for file in (tmp_path / "store" / "shards").glob(".*")):
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "goes on from what is saved" in errors
    kept = sum(len(json.loads(file.read_text())["tracks"]) for file in (tmp_path / "store" / "shards").glob("*.json"))
    assert 0 < kept < 150
    with caplog.at_level(logging.INFO):
        prepare_store(load_tracks(tmp_path / "music"), tmp_path / "store", 22050, progress=False)
    assert f"{150 - kept} of them were decoded now" in caplog.text


@pytest.mark.parametrize("workers", [0, 2])
def test_sixteen_bits_are_the_same_waveforms(store, workers):
    halves, floats = (ContrastiveDataset(store.tracks, RATE, 0.5, dtype=kind) for kind in (torch.int16, torch.float32))
    sampler = BalancedBatchSampler(torch.arange(10) % 2, classes_per_batch=2, items_per_class=2, steps=3)
    loader = DataLoader(halves, sampler=sampler, batch_size=None, num_workers=workers)
    assert {batch["waveforms"].dtype for batch in loader} == {torch.int16}
    one, other = (dataset.batch([1, 2], torch.Generator().manual_seed(0))["waveforms"] for dataset in (halves, floats))
    assert torch.equal(as_float(one), other)
    assert torch.equal(as_float(other), other)
    with pytest.raises(ValueError, match="expected float32 where there is no store"):
        ContrastiveDataset(pd.DataFrame({"path": ["a"], "seconds": [1.0]}), RATE, 0.5, dtype=torch.int16)
    with pytest.raises(ValueError, match="expected float32 or int16"):
        store.read([0], [0], 10, torch.float64)


def test_a_dataset_in_another_process_does_not_take_one_track_for_another(store, music, tmp_path):
    dataset = ContrastiveDataset(store.tracks, RATE, 0.5)
    loader = DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    assert len(list(loader)) == 3
    backwards = load_tracks(music)[::-1].reset_index(drop=True)
    prepare_store(backwards, tmp_path / "store", RATE, progress=False)
    with pytest.raises(InputError, match="was prepared again since it was opened"):
        pickle.loads(pickle.dumps(dataset))
    assert dataset[0]["waveforms"].shape == (2, 1, RATE // 2)  # what was opened stays open


def test_every_file_of_a_store_is_verified(store, music, tmp_path):
    folder = tmp_path / "store"
    table, index = next(folder.glob("tracks-*.csv")), next(folder.glob("index-*.npy"))
    for file in (table, index):
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], None):
            file.unlink() if content is None else file.write_bytes(content)
            assert verify_store(folder, progress=False).damaged == [str(file)]
            with pytest.raises(InputError, match="is damaged"):
                len(AudioStore(folder).tracks)
        prepare_store(load_tracks(music), folder, RATE, progress=False)
        assert not verify_store(folder, progress=False).damaged


def test_a_store_without_its_first_file_is_made_whole_from_its_shards(store, music, tmp_path, caplog):
    folder = tmp_path / "store"
    for content in ("{", None):
        file = folder / "store.json"
        file.unlink() if content is None else file.write_text(content)
        with caplog.at_level(logging.INFO):
            caplog.clear()
            prepare_store(load_tracks(music), folder, RATE, progress=False)
        assert "0 of them were decoded now" in caplog.text
    file.unlink()
    prepare_store(load_tracks(music), folder, 2 * RATE, progress=False)  # shards at another rate are not taken
    found = AudioStore(folder, 2 * RATE)
    assert len(found[0]) == len(read_audio(found.tracks["path"][0], 2 * RATE))


def test_tracks_that_damage_would_cost_are_counted(store, music, tmp_path):
    for shard in (tmp_path / "store" / "shards").glob("*.pcm"):
        content = bytearray(shard.read_bytes())
        content[10] ^= 1
        shard.write_bytes(content)
    for name in ("0.wav", "4.wav", "8.wav"):
        (music / name).unlink()
    assert verify_store(tmp_path / "store", progress=False).lost == 3


def test_a_store_named_by_a_relative_path_stays_where_it_is(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = ContrastiveDataset(load_tracks("store"), RATE, 0.5)
    monkeypatch.chdir("/")
    assert dataset[0]["waveforms"].abs().max() > 0
    assert ContrastiveDataset(dataset.store.tracks, RATE, 0.5)[0]["waveforms"].abs().max() > 0


def test_a_table_of_ones_own_needs_paths_alone(store, music):
    mine = pd.DataFrame({"path": [str(music / "1.flac"), str(music / "0.wav")]})
    dataset = ContrastiveDataset(mine, RATE, 0.5, store=store)
    assert dataset.lengths.tolist() == store.lengths[store.rows_of(mine["path"])].tolist()
    for index in (-1, 2):
        with pytest.raises(IndexError, match="expected 0 to 1"):
            dataset[index]
    with pytest.raises(ValueError, match="expected whole numbers"):
        store.read([0.5], [0], 10)
    with pytest.raises(ValueError, match="as many of each"):
        store.read([0, 1], [0], 10)


def test_a_place_elsewhere_is_refused_before_work(music):
    with pytest.raises(InputError, match="in a folder of this machine"):
        prepare_store(load_tracks(music), "file:///tmp/store", RATE)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_a_name_that_is_not_text_is_one_bad_file(music, tmp_path, caplog):
    (music / "0.wav").rename(music / os.fsdecode(b"latin\xe9.wav"))
    store = AudioStore.prepare(load_tracks(music), tmp_path / "store", RATE, progress=False, most_skipped=0.2)
    assert len(store) == 9
    assert "its name is not text in UTF-8; rename it" in (tmp_path / "store" / "unusable.csv").read_text()
