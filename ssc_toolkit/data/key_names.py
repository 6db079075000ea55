"""Names of musical keys."""

from __future__ import annotations

import re

TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
MODES = ("major", "minor")
KEYS = tuple(f"{tonic} {mode}" for mode in MODES for tonic in TONICS)
"""Names of the 24 keys. The index of a key is the pitch class of its tonic, plus 12 for minor keys."""

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_KEY = re.compile(
    r"(?P<tonic>[A-G])(?P<accidental>[#♯b♭]|[\s-](?i:sharp|flat))?"
    r"(?:[\s:_-]*(?:(?P<major>(?i:maj(?:or)?))|(?P<minor>(?i:min(?:or)?)|m)))?"
)


def key_number(name: str) -> int | None:
    """Return the number of a key, which is its index in `KEYS`. Return None if `name` is not a key.

    The tonic is a letter, optionally followed by #, ♯, b, ♭, sharp or flat. The mode is major, maj, minor, min or m,
    optionally after a space, colon, hyphen or underscore. An uppercase letter without a mode is a major key. A
    lowercase letter requires a mode other than m, so "am" is not a key.

    Examples:
        >>> names = ("C major", "Db:min", "Am", "c♯ minor", "E flat maj", "Cb", "am", "blues")
        >>> [number if number is None else KEYS[number] for number in map(key_number, names)]
        ['C major', 'Db minor', 'A minor', 'Db minor', 'Eb major', 'B major', None, None]
    """
    name = name.strip()
    found = _KEY.fullmatch(name[:1].upper() + name[1:])
    if found is None or (name[0].islower() and not re.search(r"(?i)m[ai][jn]", name)):
        return None
    accidental = (found["accidental"] or "").strip(" -").lower()
    return (_NATURALS[found["tonic"]] + _ACCIDENTALS[accidental]) % 12 + (12 if found["minor"] else 0)
