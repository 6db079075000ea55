"""A store under a URL, from a real HTTP server."""

import functools
import http.server
import shutil
import threading

import pytest
import torch
from audio_files import RATE, write_noise

from ssc_toolkit.data import AudioStore, load_tracks, prepare_store
from ssc_toolkit.errors import InputError


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


def test_a_store_at_a_url_is_copied_shard_by_shard(tmp_path, server):
    for number in range(6):
        write_noise(tmp_path / "music" / f"{number}.wav", 40.0, seed=number)
    tracks = load_tracks(tmp_path / "music")
    local = AudioStore.prepare(tracks, tmp_path / "store", RATE, threads=1, shard_megabytes=1, progress=False)
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


def test_an_incomplete_store_at_a_url_is_an_error(tmp_path, server):
    write_noise(tmp_path / "music" / "a.wav")
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


def test_copies_of_other_stores_are_removed_above_the_limit(store, music, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    urls = []
    for number in range(3):
        shutil.copytree(tmp_path / "store", tmp_path / f"store-{number}")
        urls.append(f"file://{tmp_path}/store-{number}")
    copies = tmp_path / "user" / "ssc-toolkit" / "stores"
    first = AudioStore(urls[0])
    right = first.read(range(10), [0] * 10, 100)
    AudioStore(urls[1]).fetch(progress=False)
    assert len(list(copies.iterdir())) == 2
    size = sum(path.stat().st_size for path in next(copies.iterdir()).rglob("*"))
    monkeypatch.setenv("SSC_TOOLKIT_CACHE_GB", str(1.5 * size / 1e9))
    AudioStore(urls[2]).fetch(progress=False)
    assert len(list(copies.iterdir())) == 2  # the first, used least recently, is gone
    monkeypatch.setenv("SSC_TOOLKIT_CACHE_GB", "0")
    last = AudioStore(urls[2])
    assert len(list(copies.iterdir())) == 1
    assert torch.equal(last.read(range(10), [0] * 10, 100), right)
    assert torch.equal(AudioStore(urls[0]).read(range(10), [0] * 10, 100), right)
    assert torch.equal(
        last.read(range(10), [50] * 10, 100), AudioStore(tmp_path / "store").read(range(10), [50] * 10, 100)
    )
