"""Conditions under which test tracks are evaluated: clean audio, or a corruption at a severity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ssc_toolkit.augmentations import Augmentation, Chain, corruption, semisupcon_chain
from ssc_toolkit.data.store.reader import open_store_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.evaluation.results import CLEAN
from ssc_toolkit.files import make_writable_folder
from ssc_toolkit.options.corruptions import corruption_parts, expand_corruptions
from ssc_toolkit.options.names import CHAIN
from ssc_toolkit.paths import user_path


@dataclass(frozen=True)
class Condition:
    """A corruption of the test tracks at one severity, or clean audio.

    Attributes:
        corruption: name of the corruption, names of several joined by "+", or "clean".
        severity: severity of the corruption, from 0 to 2.5. It is 0 for clean audio.
        transform: transform that corrupts the audio. None for clean audio.
    """

    corruption: str = CLEAN
    severity: float = 0.0
    transform: Augmentation | FixedCorruption | None = None

    @property
    def name(self) -> str:
        """Name of the condition for table headers, such as "reverb 0.5" or "clean"."""
        return name_condition(self.corruption, self.severity)


def name_condition(corruption: str, severity: float) -> str:
    """Return a name for a corruption at a severity, such as "reverb 0.5", or "clean" for clean audio."""
    return corruption if corruption == CLEAN else f"{corruption} {severity:g}"


def conditions_for(
    corruptions: Sequence[str], severities: Sequence[float], sample_rate: int, omit: Sequence[str] = ()
) -> list[Condition]:
    """Return the conditions of a comparison: clean audio, then every corruption at every severity above 0.

    Args:
        corruptions: names that `ssc_toolkit.augmentations.corruption` accepts, or "chain" for `semisupcon_chain`. Names
            joined by "+", such as "chain+reverb", are applied in this order. "unseen" stands for the corruptions that
            are not stages of the chain, "chain+unseen" for the chain followed by one of them, and "tiers" for the chain
            followed by the first of them, the first two, and so on.
        severities: severities from 0 to 2.5. Severity 0 adds no condition.
        sample_rate: sample rate, in hertz, of the audio to corrupt.
        omit: names of the transforms to omit from the chain, such as "pitch_shift".

    Raises:
        InputError: if a corruption or a name in `omit` is unknown, if a severity is out of range, or if MP3 does not
            support the sample rate.

    Examples:
        >>> [condition.name for condition in conditions_for(("reverb",), (0, 0.5, 1), 16000)]
        ['clean', 'reverb 0.5', 'reverb 1']
        >>> [condition.name for condition in conditions_for(("chain+reverb",), (1,), 16000)]
        ['clean', 'chain+reverb 1']
    """
    found = [Condition()]
    for name in expand_corruptions(corruptions):
        for severity in sorted({float(severity) for severity in severities}):
            try:
                made = _make_transform(name, sample_rate, severity, omit)
            except ValueError as error:
                raise InputError(str(error)) from error
            if severity > 0:
                found.append(Condition(name, severity, made))
    return found


def _make_transform(name: str, sample_rate: int, severity: float, omit: Sequence[str]) -> Augmentation:
    """Return the transform of a corruption, or a chain of the transforms whose names are joined in `name`."""
    made = [
        semisupcon_chain(sample_rate, severity, omit) if part == CHAIN else corruption(part, sample_rate, severity)
        for part in corruption_parts(name)
    ]
    return made[0] if len(made) == 1 else Chain(made)


def fixed_conditions(
    conditions: Iterable[Condition],
    sample_rate: int,
    tracks: TrackTable,
    seed: int = 0,
    folder: str | Path | None = None,
    *,
    replace: bool = False,
) -> list[Condition]:
    """Return conditions whose random values are fixed, so that all models are scored on the same corrupted audio.

    Each random transform is replaced by a `FixedCorruption`, which contains the random values for each test track.

    Args:
        conditions: the conditions. Conditions with a `FixedCorruption`, and clean audio, are returned unchanged.
        sample_rate: sample rate of the transforms in hertz.
        tracks: table of all tracks, with the column `split`. Random values are drawn for the test set only.
        seed: seed of the random values.
        folder: folder with a file CORRUPTION-SEVERITY.pt for each condition. Existing files are loaded, and missing
            files are written. None stores nothing.
        replace: whether to draw new random values for all conditions and to replace the files in the folder.

    Returns:
        List of the conditions, in the same order.

    Raises:
        InputError: if a stored corruption has other transforms than its condition, or no random values for a test
            track.
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
    """Return the test tracks of a table, with names from `track_names` in the column `track_id`.

    The names are computed from the whole table, because they can depend on the common folder of all tracks.
    """
    return tracks.assign(track_id=track_names(tracks)).select(tracks["split"] == "test")


def _loaded(path: Path, transform: Augmentation, sample_rate: int, test: TrackTable) -> FixedCorruption:
    stored = FixedCorruption.load(path)
    stored.draw_for(test)  # raises an error if a track has no draw
    open_store_of(test, stored.sample_rate)  # raises an error if the store of the tracks has another sample rate
    if stored.sample_rate == sample_rate and _stages(stored.transform) != _stages(transform):
        raise InputError(
            f"draws: expected {_stages(transform)}, got {_stages(stored.transform)} in {path}; "
            "use the omit that the file was made with, or another folder"
        )
    return stored


def _stages(transform: Augmentation) -> str:
    """Return the class name of a transform, followed by the names of its nested transforms in parentheses."""
    members = getattr(transform, "transforms", [])
    name = type(transform).__name__
    return f"{name}({', '.join(map(_stages, members))})" if len(members) else name
