"""Settings shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from audio_files import RATE, write_noise
from compared import Compared, compared
from filelock import FileLock
from hypothesis import settings

from ssc_toolkit.data import AudioStore, encode_labels, load_tracks
from ssc_toolkit.data.corpus import build_corpus

# No deadline: machines are shared. Derandomized: the same commit passes or fails the same way everywhere.
settings.register_profile("ssc_toolkit", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ssc_toolkit")

LAUNCHER_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "RANK")


@pytest.fixture
def music(tmp_path) -> Path:
    """Ten files of all formats, rates and channels."""
    folder = tmp_path / "music"
    for number in range(10):
        suffix = ("wav", "flac", "ogg", "mp3")[number % 4]
        rate = (8000, 16000, 44100)[number % 3]
        write_noise(folder / f"{number}.{suffix}", 1.0 + number / 4, rate, 1 + number % 2, seed=number)
    return folder


@pytest.fixture
def store(music, tmp_path) -> AudioStore:
    """A store of them."""
    return AudioStore.prepare(load_tracks(music), tmp_path / "store", RATE, progress=False)


@pytest.fixture
def encoded(monkeypatch) -> list[str]:
    """Columns that are encoded during a test, once for each time."""
    found: list[str] = []

    def counted(tracks, column, *arguments, **options):
        found.append(column)
        return encode_labels(tracks, column, *arguments, **options)

    for name, module in list(sys.modules.items()):
        if name.startswith("ssc_toolkit.") and hasattr(module, "encode_labels"):
            monkeypatch.setattr(module, "encode_labels", counted)
    return found


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> Path:
    """An empty folder of this run, the same in all workers of pytest-xdist."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return tmp_path_factory.mktemp(name)
    folder = tmp_path_factory.getbasetemp().parent / name
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """Eighty clips of the default corpus, in a cache of its own: XDG_CACHE_HOME is the folder two above it."""
    cache = shared_folder(tmp_path_factory, "cache")
    with FileLock(cache / ".lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        return build_corpus(80, progress=False)


@pytest.fixture(scope="session")
def comparison(tmp_path_factory) -> Compared:
    """A finished comparison of two encoders on files with hostile names."""
    folder = shared_folder(tmp_path_factory, "comparison")
    with FileLock(folder.parent / "comparison.lock"):
        return compared(folder)


@pytest.fixture(autouse=True)
def launcher_variables_unchanged():
    """Fail a test that leaves variables of a launcher of processes, which later trainings would read."""
    before = {name: os.environ.get(name) for name in LAUNCHER_VARIABLES}
    yield
    after = {name: os.environ.pop(name, None) for name in LAUNCHER_VARIABLES}
    os.environ.update({name: value for name, value in before.items() if value is not None})
    assert after == before


@pytest.fixture(autouse=True)
def compiled_code_forgotten():
    """Forget compiled code after a test: PyTorch keeps at most eight variants of a function in a process."""
    yield
    if "torch._dynamo" in sys.modules:
        sys.modules["torch._dynamo"].reset()


@pytest.fixture
def listening():
    """Ctrl-C is heard, here and by processes begun here, even if the tests run in a shell's background job."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, handler)
