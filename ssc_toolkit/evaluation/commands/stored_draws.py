"""Corruptions kept in a folder, a file for each kind and severity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.corrupted import split_under_test
from ssc_toolkit.evaluation.draws import FixedCorruption
from ssc_toolkit.files import writable_folder
from ssc_toolkit.paths import user_path


def stored_corruptions(
    folder: str | Path | None,
    transforms: Mapping[str, Mapping[float, Augmentation]],
    sample_rate: int,
    tracks: pd.DataFrame,
    seed: int,
    *,
    replace: bool,
) -> dict[str, dict[float, FixedCorruption]]:
    """Corruptions of the test tracks: those that a folder holds, and those drawn now, which are put there.

    Args:
        folder: with a file NAME-SEVERITY.pt for each; None to store nothing.
        transforms: what to draw for, by name and severity.
        sample_rate: hertz that the transforms are made for.
        tracks: the table; only the test split is drawn for.
        seed: of the draws.
        replace: draw anew, whatever the folder holds.

    Returns:
        Corruptions by name and severity.

    Raises:
        InputError: if a stored corruption is another than the one asked for, or lacks a track.
    """
    test = split_under_test(tracks)
    place = None if folder is None else writable_folder(user_path(folder, "draws"), "draws")
    found: dict[str, dict[float, FixedCorruption]] = {}
    for name, by_severity in transforms.items():
        found[name] = {}
        for severity, transform in by_severity.items():
            path = None if place is None else place / f"{name}-{severity:g}.pt"
            if path is not None and path.exists() and not replace:
                found[name][severity] = _loaded(path, transform, sample_rate, test)
                continue
            found[name][severity] = FixedCorruption.draw(transform, sample_rate, test, seed)
            if path is not None:
                found[name][severity].save(path)
    return found


def _loaded(path: Path, transform: Augmentation, sample_rate: int, test: pd.DataFrame) -> FixedCorruption:
    stored = FixedCorruption.load(path)
    stored.draw_for(test)  # a track without a draw is an error now
    if stored.sample_rate == sample_rate and _stages(stored.transform) != _stages(transform):
        raise InputError(
            f"draws: {path} holds {_stages(stored.transform)} instead of {_stages(transform)}; "
            "give the same omit as then, or another folder"
        )
    return stored


def _stages(transform: Augmentation) -> str:
    """The kinds of transform in a corruption, in order."""
    members = getattr(transform, "transforms", [])
    name = type(transform).__name__
    return f"{name}({', '.join(map(_stages, members))})" if len(members) else name
