"""Conditions of the test tracks: clean audio, and corruptions at several severities."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.evaluation.results import CLEAN
from ssc_toolkit.files import make_writable_folder
from ssc_toolkit.paths import user_path

CHAIN = "chain"
SEVERITIES = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Condition:
    """A corruption of the test tracks at one severity, or clean audio.

    Attributes:
        corruption: name of the corruption, or "clean".
        severity: severity of the corruption; 0 for clean audio.
        transform: the corruption at this severity; None for clean audio.
    """

    corruption: str = CLEAN
    severity: float = 0.0
    transform: Augmentation | FixedCorruption | None = None

    @property
    def name(self) -> str:
        """Name of the condition, as shown in the header of a table."""
        return name_condition(self.corruption, self.severity)


def name_condition(corruption: str, severity: float) -> str:
    """Return the name of a condition, such as "reverb 0.5" or "clean"."""
    return corruption if corruption == CLEAN else f"{corruption} {severity:g}"


def conditions_for(
    corruptions: Sequence[str], severities: Sequence[float], sample_rate: int, omit: Sequence[str] = ()
) -> list[Condition]:
    """Return the conditions of a comparison: clean audio, then every corruption at every severity above 0.

    Args:
        corruptions: "chain", or names that `ssc_toolkit.augmentations.corruption` accepts.
        severities: severities from 0 to 2.5.
        sample_rate: sample rate of the corruptions in hertz.
        omit: stages of the chain to omit.

    Raises:
        InputError: for an unknown corruption or stage, or a severity out of range.

    Examples:
        >>> [condition.name for condition in conditions_for(("reverb",), (0, 0.5, 1), 16000)]
        ['clean', 'reverb 0.5', 'reverb 1']
    """
    found = [Condition()]
    for name in dict.fromkeys(corruptions):
        if name not in (CHAIN, *CORRUPTIONS):
            raise InputError(f"corruptions: expected {CHAIN} or one of {', '.join(CORRUPTIONS)}, got {name!r}")
        for severity in sorted({float(severity) for severity in severities}):
            try:
                made = (
                    semisupcon_chain(sample_rate, severity, omit)
                    if name == CHAIN
                    else corruption(name, sample_rate, severity)
                )
            except ValueError as error:
                raise InputError(str(error)) from error
            if severity > 0:
                found.append(Condition(name, severity, made))
    return found


def fixed_conditions(
    conditions: Iterable[Condition],
    sample_rate: int,
    tracks: TrackTable,
    seed: int = 0,
    folder: str | Path | None = None,
    *,
    replace: bool = False,
) -> list[Condition]:
    """Return the conditions with fixed random draws, so that all models are scored on the same corrupted audio.

    Each transform is replaced by a `FixedCorruption`, which holds one draw for each test track.

    Args:
        conditions: the conditions; those that have a `FixedCorruption` are returned as they are.
        sample_rate: sample rate of the transforms in hertz.
        tracks: table of all tracks; corruptions are drawn for the test set.
        seed: seed of the draws.
        folder: folder with a file NAME-SEVERITY.pt for each condition. Corruptions in the folder are used; missing ones
            are drawn and added. None to store nothing.
        replace: draw all corruptions again and replace the files in the folder.

    Raises:
        InputError: if a stored corruption was drawn for another transform than that of its condition, or has no
            draw for a test track.
    """
    test = split_under_test(tracks)
    place = None if folder is None else make_writable_folder(user_path(folder, "draws"), "draws")
    found = []
    for condition in conditions:
        fixed = condition.transform
        if isinstance(fixed, Augmentation):
            path = None if place is None else place / f"{condition.corruption}-{condition.severity:g}.pt"
            if path is not None and path.exists() and not replace:
                fixed = _loaded(path, fixed, sample_rate, test)
            else:
                fixed = FixedCorruption.draw(fixed, sample_rate, test, seed)
                if path is not None:
                    fixed.save(path)
        found.append(dataclasses.replace(condition, transform=fixed))
    return found


def split_under_test(tracks: TrackTable) -> TrackTable:
    """Return the test set of a table, with the name of each track in the whole table as its `track_id`."""
    return tracks.assign(track_id=track_names(tracks)).select(tracks["split"] == "test")


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
