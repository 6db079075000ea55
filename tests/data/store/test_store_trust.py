"""Stores of somebody else: names stay inside, content is checked, nonsense is one clear error."""

import functools
import http.server
import subprocess
import sys
import threading

import fsspec
import pandas as pd
import pytest
import torch
from audio_files import RATE, write_noise
from folders import each_flip

from ssc_toolkit.cli import main
from ssc_toolkit.data import AudioStore, load_tracks, prepare_store, verify_store
from ssc_toolkit.data.store.parquet import to_arrow, write_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json, write_checked_json


@pytest.fixture
def made(tmp_path):
    """The folder of a small store."""
    for number in range(3):
        write_noise(tmp_path / "music" / f"{number}.wav", 0.5, seed=number)
    prepare_store(load_tracks(tmp_path / "music"), tmp_path / "made", RATE, progress=False, threads=1)
    return tmp_path / "made"


def upload(folder, name):
    """Copy a store to a file system in memory; its URL."""
    memory = fsspec.filesystem("memory")
    for file in folder.rglob("*"):
        if file.is_file():
            memory.pipe(f"/{name}/{file.relative_to(folder)}", file.read_bytes())
    return f"memory://{name}"


def rewrite(folder, **changes):
    content = read_checked_json(folder / "store.json", "store", "")
    write_checked_json(folder / "store.json", content | changes)


def rename(folder, kind, frame):
    name, checksum = write_table(folder, kind, to_arrow(frame))
    rewrite(folder, **{kind: name, f"{kind}_checksum": checksum})


NAMES = ["/tmp/out-of-the-cache", "../../up", "a/b", "..", 3, None, ["x"], {"a": 1}, "x\0y", "x" * 300]


@pytest.mark.parametrize("key", ["index", "table", "shards"])
@pytest.mark.parametrize("name", NAMES)
def test_names_in_a_store_never_leave_its_folder(made, tmp_path, key, name, request):
    url = f"memory://{request.node.name}"
    rewrite(made, **{key: [name] if key == "shards" else name})
    memory = fsspec.filesystem("memory")
    if isinstance(name, str):
        memory.pipe(f"/{request.node.name}/{name}", b"written where the server likes")
    upload(made, request.node.name)
    before = sorted(tmp_path.rglob("*"))
    for path in (str(made), url):
        with pytest.raises(InputError, match=r"store: .*store\.json is damaged .*(index|table|shards)"):
            AudioStore(path, cache=tmp_path / "cache")
    known = set(before)
    new = [path for path in tmp_path.rglob("*") if path not in known and path.is_file()]
    assert {path.name for path in new} <= {"store.json", ".store.json.lock"}


def test_links_out_of_a_store_are_refused(made, tmp_path):
    shard = next((made / "shards").glob("*.pcm"))
    shard.rename(tmp_path / "elsewhere.pcm")
    shard.symlink_to(tmp_path / "elsewhere.pcm")
    with pytest.raises(InputError, match="leads out of"):
        AudioStore(made)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_rate": "8000"}, {"sample_rate": -1}, {"sample_rate": True}, {"shards": 3}, {"shards": {"a": 1}},
        {"shards": []}, {"dataset": [1]}, {"text_columns": 4}, {"text_columns": [1]}, {"format": "2"}, {"format": 0},
        {"format": None}, {"format": True}, {"format": 10**9}, {"shards": ["0" * 32] * 2}, {"index": "none.parquet"},
    ],
)  # fmt: skip
def test_an_invalid_store_is_one_clear_error(made, changes):
    rewrite(made, **changes)
    with pytest.raises(InputError, match="store"):
        AudioStore(made)[0]


def test_keys_that_a_later_version_may_add_are_ignored(made):
    rewrite(made, color="blue")
    assert len(AudioStore(made)) == 3


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("shard", [0, 0, 9]), ("shard", [0, 0, -1]), ("offset", [0, -4000, 0]), ("offset", [0, 2**62, 0]),
        ("length", [-1, 1, 1]), ("length", [2**62, 1, 1]), ("length", [0.5, 1, 1]), ("offset", ["a", "b", "c"]),
        ("length", [None, 1, 1]), ("shard", None),
    ],
)  # fmt: skip
def test_an_invalid_index_is_refused(made, column, values):
    index = pd.read_parquet(next(made.glob("index-*")))
    index = index.drop(columns=column) if values is None else index.assign(**{column: values})
    kinds = {"shard": "int32"} if column != "shard" else {}
    rename(made, "index", index.astype(kinds))
    with pytest.raises(InputError, match=r"store: .*index-.* is damaged"):
        AudioStore(made)


def test_an_index_beyond_its_shard_reads_nothing(made):
    index = pd.read_parquet(next(made.glob("index-*")))
    index["length"] += 10**6
    rename(made, "index", index)
    with pytest.raises(InputError, match="instead of"):
        AudioStore(made)[0]


@pytest.mark.parametrize("missing", ["path", "seconds"])
def test_a_table_without_its_columns_is_named(made, missing):
    tracks = AudioStore(made).tracks.frame.drop(columns=missing)
    rename(made, "table", tracks)
    with pytest.raises(InputError, match=f"table-.* is damaged .*{missing}"):
        len(AudioStore(made).tracks)


@pytest.mark.parametrize("pattern", ["store.json", "index-*", "tracks-*"])
def test_a_flipped_byte_is_never_used_without_an_error(made, pattern):
    file = next(made.glob(pattern))
    right = AudioStore(made).tracks.frame
    for _ in each_flip(file, bit=0x01):
        with pytest.raises(InputError, match=file.name):
            len(AudioStore(made).tracks)
    assert AudioStore(made).tracks.frame.equals(right)


def test_flipped_samples_are_found_and_decoded_again(made, tmp_path, caplog):
    shard = next((made / "shards").glob("*.pcm"))
    right = AudioStore(made)[0]
    content = bytearray(shard.read_bytes())
    content[101] ^= 64
    shard.write_bytes(content)
    assert verify_store(made, progress=False).damaged == [str(shard)]
    prepare_store(load_tracks(tmp_path / "music"), made, RATE, progress=False)
    assert not verify_store(made, progress=False).damaged
    assert torch.equal(AudioStore(made)[0], right)
    assert not shard.exists()
    assert not (made / "marks.json").exists()


class Damaging(http.server.SimpleHTTPRequestHandler):
    """Serves files of which some are damaged on the way, as often as asked."""

    damage = ""
    times = 0
    lost = 0

    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        if Damaging.damage and Damaging.damage in self.path and Damaging.times:
            Damaging.times -= 1
            content = content[: len(content) - 1 - self.lost] + bytes([content[-1] ^ 1]) + b"\0" * self.lost
        outputfile.write(content)


@pytest.fixture
def url(made):
    handler = functools.partial(Damaging, directory=str(made))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("file", ["index-", "tracks-", ".pcm", "shards/"])
@pytest.mark.parametrize("lost", [0, 200])
def test_a_transfer_is_checked_and_tried_once_more(made, url, tmp_path, file, lost):
    right = AudioStore(made)
    Damaging.damage, Damaging.lost = file, lost
    Damaging.times = 1
    store = AudioStore(url, cache=tmp_path / "once")
    assert store.tracks.frame.equals(right.tracks.frame)
    assert torch.equal(store[0], right[0])
    Damaging.times = 100
    with pytest.raises(InputError, match=f"store: {url}/.*{file}.* is damaged") as error:
        _ = AudioStore(url, cache=tmp_path / "ever").tracks, AudioStore(url, cache=tmp_path / "ever")[0]
    assert "prepare" not in str(error.value)
    assert not [path for path in (tmp_path / "ever").rglob("*") if path.suffix in (".pcm",) and file == ".pcm"]
    Damaging.times = 0
    assert torch.equal(AudioStore(url, cache=tmp_path / "ever")[0], right[0])


def test_other_samples_of_the_right_size_are_refused(made, tmp_path):
    shard = next((made / "shards").glob("*.pcm"))
    shard.write_bytes(bytes(len(shard.read_bytes())))
    url = upload(made, "other-samples")
    with pytest.raises(InputError, match="differs from its name"):
        AudioStore(url, cache=tmp_path / "cache")[0]


def test_other_descriptions_are_refused(made, tmp_path):
    file = next((made / "shards").glob("*.json"))
    content = read_checked_json(file, "store", "")
    for number, change in enumerate(({"path": "/etc/passwd"}, {"checksum": "0"}, {"clipped": 9})):
        write_checked_json(file, content | {"tracks": [content["tracks"][0] | change, *content["tracks"][1:]]})
        url = upload(made, f"described-{number}")
        with pytest.raises(InputError, match="differs from its name"):
            AudioStore(url, cache=tmp_path / "cache")[0]


def test_a_damaged_copy_is_transferred_again(made, tmp_path):
    url = upload(made, "copied")
    right = AudioStore(url, cache=tmp_path / "cache").tracks.frame
    for pattern in ("index-*", "tracks-*"):
        file = next((tmp_path / "cache").rglob(pattern))
        file.write_bytes(file.read_bytes()[:-20])
        assert AudioStore(url, cache=tmp_path / "cache").tracks.frame.equals(right)


def test_a_shard_larger_than_described_is_not_copied(made, tmp_path):
    shard = next((made / "shards").glob("*.pcm"))
    shard.write_bytes(shard.read_bytes() * 1000)
    url = upload(made, "large")
    with pytest.raises(InputError, match=r"store: .*memory.*large"):
        AudioStore(url, cache=tmp_path / "cache")[0]
    assert not list((tmp_path / "cache").rglob("*.pcm"))


MANY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from ssc_toolkit.data import AudioStore
store = AudioStore(sys.argv[1])
rows = list(range(len(store)))
assert store.read(rows, [0] * len(rows), 100).abs().sum(1).min() > 0
assert store.read(rows[::-1], [0] * len(rows), 100).abs().sum(1).min() > 0
print(len(store))
"""


@pytest.mark.slow
def test_more_shards_than_file_descriptors_are_read(tmp_path):
    for number in range(300):
        write_noise(tmp_path / "music" / f"{number}.wav", 70.0, 8000, seed=number % 3)
    prepare_store(load_tracks(tmp_path / "music"), tmp_path / "store", RATE, shard_megabytes=1, progress=False)
    assert len(list((tmp_path / "store" / "shards").glob("*.pcm"))) == 300
    command = [sys.executable, "-c", MANY, str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout.strip() == "300", ended.stderr


def serve(answer):
    """Serve by a function of the request handler; returns the server, to be shut down, and its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer(self)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def test_a_server_that_says_nothing_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("ssc_toolkit.data.store.remote._SILENT_SECONDS", 0.5)
    end = threading.Event()
    server, url = serve(lambda _: end.wait(30))
    try:
        with pytest.raises(InputError, match=f"store: cannot copy {url}/s/store.json .*time"):
            AudioStore(f"{url}/s", cache=tmp_path / "cache")
    finally:
        end.set()
        server.shutdown()


@pytest.mark.parametrize("name", ["index-", "tracks-", "shards/"])
def test_endless_files_are_given_up(made, tmp_path, monkeypatch, name):
    monkeypatch.setattr("ssc_toolkit.data.store.reader.MAX_DESCRIPTION_BYTES", 2**21)
    sent = []

    def answer(request):
        path = request.path.removeprefix("/s/")
        request.send_response(200)
        request.end_headers()
        if not path.startswith(name):
            request.wfile.write((made / path).read_bytes())
            return
        try:
            for _ in range(2000):
                request.wfile.write(bytes(2**17))
                sent.append(2**17)
        except OSError:
            pass  # the reader has hung up

    server, url = serve(answer)

    def read():
        store = AudioStore(f"{url}/s", cache=tmp_path / "cache")
        return store.tracks, store.read([0], [0], 10)

    try:
        with pytest.raises(InputError, match=f"store: cannot copy {url}/s/{name}.* more than"):
            read()
    finally:
        server.shutdown()
    assert sum(sent) < 2**27
    assert not list((tmp_path / "cache").rglob("*.tmp"))


@pytest.mark.parametrize(
    "url",
    ["http://me:hidden@127.0.0.1:9/s?token=HIDDEN", "ftp://me:hidden@127.0.0.1:9/s", "zip://s::/nowhere/hidden.zip"],
)
def test_what_cannot_be_opened_is_one_line_without_secrets(tmp_path, url):
    with pytest.raises(InputError, match=r"store: cannot (open|copy)") as caught:
        AudioStore(url, cache=tmp_path / "cache")
    assert "hidden@" not in str(caught.value)
    assert "HIDDEN" not in str(caught.value)


@pytest.mark.parametrize("name", ["store.json", "index-", "shards/"])
def test_a_folder_in_the_place_of_a_file_is_one_line(store, music, tmp_path, capsys, name):
    folder = tmp_path / "store"
    file = next(
        path for path in sorted(folder.rglob("*")) if str(path.relative_to(folder)).startswith(name) and path.is_file()
    )
    file.unlink()
    file.mkdir()
    assert main(["prepare", f"--tracks={music}", f"--out={folder}", f"--sample_rate={RATE}"]) == 2
    assert file.name in capsys.readouterr().err.splitlines()[-1]


def test_a_home_folder_is_understood_in_every_option(music, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main(["prepare", "--tracks=~/music", "--out=~/made/store", f"--sample_rate={RATE}"]) == 0
    assert not (tmp_path / "~").exists()
    assert len(AudioStore("~/made/store")) == len(AudioStore(tmp_path / "made" / "store")) == 10
    assert load_tracks("~/made/store").store == str(tmp_path / "made" / "store")
    prepare_store(load_tracks("~/music"), "~/made/other", RATE, progress=False)
    assert not verify_store("~/made/other", progress=False).damaged
    assert not (tmp_path / "~").exists()


def test_columns_that_are_replaced_are_said(music, tmp_path, caplog):
    tracks = load_tracks(music).assign(seconds=-5.0, clipped="no")
    store = AudioStore.prepare(tracks, tmp_path / "replaced", RATE, progress=False)
    assert "column 'seconds' of the table is replaced" in caplog.text
    assert "column 'clipped' of the table is replaced" in caplog.text
    caplog.clear()
    AudioStore.prepare(store.tracks, tmp_path / "replaced", RATE, progress=False)
    assert "replaced" not in caplog.text
