"""Detection of classes that are musical keys, and the MIREX weights of key estimates."""

from __future__ import annotations

from functools import cache

import numpy as np

from ssc_toolkit.data.key_names import KEYS, key_number


def are_keys(names: tuple[str, ...]) -> bool:
    """Return whether all class names are musical keys and at least one name has a mode, such as "minor".

    Examples:
        >>> are_keys(("C", "Am")), are_keys(("A", "B", "C"))
        (True, False)
    """
    return all(key_number(name) is not None for name in names) and any(map(_says_its_mode, names))


def find_unlike_keys(names: tuple[str, ...]) -> list[str]:
    """Return the class names that are not keys, if more than half of the names are keys with a mode.

    Such names prevent the computation of the weighted key score, which requires that all classes are keys.

    Examples:
        >>> find_unlike_keys(("C major", "A minor", "unknown")), find_unlike_keys(("jazz", "rock"))
        (['unknown'], [])
    """
    odd = [name for name in names if key_number(name) is None]
    return odd if sum(map(_says_its_mode, names)) > len(names) / 2 else []


@cache
def compute_key_weights(names: tuple[str, ...]) -> np.ndarray:
    """Compute the MIREX weights of all pairs of keys with `mir_eval.key.weighted_score`.

    The weight is 1 for the same key, 0.5 for an estimate a fifth above the reference (not below), 0.3 for the relative
    key, 0.2 for the parallel key, and 0 for other keys.

    Args:
        names: names of the keys, in any spelling that `key_number` accepts.

    Returns:
        (keys, keys) weights. Rows are reference keys, and columns are estimated keys.

    Examples:
        >>> compute_key_weights(("C major", "G:maj", "Am", "c minor"))[0].tolist()
        [1.0, 0.5, 0.3, 0.2]
        >>> float(compute_key_weights(("C major", "G major"))[1, 0])  # C is a fifth below G
        0.0
    """
    from mir_eval.key import weighted_score

    numbers = map(key_number, names)
    keys = [None if number is None else KEYS[number] for number in numbers]
    return np.array([[weighted_score(reference, estimate) for estimate in keys] for reference in keys])


def _says_its_mode(name: str) -> bool:
    return key_number(name) is not None and "m" in name.lower()
