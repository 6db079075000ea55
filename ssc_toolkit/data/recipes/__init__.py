"""Recipes for published datasets: official splits, fixed label lists, and the oddities of the files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ssc_toolkit.data.recipes.assemble import assemble
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, Task
from ssc_toolkit.data.recipes.disk import describe_needs
from ssc_toolkit.data.recipes.emomusic import EmoMusic
from ssc_toolkit.data.recipes.fma import FMA
from ssc_toolkit.data.recipes.giantsteps import GiantSteps
from ssc_toolkit.data.recipes.gtzan import GTZAN
from ssc_toolkit.data.recipes.magnatagatune import MagnaTagATune
from ssc_toolkit.data.recipes.medleydb import MedleyDB
from ssc_toolkit.data.recipes.mtg_jamendo import MTGJamendo
from ssc_toolkit.data.recipes.nsynth import NSynth
from ssc_toolkit.data.recipes.vocalset import VocalSet
from ssc_toolkit.errors import InputError

RECIPES: dict[str, Recipe] = {
    "magnatagatune": MagnaTagATune(),
    "mtg_jamendo": MTGJamendo(),
    "gtzan": GTZAN(),
    "giantsteps": GiantSteps(),
    "nsynth": NSynth(),
    "vocalset": VocalSet(),
    "medleydb": MedleyDB(),
    "emomusic": EmoMusic(),
    "fma": FMA(),
}
"""The recipes by name."""

__all__ = ["RECIPES", "LabelColumn", "NeededFile", "Recipe", "Task", "dataset_tracks", "describe_dataset"]


def dataset_tracks(name: str, root: str | Path, variant: str | None = None) -> pd.DataFrame:
    """Track table of a published dataset that lies on disk.

    Args:
        name: of the dataset, a key of `RECIPES`.
        root: its folder; `describe_dataset` says what it must hold.
        variant: which of its tasks; None takes the first.

    Returns:
        A row for each track whose audio is there, ordered by split (train, valid, test) and then by id:
        `path` (absolute), `track_id`, `split`, `group` (artist, singer or instrument, where the dataset
        has one) and the label columns. Several labels in a cell are separated by "|"; a lone "|" means
        that the labels are known and there are none; NaN is an unknown label.

        `tracks.attrs["dataset"]` is a plain dict: name, variant, for each label column its kind and the
        class names in their fixed order, the metrics usually reported, a hash of the whole split (files
        that are missing here included), a hash of the class names, and where the split comes from.

        Files that are missing are counted in a warning, as are classes that are left without a track.

    Raises:
        InputError: for an unknown name or variant, for missing annotation files (the message lists what
            must lie where), for malformed ones, and if no audio is found.

    Examples:
        >>> import tempfile, pathlib
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> (root / "genres" / "blues").mkdir(parents=True)
        >>> (root / "genres" / "blues" / "blues.00029.wav").touch()
        >>> tracks = dataset_tracks("gtzan", root)
        >>> tracks[["track_id", "split", "genre"]].values.tolist()
        [['blues.00029', 'train', 'blues']]
        >>> tracks.attrs["dataset"]["labels"]["genre"]["names"][:3]
        ['blues', 'classical', 'country']
    """
    recipe = _recipe(name)
    if variant is None:
        variant = recipe.variants[0]
    if variant not in recipe.variants:
        raise InputError(f"variant: expected one of {', '.join(recipe.variants)} for {name}, got {variant!r}")
    return assemble(recipe, Path(root), variant)


def describe_dataset(name: str) -> str:
    """What a dataset offers and needs: its variants with their splits, labels and metrics, and its files.

    Args:
        name: of the dataset, a key of `RECIPES`.

    Raises:
        InputError: for an unknown name.

    Examples:
        >>> print(describe_dataset("gtzan").splitlines()[1])
          filtered: 443/197/290 tracks; genre (10 classes); accuracy
    """
    recipe = _recipe(name)
    lines = [f"{name}: {'variants' if len(recipe.variants) > 1 else 'variant'} (train/valid/test; labels; metrics)"]
    for variant in recipe.variants:
        task = recipe.task(variant)
        counts = "/".join(map(str, task.counts)) + " tracks" if task.counts else "no published counts"
        labels = ", ".join(
            column if labels.kind == "number" else f"{column} ({len(labels.names)} classes)"
            for column, labels in task.labels.items()
        )
        lines.append(f"  {variant}: {counts}; {labels}; {', '.join(task.metrics)}")
    needs = dict.fromkeys(need for variant in recipe.variants for need in recipe.needs(variant))
    return "\n".join([*lines, describe_needs(tuple(needs)).replace("It must", "Its root folder must")])


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise InputError(f"dataset: expected one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]
