"""Corruptions stored in a folder, with one file for each corruption and severity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.corrupted import split_under_test
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.files import writable_folder
from ssc_toolkit.paths import user_path


def stored_corruptions(
    folder: str | Path | None,
    transforms: Mapping[str, Mapping[float, Augmentation]],
    sample_rate: int,
    tracks: TrackTable,
    seed: int,
    *,
    replace: bool,
) -> dict[str, dict[float, FixedCorruption]]:
    """Load the corruptions of the test tracks from a folder; draw missing corruptions and store them there.

    Args:
        folder: folder with a file NAME-SEVERITY.pt for each corruption; None to store nothing.
        transforms: transforms by name and severity.
        sample_rate: sample rate of the transforms in hertz.
        tracks: table of the tracks; corruptions are drawn for the test set.
        seed: seed of the draws.
        replace: draw all corruptions again and replace the files in the folder.

    Returns:
        Corruptions by name and severity.

    Raises:
        InputError: if a stored corruption differs from the requested one, or has no draw for a track.
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


def _loaded(path: Path, transform: Augmentation, sample_rate: int, test: TrackTable) -> FixedCorruption:
    stored = FixedCorruption.load(path)
    stored.draw_for(test)  # fail early if a track has no draw
    if stored.sample_rate == sample_rate and _stages(stored.transform) != _stages(transform):
        raise InputError(
            f"draws: expected {_stages(transform)}, got {_stages(stored.transform)} in {path}; "
            "use the omit that the file was made with, or another folder"
        )
    return stored


def _stages(transform: Augmentation) -> str:
    """Return the class names of the transforms in a corruption, in order."""
    members = getattr(transform, "transforms", [])
    name = type(transform).__name__
    return f"{name}({', '.join(map(_stages, members))})" if len(members) else name
