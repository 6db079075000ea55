"""Disk cache for embeddings, with keys computed from the model and the audio."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from ssc_toolkit.caches import read_entry, write_entry
from ssc_toolkit.data import AudioStore, TrackTable
from ssc_toolkit.encoders import Readout
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import WaveformModel, hash_model
from ssc_toolkit.evaluation.embedding.windows import WINDOW_RULE
from ssc_toolkit.files import make_writable_folder
from ssc_toolkit.hashing import file_hash, text_hash
from ssc_toolkit.paths import user_path


class EmbeddingCache:
    """Folder that stores the embeddings of the tracks of a table, so that they are computed only once.

    Each file contains the embeddings of all tracks for one model, readout, window length, pooling and corruption. The
    key is a hash of the model (class, settings, weights), its readout, the content of the audio files, the window
    length, the choice of windows, the pooling, the corruption with its random values, and the version of this library.
    For tracks in an audio store, the key contains the checksums that the store recorded. Moved audio files keep their
    key, and changed audio files get a new key. Each cache file ends with a checksum. If a file is damaged, the
    embeddings are computed again. If the folder exceeds its limit (20 GB, or the environment variable
    `SSC_TOOLKIT_CACHE_GB`), the least recently used files are removed.

    Args:
        folder: folder of the cache.
        tracks: track table with the column `path`.
        window_pooling: name of the pooling, as for `embed_tracks`.
        corruption: corruption of the tracks, or None for clean audio.

    Raises:
        InputError: if the folder is not writable.
    """

    def __init__(
        self, folder: Path, tracks: TrackTable, window_pooling: str, corruption: FixedCorruption | None
    ) -> None:
        self.folder = make_writable_folder(user_path(folder, "cache"), "cache")
        self._tracks = tracks
        self._described = (window_pooling, WINDOW_RULE, None if corruption is None else corruption.fingerprint())

    def get(self, model: WaveformModel, window_seconds: float, readout: Readout | None = None) -> np.ndarray | None:
        """Return the embeddings (tracks, dim), or None if the file is missing or damaged. Damage gives a warning."""
        return read_entry(self._path(model, window_seconds, readout), self._read)

    def put(
        self, model: WaveformModel, window_seconds: float, embeddings: np.ndarray, readout: Readout | None = None
    ) -> None:
        """Store the embeddings (tracks, dim). Embeddings with NaN, from failed tracks, are not stored."""
        if not np.isfinite(embeddings).all():
            return

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, embeddings)

        write_entry(self._path(model, window_seconds, readout), write)

    def _read(self, path: Path) -> np.ndarray:
        embeddings = np.load(path, allow_pickle=False)
        if embeddings.ndim != 2 or len(embeddings) != len(self._tracks):
            raise ValueError(f"expected the shape ({len(self._tracks)}, dim), got {embeddings.shape}")
        return embeddings

    def _path(self, model: WaveformModel, window_seconds: float, readout: Readout | None) -> Path:
        identity = (hash_model(model), self._audio, window_seconds, readout, *self._described)
        return self.folder / f"{text_hash(repr(identity))}.npy"

    @cached_property
    def _audio(self) -> str:
        return text_hash(describe_source(self._tracks) + "".join(hash_audio(self._tracks)))


def describe_source(tracks: TrackTable) -> str:
    """Return the sample rate and the channel of the store of tracks, or an empty text for tracks that are files.

    Stores of the same files contain different audio if these settings differ.
    """
    if tracks.store is None:
        return ""
    store = AudioStore(tracks.store)
    return f"{store.sample_rate} Hz {store.channel}"


def hash_audio(tracks: TrackTable) -> list[str]:
    """Return a hash of the audio file of each track, or its stored checksum for tracks in an audio store."""
    if tracks.store is not None:
        stored = tracks if "checksum" in tracks else _in_store(tracks, tracks.store)
        return list(map(str, stored["checksum"]))
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_content, tracks["path"]))


def _in_store(tracks: TrackTable, store: str) -> TrackTable:
    opened = AudioStore(store)
    return opened.tracks.select(opened.rows_of(tracks["path"].tolist()))


def _content(path: str) -> str:
    try:
        status = Path(path).stat()
    except OSError:
        return "missing"
    return _hash_of_file(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 18)
def _hash_of_file(path: str, size: int, modified: int) -> str:
    """Return a hash of the content of a file.

    Results are kept in memory by the arguments: path, size in bytes and modification time.
    """
    return file_hash(path)
