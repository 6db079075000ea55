"""Compositions of the default corpus, read from the scores in the installed music21 package.

The folk tunes (the Essen, O'Neill, Ryan and Aird collections) are in ABC notation and read with symusic. Bach's
chorales are read with music21. This library contains no scores. The Essen tunes are licensed for non-commercial use.
Audio that is rendered from them is therefore for research only and must not be redistributed.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ssc_toolkit.caches import find_cache_root
from ssc_toolkit.data.corpus.build import hash_content, run_in_parallel
from ssc_toolkit.data.corpus.keys import find_sure_key
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import (
    clear_leftovers,
    lock_folder,
    make_writable_folder,
    read_checked_json,
    reading,
    write_checked_json,
)
from ssc_toolkit.options.corpus import CORPUS_VERSION, read_package_versions

# Patterns of files below the corpus folder of music21, by collection.
_ABC_COLLECTIONS = {
    "chinese_folk": ("essenFolksong/han*.abc",),
    "german_folk": (
        "essenFolksong/boehme*.abc",
        "essenFolksong/erk*.abc",
        "essenFolksong/fink*.abc",
        "essenFolksong/lot*.abc",
        "essenFolksong/lux*.abc",
        "essenFolksong/zuccal*.abc",
    ),
    "irish_folk": ("oneills1850/*.abc",),
    "new_england_fiddle": ("ryansMammoth/*.abc",),
    "old_german": ("essenFolksong/altdeu*.abc",),
    "scottish_folk": ("airdsAirs/book*.abc",),
}
CHORALES = "bach_chorale"

METERS = ("2/2", "2/4", "3/4", "4/4", "6/8")
"""Classes of the label column `meter`. The label of a piece with another meter is unknown."""

OPENING_INTERVALS = 16
_BATCHES, _PIECES_IN_A_BATCH = 24, 250
_MIN_NOTES = 12
_MIN_PIECES = 600  # small corpora then also have pieces in minor keys in every split
_PITCH_CLASS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_STATED_MODE = {"": 0, "maj": 0, "ion": 0, "m": 1, "min": 1, "aeo": 1}


Note = tuple[float, float, int]
"""Type of a note: a tuple of onset and duration in quarter notes, and MIDI pitch."""


@dataclass(frozen=True)
class Piece:
    """Composition whose key is certain.

    Attributes:
        piece_id: unique id that consists of the collection, the file name and a number.
        collection: name of the collection.
        title: first title line of the score.
        opening: first 16 melodic intervals in semitones. Pieces with the same opening are variants of one tune.
        meter: meter of the score, one of `METERS`. None if the score has another meter, no meter or several meters.
        beat: number of quarter notes in one beat of the meter.
        key: index of the key in `KEYS`.
        notes: (notes, 3) onset and duration in quarter notes, and MIDI pitch.
    """

    piece_id: str
    collection: str
    title: str
    opening: str
    meter: str | None
    beat: float
    key: int
    notes: np.ndarray


def corpus_folder() -> Path:
    """Return the folder of scores in the installed music21 package, without importing the package.

    Raises:
        InputError: if music21 or its scores are not installed.
    """
    spec = importlib.util.find_spec("music21")
    if spec is None or spec.origin is None:
        raise InputError(
            "the default corpus needs music21, which is not installed; fix: pip install 'ssc-toolkit[corpus]'"
        )
    folder = Path(spec.origin).parent / "corpus"
    if not (folder / "essenFolksong").is_dir():
        raise InputError(
            f"music21 is installed without its scores ({folder} has no essenFolksong); "
            "fix: pip install --force-reinstall music21"
        )
    return folder


def list_score_files() -> list[tuple[str, Path]]:
    """Return a list of pairs of the collection and the path of each score file, in a fixed order."""
    folder = corpus_folder()
    found = [
        (collection, path)
        for collection, patterns in sorted(_ABC_COLLECTIONS.items())
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    ]
    return found + [(CHORALES, path) for path in sorted((folder / "bach").glob("bwv*.mxl"))]


def count_needed_pieces(clips: int) -> int:
    """Return the number of pieces that a corpus of `clips` clips is drawn from."""
    return max(2 * clips, _MIN_PIECES)


def load_pieces(about: int, workers: int | None = None, progress: bool = True) -> list[Piece]:
    """Return about as many pieces as `about`, or more, sorted by id, or all if there are fewer.

    Score files are read in batches, each with files of every collection, until there are enough pieces. The pieces of
    each batch are cached, so the next run after an interruption reads only the other batches.
    """
    versions = read_package_versions()
    folder = find_cache_root() / f"pieces-{hash_content([CORPUS_VERSION, versions['music21'], versions['symusic']])}"
    make_writable_folder(folder, "cache folder")
    files = list_score_files()
    needed = min(_BATCHES, math.ceil(about / _PIECES_IN_A_BATCH))
    tasks = [(folder / f"{batch:02d}.json", files[batch::_BATCHES]) for batch in range(needed)]
    with lock_folder(folder, "cache folder", wait=True):
        clear_leftovers(folder)
        found = run_in_parallel(_load_batch, tasks, workers, "reading scores", progress)
    return sorted((piece for pieces in found for piece in pieces), key=lambda piece: piece.piece_id)


def _load_batch(cache: Path, files: list[tuple[str, Path]]) -> list[Piece]:
    try:
        return _cached(cache)
    except InputError:  # the cache is missing or damaged, so the scores are parsed
        with silence_stdout():
            pieces = [piece for collection, path in files for piece in read_pieces(collection, path)]
        rows = [asdict(piece) | {"notes": piece.notes.tolist()} for piece in pieces]
        write_checked_json(
            cache, {"pieces": json.dumps(rows)}
        )  # a single string, because otherwise each number has its own line
        return _cached(cache)


def _cached(cache: Path) -> list[Piece]:
    content = read_checked_json(cache, "cache folder", "delete it")
    with reading("cache folder", cache, "delete it"):
        return [Piece(**row | {"notes": np.array(row["notes"])}) for row in json.loads(content["pieces"])]


@contextmanager
def silence_stdout() -> Iterator[None]:
    """Context manager that discards all output to stdout, also of C code, because symusic prints a lot."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def read_pieces(collection: str, path: Path) -> list[Piece]:
    """Return the pieces in the score file `path` of a collection whose key is certain."""
    if collection == CHORALES:
        candidates = [_read_chorale(path)]
    else:
        candidates = [_read_tune(text, collection, path, n) for n, text in enumerate(_split_abc(path), start=1)]
    return [piece for piece in candidates if piece is not None]


def _split_abc(path: Path) -> list[str]:
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return re.split(r"(?m)^(?=X:)", text)[1:]


def _read_tune(text: str, collection: str, path: Path, number: int) -> Piece | None:
    import symusic

    stated = _stated_key(text)
    if stated is None:
        return None
    tonic, mode = stated
    if path.parent.name == "essenFolksong" and mode == 0:
        mode = None  # in the Essen collections, the key field gives the tonic but not the mode
    try:
        score = symusic.Score.from_abc(text)
    except (RuntimeError, ValueError):  # a tune with invalid notation is left out
        return None
    if len(score.tracks) != 1:
        return None
    quarter = score.ticks_per_quarter
    # symusic's ABC reader starts every note one tick late.
    notes = [((n.time - 1) / quarter, (n.duration + 1) / quarter, n.pitch) for n in score.tracks[0].notes]
    title = re.search(r"(?m)^T:\s*(.+?)\s*$", text)
    return _piece(
        piece_id=f"{collection}/{path.stem}/{number}",
        collection=collection,
        title=title.group(1) if title else "",
        meter=_abc_meter(text),
        stated_tonic=tonic,
        stated_mode=mode,
        notes=notes,
        melody=notes,
    )


def _read_chorale(path: Path) -> Piece | None:
    from music21 import converter

    # storePickle=False, because music21 would write its cache to a folder shared by all users.
    score = converter.parse(path, forceSource=True, storePickle=False)
    parts = [
        [
            (float(element.offset), float(element.quarterLength), pitch.midi)
            for element in part.flatten().notes
            if not element.duration.isGrace
            for pitch in element.pitches
        ]
        for part in score.parts
    ]
    parts = [part for part in parts if part]
    if len(parts) != 4:
        return None
    flat = score.parts[0].flatten()
    meters = {meter.ratioString for meter in flat.getElementsByClass("TimeSignature")}
    return _piece(
        piece_id=f"{CHORALES}/{path.stem}",
        collection=CHORALES,
        title=score.metadata.bestTitle or path.stem,
        meter=meters.pop() if len(meters) == 1 else None,
        stated_tonic=None,
        stated_mode=None,
        notes=[note for part in parts for note in part],
        melody=parts[0],
    )


def _piece(
    *,
    piece_id: str,
    collection: str,
    title: str,
    meter: str | None,
    stated_tonic: int | None,
    stated_mode: int | None,
    notes: list[Note],
    melody: list[Note],
) -> Piece | None:
    if len(melody) < _MIN_NOTES:
        return None
    array = np.array(sorted(notes), dtype=np.float64)
    array[:, 0] -= math.floor(array[0, 0] / _beat(meter)) * _beat(meter)  # removes rests before the first note
    onsets, durations, pitches = array.T
    key = find_sure_key(onsets, durations, pitches, stated_tonic, stated_mode)
    if key is None:
        return None
    steps = np.diff([pitch for _, _, pitch in sorted(melody)[: OPENING_INTERVALS + 1]]).astype(int)
    return Piece(
        piece_id=piece_id,
        collection=collection,
        title=title,
        opening=" ".join(map(str, steps)),
        meter=meter if meter in METERS else None,
        beat=_beat(meter),
        key=key,
        notes=array,
    )


def _stated_key(text: str) -> tuple[int, int | None] | None:
    """Return the tonic (pitch class) and mode (0 major, 1 minor) that a tune in ABC notation states.

    Return None if it states no key, a modal key, or several keys.
    """
    fields = re.findall(r"(?m)^K:\s*(.*?)\s*$", text)
    if len(fields) != 1:
        return None
    match = re.match(r"([A-G])([b#]?)\s*([A-Za-z]*)", fields[0])
    if match is None:
        return None
    letter, accidental, word = match.groups()
    mode = _STATED_MODE.get(word.lower()[:3])
    if mode is None:
        return None
    return (_PITCH_CLASS[letter] + {"": 0, "b": -1, "#": 1}[accidental]) % 12, mode


def _abc_meter(text: str) -> str | None:
    fields = re.findall(r"(?m)^M:\s*(\S.*?)\s*$", text) + re.findall(r"\[M:\s*(.*?)\]", text)
    if len(set(fields)) != 1:
        return None
    return {"C": "4/4", "C|": "2/2"}.get(fields[0], fields[0])


def _beat(meter: str | None) -> float:
    """Return the number of quarter notes in one beat of a meter, such as 1.5 in 6/8, 2 in 2/2 and 1 in 3/4."""
    match = re.fullmatch(r"(\d+)/(\d+)", meter or "")
    if match is None:
        return 1.0
    count, unit = int(match[1]), int(match[2])
    if unit == 8 and count % 3 == 0:
        return 1.5
    return 4.0 / unit
