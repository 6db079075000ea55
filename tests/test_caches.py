"""Files that evaluation reads back: damage, foreign content, full disks, closed streams."""

from __future__ import annotations

import hashlib
import io
import logging
import multiprocessing
import os
import resource
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from audio_files import write_noise
from folders import each_flip, flip
from pyarrow import parquet

from ssc_toolkit import caches
from ssc_toolkit.augmentations import BackgroundNoise, Chain, Gain
from ssc_toolkit.caches import clean_caches, list_caches, read_entry, write_entry
from ssc_toolkit.commands.doctor import doctor
from ssc_toolkit.data import TrackTable
from ssc_toolkit.data.store import remote
from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import FixedCorruption
from ssc_toolkit.evaluation.embedding.cache import EmbeddingCache
from ssc_toolkit.evaluation.embedding.files import read_metadata, write_embeddings
from ssc_toolkit.files import lock_folder
from ssc_toolkit.options import DoctorOptions

RATE = 16000


@pytest.fixture
def music(tmp_path):
    for number in range(3):
        write_noise(tmp_path / "music" / f"{number}.wav", 2.0, RATE, seed=number)
    return tmp_path / "music"


def entry(folder, name="a" * 32 + ".npy"):
    def write(path):
        with path.open("wb") as file:
            np.save(file, np.arange(600.0).reshape(3, 200))

    write_entry(folder / name, write)
    return folder / name


def archive(folder):
    def write(path):
        with path.open("wb") as file:
            np.savez(file, outputs=np.arange(300.0), rows=np.arange(300))

    write_entry(folder / f"{'b' * 32}.npz", write)
    return folder / f"{'b' * 32}.npz"


@pytest.mark.slow
@pytest.mark.parametrize("make", [entry, archive])
def test_a_flipped_byte_of_a_cache_is_named(make, tmp_path, caplog):
    path = make(tmp_path)
    assert read_entry(path, np.load) is not None
    for place in each_flip(path):
        caplog.clear()
        assert read_entry(path, np.load) is None, place
        assert str(path) in caplog.text
        assert "computed again" in caplog.text


@pytest.mark.slow
def test_a_flipped_byte_of_draws_is_named(tmp_path):
    path = tmp_path / "draws.pt"
    tracks = pd.DataFrame({"path": [f"/music/{number}.wav" for number in range(50)]})
    FixedCorruption.draw(Gain((-20, 0)), RATE, tracks).save(path)
    for _ in each_flip(path):
        with pytest.raises(InputError, match=r"draws: .*draws\.pt is damaged"):
            FixedCorruption.load(path)
    assert len(FixedCorruption.load(path).names) == 50


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e.npz", "e.parquet"])
def test_a_flipped_byte_of_embeddings_is_named(name, tmp_path):
    path = tmp_path / name
    write_embeddings(path, np.ones((30, 20)), {"paths": np.array(["a"] * 30)}, {"pooling": "mean"})
    for _ in each_flip(path):
        with pytest.raises(InputError, match=r"embeddings: .*e\.(npz|parquet) is damaged"):
            read_metadata(path)
    assert read_metadata(path) == {"pooling": "mean"}
    if name == "e.npz":
        assert np.load(path)["embeddings"].shape == (30, 20)
    else:
        assert np.stack(pd.read_parquet(path)["embeddings"]).shape == (30, 20)


def test_parquet_of_earlier_versions_is_read(tmp_path):
    text = b'{"pooling": "mean"}'
    kept = {"ssc_toolkit": text, "ssc_toolkit_checksum": hashlib.blake2b(text, digest_size=16).hexdigest()}
    parquet.write_table(pa.table({"embeddings": [[1.0]]}).replace_schema_metadata(kept), tmp_path / "e.parquet")
    assert read_metadata(tmp_path / "e.parquet") == {"pooling": "mean"}
    parquet.write_table(
        pa.table({"embeddings": [[1.0]]}).replace_schema_metadata(kept | {"ssc_toolkit": '{"pooling": "max"}'}),
        tmp_path / "e.parquet",
    )
    with pytest.raises(InputError, match="checksum of its metadata differs"):
        read_metadata(tmp_path / "e.parquet")


def test_draws_without_a_checksum_are_read(tmp_path):
    tracks = pd.DataFrame({"path": ["/music/a.wav"]})
    FixedCorruption.draw(Gain((-20, 0)), RATE, tracks).save(tmp_path / "new.pt")
    torch.save(torch.load(tmp_path / "new.pt", weights_only=True), tmp_path / "old.pt")
    assert FixedCorruption.load(tmp_path / "old.pt").names == FixedCorruption.load(tmp_path / "new.pt").names


@pytest.mark.parametrize("content", [b"", b"garbled" * 100, b"PK\x03\x04" + bytes(100)])
def test_garbled_draws_are_one_error(content, tmp_path):
    (tmp_path / "draws.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"draws: .*draws\.pt"):
        FixedCorruption.load(tmp_path / "draws.pt")


@pytest.mark.parametrize(
    "change",
    [{"names": ["a", "b"]}, {"names": 5}, {"names": [3]}, {"sample_rate": 0}, {"sample_rate": "x"}, {"transform": 7},
     {"draw": {}}, {"format": None}],
)  # fmt: skip
def test_draws_with_odd_content_are_one_error(change, tmp_path):
    FixedCorruption.draw(Gain((-20, 0)), RATE, pd.DataFrame({"path": ["/a.wav"]})).save(tmp_path / "d.pt")
    torch.save(torch.load(tmp_path / "d.pt", weights_only=True) | change, tmp_path / "d.pt")
    with pytest.raises(InputError, match=r"d\.pt"):
        FixedCorruption.load(tmp_path / "d.pt")
    torch.save([change], tmp_path / "d.pt")
    with pytest.raises(InputError, match=r"d\.pt"):
        FixedCorruption.load(tmp_path / "d.pt")


def test_draws_open_no_audio_file_unasked(music, tmp_path):
    chain = Chain([BackgroundNoise([str(music / "0.wav")], sample_rate=RATE)])
    FixedCorruption.draw(chain, RATE, pd.DataFrame({"path": ["/a.wav"]})).save(tmp_path / "d.pt")
    with pytest.raises(InputError, match="no audio files to open, got BackgroundNoise"):
        FixedCorruption.load(tmp_path / "d.pt")
    assert FixedCorruption.load(tmp_path / "d.pt", open_files=True).sample_rate == RATE


def test_a_cache_that_claims_terabytes_is_computed_again(tmp_path, caplog):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (93 << 40, 1)})
    path = tmp_path / f"{'c' * 32}.npy"
    path.write_bytes(header.getvalue())
    assert read_entry(path, np.load) is None
    assert str(path) in caplog.text


def test_a_full_cache_disk_is_told_once(tmp_path, caplog):
    def full(path):
        raise OSError(28, "No space left on device")

    for name in ("d" * 32, "e" * 32):
        write_entry(tmp_path / f"{name}.npy", full)
    assert caplog.text.count("No space left on device") == 1
    assert not list(tmp_path.iterdir())


def test_the_least_recently_used_entry_goes_first(tmp_path, monkeypatch):
    monkeypatch.setenv(caches.LIMIT_VARIABLE, "0.0000115")  # 11.5 kB: two entries of 5 kB
    (tmp_path / "mine.npy").write_bytes(bytes(20_000))
    paths = [entry(tmp_path, f"{letter * 32}.npy") for letter in "ab"]
    os.utime(paths[0], (1, 1))
    os.utime(paths[1], (2, 2))
    assert read_entry(paths[0], np.load) is not None
    newest = entry(tmp_path, f"{'c' * 32}.npy")
    assert paths[0].exists()
    assert newest.exists()
    assert not paths[1].exists()
    assert (tmp_path / "mine.npy").exists()
    monkeypatch.setenv(caches.LIMIT_VARIABLE, "much")
    with pytest.raises(InputError, match="SSC_TOOLKIT_CACHE_GB: expected a number"):
        entry(tmp_path)


def test_doctor_cleans_caches_and_nothing_else(tmp_path, monkeypatch, capsys):
    root, other = tmp_path / "root", tmp_path / "other"
    monkeypatch.setattr(caches, "find_cache_root", lambda: root)
    for folder in (root / "stores" / "s", root / "corpus-1", root / "mine", other):
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(bytes(1000))
    (root / "corpus-1" / "corpus.json").write_text("{}")
    (root / "corpus-1" / "link").symlink_to(other)
    (root / "stores" / "link").symlink_to(other)
    (root / ".a.json.12ab.tmp").write_text("left")
    assert len(list_caches()) == 2
    doctor(DoctorOptions(clean=True))
    said = capsys.readouterr().out
    assert "corpus-1" in said
    assert "freed 0.0 MB" in said
    assert (other / "file").exists()
    assert (root / "mine" / "file").exists()
    assert (root / "stores" / "link").is_symlink()
    assert not (root / "corpus-1").exists()
    assert not (root / "stores" / "s").exists()
    assert not (root / ".a.json.12ab.tmp").exists()
    assert clean_caches() == ([], [])


def test_doctor_knows_the_caches_of_outputs(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(caches, "find_cache_root", lambda: tmp_path / "root")
    for folder in ("report/cache", "demo/evaluation", "mine"):
        (tmp_path / folder).mkdir(parents=True)
        entry(tmp_path / folder)
        (tmp_path / folder / "precious.npy").write_text("mine")
    folders = tuple(str(tmp_path / name) for name in ("report", "demo", "mine"))
    doctor(DoctorOptions(folders=folders))
    said = capsys.readouterr().out
    assert all(str(tmp_path / name) in said for name in ("report/cache", "demo/evaluation", "mine"))
    with lock_folder(tmp_path / "report", "out"):  # a comparison is at work
        doctor(DoctorOptions(clean=True, folders=folders))
    assert f"kept {tmp_path / 'report/cache'}" in capsys.readouterr().out
    assert len(list(tmp_path.rglob("*.np[yz]"))) == 3 + 1
    doctor(DoctorOptions(clean=True, folders=folders))
    assert {path.name for path in tmp_path.rglob("*.npy")} == {"precious.npy"}
    with pytest.raises(InputError, match="folders: there is no folder"):
        doctor(DoctorOptions(folders=("nowhere",)))


def copy_slowly(root, url, begun, go_on):
    caches.find_cache_root = remote.find_cache_root = lambda: root
    files = remote.MirroredFiles(url)

    def check(path):
        begun.set()
        assert go_on.wait(60)

    print(files.local("shards/a.pcm", check))


def test_doctor_leaves_a_store_that_is_being_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "find_cache_root", lambda: tmp_path / "root")
    (tmp_path / "store" / "shards").mkdir(parents=True)
    (tmp_path / "store" / "shards" / "a.pcm").write_bytes(bytes(1000))
    context = multiprocessing.get_context("fork")
    begun, go_on = context.Event(), context.Event()
    url = f"file://{tmp_path / 'store'}"
    process = context.Process(target=copy_slowly, args=(tmp_path / "root", url, begun, go_on))
    process.start()
    try:
        assert begun.wait(60)
        removed, (busy,) = clean_caches()
        assert removed == []
        assert busy.parent == tmp_path / "root" / "stores"
    finally:
        go_on.set()
        process.join()
    assert process.exitcode == 0
    assert (busy / "shards" / "a.pcm").read_bytes() == bytes(1000)
    assert [place.path for place in clean_caches()[0]] == [busy]
    assert list((tmp_path / "root" / "stores").iterdir()) == []


def test_doctor_removes_what_a_killed_doctor_left(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "find_cache_root", lambda: tmp_path)
    (tmp_path / "stores" / f".abc.{'1' * 16}.tmp" / "shards").mkdir(parents=True)
    assert [place.holds for place in clean_caches()[0]] == ["temporary"]
    assert list((tmp_path / "stores").iterdir()) == []


def command(music, tmp_path, *options, limit=None, **streams):
    MelCNN().save_pretrained(tmp_path / "encoder")
    return subprocess.run(
        [sys.executable, "-m", "ssc_toolkit.cli", "embed", f"--encoder={tmp_path / 'encoder'}", f"--tracks={music}",
         f"--out={tmp_path / 'e.npz'}", "--window_seconds=1", *options],
        text=True, check=False,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
        **({"capture_output": True} | streams),
    )  # fmt: skip


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_status_2(music, tmp_path):
    result = command(music, tmp_path, limit=300)
    assert result.returncode == 2, result
    assert f"cannot write {tmp_path / 'e.npz'}" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "e.npz").exists()
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.slow
def test_closed_and_full_streams_do_not_end_the_work(music, tmp_path):
    shell = f"exec {sys.executable} -m ssc_toolkit.cli embed --encoder={tmp_path}/encoder --tracks={music}"
    shell += f" --window_seconds=1 --out={tmp_path}/"
    MelCNN().save_pretrained(tmp_path / "encoder")
    cases = {
        "a.npz": ("2>&-", 0),
        "b.npz": (">&- 2>&- <&-", 0),
        "c.npz": ("2>/dev/full", 0),
        "d.npz": (">/dev/full", 2),
    }
    for name, (streams, status) in cases.items():
        result = subprocess.run(f"{shell}{name} {streams}", shell=True, capture_output=True, text=True, check=False)
        assert result.returncode == status, (name, result)
        assert len(np.load(tmp_path / name)["embeddings"]) == 3
    assert "cannot write to the standard output (No space left on device)" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_embedding_cache_recomputes_what_is_damaged(music, tmp_path, caplog):
    tracks = TrackTable(pd.DataFrame({"path": sorted(map(str, music.iterdir()))}))
    model = MelCNN()
    cache = EmbeddingCache(tmp_path / "cache", tracks, "mean", None)
    cache.put(model, 1.0, np.ones((3, 4)))
    (file,) = (tmp_path / "cache").iterdir()
    assert cache.get(model, 1.0) is not None
    flip(file, 200)
    with caplog.at_level(logging.WARNING):
        assert cache.get(model, 1.0) is None
    assert str(file) in caplog.text
