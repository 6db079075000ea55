"""Creation of the track table of a published dataset from the tracks that its recipe reads."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from ssc_toolkit.data.recipes.audio_folder import AudioFolder
from ssc_toolkit.data.recipes.base import SEPARATOR, SPLITS, LabelColumn, Recipe, RecipeTask, describe_needs
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.hashing import lines_hash

logger = logging.getLogger(__name__)

_SHOWN = 5  # maximum number of files or classes in a message


def assemble(recipe: Recipe, root: Path, variant: str) -> TrackTable:
    """Return the track table of a variant of a published dataset in the folder `root`.

    The docstring of `dataset_tracks` describes the table.
    """
    if not root.is_dir():
        raise InputError(f"root: there is no folder {root} for {recipe.name}. {describe_needs(recipe.needs(variant))}")
    root = root.absolute()
    task = recipe.task(variant)
    listed = _in_order(recipe.tracks(root, variant), recipe.name)
    usable = _without_unusable(listed, task, f"{recipe.name} {variant}")
    audio = AudioFolder(root)
    found = [audio.first(candidates) for candidates in usable["audio"]]
    missing = [candidates[0] for candidates, path in zip(usable["audio"], found, strict=True) if path is None]
    if len(missing) == len(usable):
        such_as = f" (expected {len(missing)}, such as {missing[0]})" if missing else ""
        raise InputError(
            f"{recipe.name}: none of its audio files is below {root}{such_as}. " + describe_needs(recipe.needs(variant))
        )
    tracks = usable[[path is not None for path in found]].reset_index(drop=True)
    tracks["path"] = [str(root / path) for path in found if path is not None]
    _warn_of_missing(f"{recipe.name} {variant}", task, listed, tracks, missing)
    _warn_of_absent_classes(f"{recipe.name} {variant}", task, tracks)
    wanted = ["path", "track_id", "split", *(["group"] if "group" in tracks else []), *task.labels]
    return TrackTable(tracks[wanted], dataset=_description(recipe, variant, task, listed))


def _in_order(listed: pd.DataFrame, name: str) -> pd.DataFrame:
    rank = listed["split"].map({split: number for number, split in enumerate(SPLITS)})
    ordered = listed.assign(rank=rank).sort_values(["rank", "track_id"], ignore_index=True)
    repeated = ordered["track_id"][ordered["track_id"].duplicated()]
    if len(repeated):
        raise InputError(f"{name}: the annotations list {repeated.iloc[0]!r} more than once; expected each track once")
    return ordered


def _without_unusable(listed: pd.DataFrame, task: RecipeTask, title: str) -> pd.DataFrame:
    broken = listed["track_id"].isin(list(task.unusable))
    if broken.any():
        logger.info(
            "%s: left out %d files that are known to be broken: %s",
            title,
            broken.sum(),
            ", ".join(listed["track_id"][broken]),
        )
    return listed[~broken]


def _warn_of_missing(
    title: str, task: RecipeTask, listed: pd.DataFrame, tracks: pd.DataFrame, missing: list[str]
) -> None:
    in_lists, on_disk = _counts(listed), _counts(tracks)
    expected = in_lists if task.counts is None else dict(zip(SPLITS, task.counts, strict=True))
    if not missing and in_lists == expected:
        return
    counted = ", ".join(f"{split} {on_disk[split]} of {expected[split]}" for split in SPLITS)
    reason = "the annotations differ from the published number of tracks"
    if missing:
        reason = f"{len(missing)} audio files are missing, such as {', '.join(missing[:_SHOWN])}"
    logger.warning("%s: %s; %s", title, counted, reason)


def _warn_of_absent_classes(title: str, task: RecipeTask, tracks: pd.DataFrame) -> None:
    parts = []
    for column, labels in task.labels.items():
        for split in SPLITS if labels.kind != "number" else ():
            present = _present(tracks.loc[tracks["split"] == split, column])
            absent = [name for name in labels.names if name not in present]
            if absent:
                shown = ", ".join(absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
                parts.append(f"{split} has no track of {len(absent)} of {len(labels.names)} ({shown})")
    if parts:
        logger.warning("%s: some classes have no track: %s", title, "; ".join(parts))


def _present(cells: Iterable[Any]) -> set[str]:
    return {name for cell in cells if isinstance(cell, str) for name in cell.split(SEPARATOR)}


def _counts(tracks: pd.DataFrame) -> dict[str, int]:
    return {split: int((tracks["split"] == split).sum()) for split in SPLITS}


def _description(recipe: Recipe, variant: str, task: RecipeTask, listed: pd.DataFrame) -> dict[str, Any]:
    sides = task.rule if task.rule is not None else dict(zip(listed["track_id"], listed["split"], strict=True))
    names = [name for labels in task.labels.values() for name in labels.names]
    return {
        "name": recipe.name,
        "variant": variant,
        "labels": {column: _as_plain(labels) for column, labels in task.labels.items()},
        "metrics": list(task.metrics),
        "split_hash": lines_hash(sorted(f"{name}\t{split}" for name, split in sides.items())),
        "labels_hash": lines_hash(names),
        "source": task.source,
    }


def _as_plain(labels: LabelColumn) -> dict[str, Any]:
    plain: dict[str, Any] = {"kind": labels.kind, "names": list(labels.names)}
    if labels.mean is not None:
        plain |= {"mean": labels.mean, "std": labels.std}
    return plain
