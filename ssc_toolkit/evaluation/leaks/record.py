"""Record of the tracks of a training or of an evaluation, by which the same music is recognized in other tracks."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssc_toolkit.audio import UnreadableAudio, read_audio, resample
from ssc_toolkit.caches import read_entry, write_entry
from ssc_toolkit.data import AudioStore, dataset_of
from ssc_toolkit.data.cells import format_cells
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.cache import describe_source, hash_audio
from ssc_toolkit.evaluation.leaks.fingerprints import FINGERPRINT_RATE, MAX_SECONDS, Fingerprints, fingerprint
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.files import append_checksum, atomic_path, make_writable_folder, reading, verify_checksum
from ssc_toolkit.hashing import text_hash
from ssc_toolkit.npz_files import read_arrays
from ssc_toolkit.paths import user_path
from ssc_toolkit.progress import progress_bar

RULE = "landmarks 2"
"""Name of the way in which fingerprints are computed. Records and caches of another way are not comparable."""
GROUP_COLUMNS = (
    *("group", "artist", "artist_id", "artist_name", "performer", "singer", "band", "composer"),
    *("album", "album_id", "album_name", "release"),
)
"""Names of columns, in any case, whose values identify artists, albums or other groups of tracks."""

TRAINING_TRACKS = "training_tracks.npz"
"""Name of the file with the record of the training tracks, in the folder of a run, next to that of the encoder."""

UNDECODED = "undecoded"
EARLIER_VERSION = "earlier version"

_MISSING = "missing"
MAX_HOURS = 100
"""Maximum duration of tracks for which fingerprints are computed, which takes about four seconds per hour and core."""
MAX_RECORD_BYTES = 2 << 30
"""Maximum size in bytes of the uncompressed arrays of a record, which is enough for a million tracks."""
_MAX_TEXT = 200  # characters; longer names and groups are replaced by their hash


@dataclass(frozen=True)
class TrackRecord:
    """Names, content hashes, fingerprints and groups of tracks.

    Attributes:
        names: (tracks,) text, name of each track that does not depend on the folder of the files.
        hashes: (tracks,) text, hash of the content of each audio file; empty if the file could not be read.
        fingerprints: acoustic fingerprint of each track. It is empty for sounds without landmarks, and for tracks that
            `no_fingerprint` names.
        groups: (tracks,) text for each group column: the group of each track, empty if unknown.
        dataset: name of the published dataset of the tracks, or an empty text.
        is_searchable: whether the tracks have hashes and fingerprints. They do not if they are too long.
        paths: (tracks,) paths without symbolic links, if the tracks were read in this process. They are not saved.
            `find_leaks` does not compare tracks with the same path.
        no_fingerprint: (tracks,) text, why a track has no fingerprint: "undecoded" if its audio could not be decoded,
            "earlier version" if the fingerprint of a saved record is of an earlier version of this library. Empty for a
            track with a fingerprint. None if this is so for all tracks.
    """

    names: np.ndarray
    hashes: np.ndarray
    fingerprints: Fingerprints
    groups: Mapping[str, np.ndarray] = field(default_factory=dict)
    dataset: str = ""
    paths: np.ndarray | None = None
    is_searchable: bool = True
    no_fingerprint: np.ndarray | None = None

    @property
    def is_complete(self) -> bool:
        """Whether no track lacks a fingerprint because of an error or of an earlier version."""
        return not self.reasons.astype(bool).any()

    @property
    def reasons(self) -> np.ndarray:
        """The texts in `no_fingerprint`, (tracks,); empty if it is None."""
        return np.full(len(self), "") if self.no_fingerprint is None else self.no_fingerprint

    def __len__(self) -> int:
        return len(self.names)

    def select(self, rows: np.ndarray) -> TrackRecord:
        """Return the record of some tracks, given one boolean per track, (tracks,), or row numbers."""
        rows = np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows)
        groups = {column: values[rows] for column, values in self.groups.items()}
        paths = None if self.paths is None else self.paths[rows]
        return TrackRecord(
            self.names[rows],
            self.hashes[rows],
            self.fingerprints.select(rows),
            groups,
            self.dataset,
            paths,
            self.is_searchable,
            self.reasons[rows],
        )


def record_tracks(tracks: Tracks, cache: str | Path | None = None, progress: bool = True) -> TrackRecord:
    """Compute the record of tracks, for which each audio file is decoded once.

    Tracks of more than `MAX_HOURS` together are not decoded and not hashed. Only shared groups are then found.

    Args:
        tracks: track table, data frame or path of a table. Columns named in `GROUP_COLUMNS` are recorded.
        cache: folder of a cache of fingerprints. None stores nothing.
        progress: whether to show a progress bar.

    Examples:
        >>> import tempfile, soundfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32000)
        >>> soundfile.write(folder / "a.wav", noise, 16000)
        >>> soundfile.write(folder / "b.flac", noise, 16000)
        >>> found = record_tracks(folder, progress=False)
        >>> found.names.tolist(), found.fingerprints.counts.tolist()
        (['a.wav', 'b.flac'], [256, 256])
    """
    tracks = as_track_table(tracks)
    is_searchable = _hours(tracks) <= MAX_HOURS
    hashes = [""] * len(tracks)
    if is_searchable:
        hashes = ["" if found == _MISSING else found for found in hash_audio(tracks)]
    lowered = {str(column).lower(): str(column) for column in tracks}
    groups = {name: _texts(format_cells(tracks[lowered[name]])) for name in GROUP_COLUMNS if name in lowered}
    own, is_decoded = Fingerprints.of_nothing(len(tracks)), np.ones(len(tracks), dtype=bool)
    if is_searchable:
        own, is_decoded = _fingerprints(tracks, hashes, cache, progress)
    return TrackRecord(
        _texts(track_names(tracks)),
        _texts(hashes),
        own,
        groups,
        str(dataset_of(tracks).get("name", "")),
        _texts([os.path.realpath(path) for path in tracks["path"]]),
        is_searchable,
        np.where(is_decoded, "", UNDECODED),
    )


def join_records(records: Sequence[TrackRecord]) -> TrackRecord:
    """Join the records of several tables. A group is unknown in a table without its column."""
    columns = dict.fromkeys(column for record in records for column in record.groups)
    groups = {
        column: np.concatenate([record.groups.get(column, np.full(len(record), "")) for record in records])
        for column in columns
    }
    datasets = {record.dataset for record in records}
    return TrackRecord(
        np.concatenate([record.names for record in records]),
        np.concatenate([record.hashes for record in records]),
        Fingerprints.joined([record.fingerprints for record in records]),
        groups,
        datasets.pop() if len(datasets) == 1 else "",
        is_searchable=all(record.is_searchable for record in records),
        no_fingerprint=np.concatenate([record.reasons for record in records]),
    )


def save_record(record: TrackRecord, path: Path) -> None:
    """Write a record to a compressed file with a checksum, atomically. An hour takes at most 350 kB."""
    content: dict[str, Any] = {
        "rule": np.array(RULE),
        "names": record.names,
        "hashes": record.hashes,
        **record.fingerprints.arrays(),
        "dataset": np.array(record.dataset),
        "is_searchable": np.array(record.is_searchable),
        "no_fingerprint": record.reasons,
        **{f"group_{column}": values for column, values in record.groups.items()},
    }
    with atomic_path(path) as temporary:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **content)
        append_checksum(temporary)


def load_record(path: Path, argument: str = "encoder") -> TrackRecord | None:
    """Read a file of `save_record`.

    Args:
        path: path of the file.
        argument: name of the argument that gave the file, for error messages.

    Returns:
        The record. None if the file does not exist. If an earlier version of this library computed the fingerprints,
        they are left out, which `no_fingerprint` says.

    Raises:
        InputError: if the file is damaged.
    """
    advice = "restore it, or delete it; the music of the training is then unknown"
    if not path.exists():
        return None
    verify_checksum(path, argument, advice)
    with reading(argument, path, advice):
        content = read_arrays(path, max_bytes=MAX_RECORD_BYTES)
        is_searchable, is_current = bool(content["is_searchable"]), str(content["rule"]) == RULE
        own = Fingerprints.read(content) if is_current else Fingerprints.of_nothing(content["names"].size)
        reasons = content.get("no_fingerprint", np.full(len(own), ""))
        groups = {name.removeprefix("group_"): values for name, values in content.items() if name.startswith("group_")}
        texts = [content["names"], content["hashes"], reasons, *groups.values()]
        if any(text.shape != (len(own),) or text.dtype.kind != "U" for text in texts):
            raise ValueError("its tracks and fingerprints differ in number")
        if is_searchable and not is_current:
            reasons = np.where(reasons == "", EARLIER_VERSION, reasons)
        return TrackRecord(
            texts[0],
            texts[1],
            own,
            groups,
            str(content["dataset"]),
            is_searchable=is_searchable,
            no_fingerprint=reasons,
        )


def _fingerprints(
    tracks: TrackTable, hashes: Sequence[str], cache: str | Path | None, progress: bool
) -> tuple[Fingerprints, np.ndarray]:
    """Return the fingerprints of the tracks, from the cache if they are there, and whether each was decoded, (tracks,).

    A track that could not be decoded is tried again in the next call, because errors may be temporary.
    """
    if cache is None:
        return _compute_fingerprints(tracks, np.arange(len(tracks)), progress)
    lengths = _lengths(tracks) if tracks.store is None else None
    name = text_hash(repr((RULE, describe_source(tracks), list(hashes), lengths)))
    path = make_writable_folder(user_path(cache, "cache"), "cache") / f"{name}.npz"

    def read(entry: Path) -> tuple[Fingerprints, np.ndarray]:
        content = read_arrays(entry)
        own, is_decoded = Fingerprints.read(content), content["is_decoded"]
        if len(own) != len(tracks) or is_decoded.shape != (len(tracks),) or is_decoded.dtype != bool:
            raise ValueError(f"expected fingerprints of {len(tracks)} tracks, got {len(own)}")
        return own, is_decoded

    nothing = Fingerprints.of_nothing(len(tracks)), np.zeros(len(tracks), dtype=bool)
    own, is_decoded = read_entry(path, read) or nothing
    rows = np.flatnonzero(~is_decoded)
    if not len(rows):
        return own, is_decoded
    computed, is_decoded[rows] = _compute_fingerprints(tracks, rows, progress)
    order = np.arange(len(tracks))
    order[rows] = len(tracks) + np.arange(len(rows))
    own = Fingerprints.joined([own, computed]).select(order)

    def write(entry: Path) -> None:
        with entry.open("wb") as file:
            arrays: dict[str, Any] = {**own.arrays(), "is_decoded": is_decoded}
            np.savez(file, **arrays)

    if all(hashes) and is_decoded[rows].any():  # a file that is missing now may be there later
        write_entry(path, write)
    return own, is_decoded


def _compute_fingerprints(tracks: TrackTable, rows: np.ndarray, progress: bool) -> tuple[Fingerprints, np.ndarray]:
    """Return the fingerprints of the tracks in the rows (rows,), and whether each was decoded, (rows,)."""
    read = _make_reader(tracks)

    def compute(row: int) -> Fingerprints | None:
        try:
            return fingerprint(read(row))
        except (UnreadableAudio, InputError, OSError):  # the embedding or the training reports the track
            return None

    with ThreadPoolExecutor() as pool:
        results = pool.map(compute, rows.tolist())
        found = list(progress_bar(results, total=len(rows), desc="fingerprints", unit="track", disable=not progress))
    own = [Fingerprints.of_nothing(1) if prints is None else prints for prints in found]
    return Fingerprints.joined(own), np.array([prints is not None for prints in found], dtype=bool)


def _make_reader(tracks: TrackTable) -> Callable[[int], np.ndarray]:
    """Return a function from a row number to the audio of the track, (samples,) at `FINGERPRINT_RATE`."""
    paths = tracks["path"].tolist()
    if tracks.store is None:
        lengths = _lengths(tracks)
        return lambda row: read_audio(paths[row], FINGERPRINT_RATE, 0, lengths[row])
    store = AudioStore(tracks.store)
    rows = store.rows_of(paths).tolist()
    samples = store.lengths.clamp(max=round(MAX_SECONDS * store.sample_rate))[rows].tolist()

    def read(row: int) -> np.ndarray:
        own = store.read([rows[row]], [0], samples[row])[0].numpy()
        return resample(own, store.sample_rate, FINGERPRINT_RATE)

    return read


def _hours(tracks: TrackTable) -> float:
    """Return the hours of audio that are fingerprinted. Tracks of unknown duration do not count."""
    if "seconds" not in tracks:
        return 0.0
    return float(tracks["seconds"].astype(float).clip(upper=MAX_SECONDS).sum()) / 3600


def _lengths(tracks: TrackTable) -> list[int]:
    """Return the number of samples to read of each track. They are padded with zeros if the track is shorter."""
    longest = round(MAX_SECONDS * FINGERPRINT_RATE)
    if "seconds" not in tracks:
        return [longest] * len(tracks)
    seconds = tracks["seconds"].fillna(MAX_SECONDS).to_numpy(dtype=float)
    return np.clip(np.ceil(seconds * FINGERPRINT_RATE), 1, longest).astype(int).tolist()


def _texts(values: Sequence[str | None]) -> np.ndarray:
    """Return texts as an array that can be saved without pickle; None becomes an empty text.

    All elements of such an array have the size of the longest text, so long texts are replaced by their hash.
    """
    short = [value if len(value) <= _MAX_TEXT else text_hash(value) for value in (value or "" for value in values)]
    return np.array(short, dtype=np.str_)


def find_pretraining_record(source: str) -> TrackRecord | None:
    """Return the record of the tracks that a saved encoder was pretrained on, or None if there is none.

    The record is in the folder of the encoder if it was exported, or else in the folder of its run.

    Args:
        source: folder of the encoder. Other sources, such as the name of a published model, have no record.

    Raises:
        InputError: if the record is damaged.
    """
    folder = user_path(source, "encoder")
    places = [folder, folder.absolute().parent] if folder.is_dir() else []
    return next((record for place in places if (record := load_record(place / TRAINING_TRACKS)) is not None), None)
