"""Tags of audio files, such as title, artist and genre."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import soundfile

from ssc_toolkit.audio import SUFFIXES
from ssc_toolkit.data.cells import SEPARATOR
from ssc_toolkit.data.key_names import KEYS, key_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading

_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "title": {"id3": ("TIT2",), "text": ("title",), "mp4": ("\xa9nam",), "asf": ("Title",)},
    "artist": {"id3": ("TPE1",), "text": ("artist",), "mp4": ("\xa9ART",), "asf": ("Author",)},
    "album": {"id3": ("TALB",), "text": ("album",), "mp4": ("\xa9alb",), "asf": ("WM/AlbumTitle",)},
    "album_artist": {
        "id3": ("TPE2",),
        "text": ("albumartist", "album artist", "album_artist"),
        "mp4": ("aART",),
        "asf": ("WM/AlbumArtist",),
    },
    "genre": {"id3": ("TCON",), "text": ("genre",), "mp4": ("\xa9gen",), "asf": ("WM/Genre",)},
    "year": {"id3": ("TDRC", "TDRL", "TDOR"), "text": ("date", "year"), "mp4": ("\xa9day",), "asf": ("WM/Year",)},
    "tempo": {
        "id3": ("TBPM",),
        "text": ("bpm", "tempo"),
        "mp4": ("tmpo", "----:com.apple.iTunes:BPM"),
        "asf": ("WM/BeatsPerMinute",),
    },
    "key": {
        "id3": ("TKEY",),
        "text": ("initialkey", "key"),
        "mp4": ("----:com.apple.iTunes:initialkey", "----:com.apple.iTunes:KEY"),
        "asf": ("WM/InitialKey",),
    },
}
"""Names of tags in each format, by column. Vorbis comments and APEv2 tags share the names of the format "text"."""

COLUMNS = tuple(_NAMES)
"""Columns that tags can fill."""

_CONTROL = ("Cc", "Cs", "Zl", "Zp")  # control characters, surrogates, and separators of lines and paragraphs
_CAMELOT = re.compile(r"0?([1-9]|1[0-2])([AB])", re.IGNORECASE)


def read_tags(path: Path) -> dict[str, str]:
    """Read the tags of an audio file.

    Tags are read from ID3 (versions 1 and 2, in MP3, WAV and AIFF), Vorbis comments (FLAC, OGG, Opus), MP4, ASF (WMA)
    and APEv2. Other files, such as WAV with a RIFF INFO chunk, have the tags that libsndfile reads.

    Args:
        path: path of the file.

    Returns:
        Texts by column. Several genres or artists are separated by `|`. A missing or empty tag is left out. `year` is
        the first number of four digits of the date, `tempo` is a positive number in beats per minute, and `key` is a
        name in `KEYS`, also for keys in Camelot notation (8A). Other values of these three are left out.

    Raises:
        InputError: if the tags cannot be read.
        ModuleNotFoundError: if mutagen is not installed.

    Examples:
        >>> import tempfile, numpy, soundfile
        >>> path = Path(tempfile.mkdtemp()) / "a.wav"
        >>> with soundfile.SoundFile(path, "w", 8000, 1) as file:
        ...     file.title = "Blue"
        ...     file.write(numpy.zeros(8))
        >>> read_tags(path)
        {'title': 'Blue'}
    """
    import mutagen

    with reading("tags", path, "write them again with a tag editor"):
        file = mutagen.File(path)
        if file is None or not file.tags:
            found = _tags_of_libsndfile(path)
        else:
            kind = _kind_of(file.tags)
            found = {column: _values(file.tags, kind, names[kind]) for column, names in _NAMES.items()}
        cells = {column: _as_cell(column, values) for column, values in found.items()}
        return {column: cell for column, cell in cells.items() if cell}


def _kind_of(tags: Any) -> str:
    from mutagen.asf import ASFTags
    from mutagen.id3 import ID3Tags
    from mutagen.mp4 import MP4Tags

    kinds = {"id3": ID3Tags, "mp4": MP4Tags, "asf": ASFTags}
    return next((name for name, kind in kinds.items() if isinstance(tags, kind)), "text")


def _values(tags: Any, kind: str, names: Iterable[str]) -> list[str]:
    """Return the values of the first of the named tags that has any."""
    for name in names:
        found = tags.get(name)
        if found is None:
            continue
        if kind == "id3":
            values = found.genres if name == "TCON" else found.text
        else:
            values = [found] if isinstance(found, str) else list(found)
        texts = [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]
        if texts := [text for text in map(_one_line, texts) if text]:
            return texts
    return []


def _tags_of_libsndfile(path: Path) -> dict[str, list[str]]:
    if path.suffix.lower() not in SUFFIXES:
        return {}
    with soundfile.SoundFile(path) as file:
        names = {"title": "title", "artist": "artist", "album": "album", "genre": "genre", "year": "date"}
        return {column: [_one_line(getattr(file, name))] for column, name in names.items()}


def _one_line(text: str) -> str:
    visible = "".join(" " if unicodedata.category(letter) in _CONTROL else letter for letter in text)
    return " ".join(visible.split())


def _as_cell(column: str, values: list[str]) -> str:
    """Return the text of a table cell, which is empty if the values of the tag have no meaning for the column."""
    first = values[0] if values else ""
    if column == "year":
        found = re.search(r"(?<![0-9])[0-9]{4}(?![0-9])", first)
        return found[0] if found and found[0] != "0000" else ""
    if column == "tempo":
        return _tempo(first)
    if column == "key":
        return _key(first)
    if column == "genre":
        values = [part.strip() for value in values for part in re.split(r"[;|]", value)]
    texts = (value.replace(SEPARATOR, "/") for value in values)
    return SEPARATOR.join(dict.fromkeys(text for text in texts if text))


def _tempo(text: str) -> str:
    """Return a tempo in beats per minute as a number, or an empty text. Editors write 0 for an unknown tempo."""
    found = re.fullmatch(r"([0-9]{1,4}(?:[.,][0-9]{1,9})?)(?:\s*bpm)?", text, re.IGNORECASE)
    value = float(found[1].replace(",", ".")) if found else 0.0
    return f"{value:.12g}" if value > 0 else ""


def _key(text: str) -> str:
    """Return the name of a key in `KEYS`, or an empty text."""
    camelot = _CAMELOT.fullmatch(text)
    if camelot:
        tonic = 7 * (int(camelot[1]) - 8)  # each step is a fifth; 8B is C major
        return KEYS[tonic % 12] if camelot[2] in "Bb" else KEYS[12 + (tonic + 9) % 12]
    number = key_number(text) if text else None
    return "" if number is None else KEYS[number]


def try_tags(path: Path) -> tuple[dict[str, str], str | None]:
    """Return the tags of a file and None, or no tags and the reason if the tags cannot be read."""
    try:
        return read_tags(path), None
    except InputError as error:
        return {}, str(error)
