"""Names of musical keys, and the MIREX weights of key estimates."""

from __future__ import annotations

import re
from functools import cache

import numpy as np

_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_TONICS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B")
_ACCIDENTALS = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
_KEY = re.compile(
    r"(?P<tonic>[A-G])(?P<accidental>[#♯b♭]|[\s-](?i:sharp|flat))?"
    r"(?:[\s:_-]*(?:(?P<major>(?i:maj(?:or)?))|(?P<minor>(?i:min(?:or)?)|m)))?"
)


def key_of(name: str) -> str | None:
    """Return the name of a key as mir_eval spells it, or None if the text is not a key.

    The tonic is a letter, optionally followed by #, ♯, b, ♭, sharp or flat. The mode is major, maj, minor, min or m,
    optionally after a space, colon, hyphen or underscore. An uppercase letter without a mode is major. A lowercase
    letter needs a mode longer than m.

    Examples:
        >>> [key_of(name) for name in ("C major", "Db:min", "Am", "c♯ minor", "E flat maj", "Cb", "am", "blues")]
        ['C major', 'C# minor', 'A minor', 'C# minor', 'Eb major', 'B major', None, None]
    """
    name = name.strip()
    found = _KEY.fullmatch(name[:1].upper() + name[1:])
    if found is None or (name[0].islower() and not re.search(r"(?i)m[ai][jn]", name)):
        return None
    accidental = (found["accidental"] or "").strip(" -").lower()
    semitone = _SEMITONES[found["tonic"]] + _ACCIDENTALS[accidental]
    return f"{_TONICS[semitone % 12]} {'minor' if found['minor'] else 'major'}"


def are_keys(names: tuple[str, ...]) -> bool:
    """Return whether all classes are keys and at least one of them has a mode.

    Examples:
        >>> are_keys(("C", "Am")), are_keys(("A", "B", "C"))
        (True, False)
    """
    return all(map(key_of, names)) and any(map(_says_its_mode, names))


def unlike_keys(names: tuple[str, ...]) -> list[str]:
    """Return the classes that are not keys, if more than half of the classes are keys with a mode.

    Because of these classes, there is no weighted key score.

    Examples:
        >>> unlike_keys(("C major", "A minor", "unknown")), unlike_keys(("jazz", "rock"))
        (['unknown'], [])
    """
    odd = [name for name in names if key_of(name) is None]
    return odd if sum(map(_says_its_mode, names)) > len(names) / 2 else []


@cache
def key_weights(names: tuple[str, ...]) -> np.ndarray:
    """Compute the MIREX weights of keys (reference, estimate) with `mir_eval.key.weighted_score`.

    The weight is 1 for the same key, 0.5 for an estimate a fifth above the reference (not below), 0.3 for the relative
    key, and 0.2 for the parallel key.

    Args:
        names: names of the keys, in any spelling that `key_of` accepts.

    Examples:
        >>> key_weights(("C major", "G:maj", "Am", "c minor"))[0].tolist()
        [1.0, 0.5, 0.3, 0.2]
        >>> float(key_weights(("C major", "G major"))[1, 0])  # C is a fifth below G
        0.0
    """
    from mir_eval.key import weighted_score

    keys = [key_of(name) for name in names]
    return np.array([[weighted_score(reference, estimate) for estimate in keys] for reference in keys])


def _says_its_mode(name: str) -> bool:
    return key_of(name) is not None and "m" in name.lower()
