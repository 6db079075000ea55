"""Recipes, which convert published datasets on disk to track tables with official splits and fixed class names."""

from __future__ import annotations

from pathlib import Path

from ssc_toolkit.checks import check_choice
from ssc_toolkit.data.recipes.assemble import assemble
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, describe_needs
from ssc_toolkit.data.recipes.emomusic import EmoMusic
from ssc_toolkit.data.recipes.fma import FMA
from ssc_toolkit.data.recipes.giantsteps import GiantSteps
from ssc_toolkit.data.recipes.gtzan import GTZAN
from ssc_toolkit.data.recipes.magnatagatune import MagnaTagATune
from ssc_toolkit.data.recipes.medleydb import MedleyDB
from ssc_toolkit.data.recipes.mtg_jamendo import MTGJamendo
from ssc_toolkit.data.recipes.nsynth import NSynth
from ssc_toolkit.data.recipes.vocalset import VocalSet
from ssc_toolkit.data.track_table import TrackTable
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
"""Recipes for published datasets, by the name of the dataset."""

__all__ = ["RECIPES", "LabelColumn", "NeededFile", "Recipe", "RecipeTask", "dataset_tracks", "describe_dataset"]


def dataset_tracks(name: str, root: str | Path, variant: str | None = None) -> TrackTable:
    """Return the track table of a published dataset on disk.

    Args:
        name: name of the dataset, a key of `RECIPES`.
        root: folder of the dataset. `describe_dataset` lists the files that it must contain.
        variant: variant of the dataset, which determines its labels and splits. By default, its first variant.

    Returns:
        A table with one row for each track whose audio file exists, sorted by split (train, valid, test) and then by
        id. Its columns are `path` (absolute), `track_id`, `split`, the label columns and, for some datasets, `group`
        (artist, singer or instrument). Several labels in a cell are separated by "|". A cell that contains only "|"
        means that the track is known to have no label. NaN means that the label is unknown.

        The attribute `dataset` of the table is a dictionary of metadata. It contains the name and variant, the kind and
        the ordered class names of each label column, the metrics that are usually reported, a hash of the splits of all
        tracks (including tracks without an audio file), a hash of the class names, and the source of the splits.

        Warnings give the number of missing files, and name classes without a track.

    Raises:
        InputError: if the name or the variant is unknown, if annotation files are missing (the message lists them) or
            malformed, or if no audio file is found.

    Examples:
        >>> import tempfile, pathlib
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> (root / "genres" / "blues").mkdir(parents=True)
        >>> (root / "genres" / "blues" / "blues.00029.wav").touch()
        >>> tracks = dataset_tracks("gtzan", root)
        >>> tracks.frame[["track_id", "split", "genre"]].values.tolist()
        [['blues.00029', 'train', 'blues']]
        >>> tracks.dataset["labels"]["genre"]["names"][:3]
        ['blues', 'classical', 'country']
    """
    recipe = _recipe(name)
    if variant is None:
        variant = recipe.variants[0]
    if variant not in recipe.variants:
        raise InputError(f"variant: expected one of {', '.join(recipe.variants)} for {name}, got {variant!r}")
    return assemble(recipe, Path(root), variant)


def describe_dataset(name: str) -> str:
    """Return a text that describes the variants of a dataset and lists the files that its folder must contain.

    A variant is described by the sizes of its splits, its labels and its metrics.

    Args:
        name: name of the dataset, a key of `RECIPES`.

    Raises:
        InputError: if the name is unknown.

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
    return "\n".join([*lines, describe_needs(needs).replace("It must", "Its root folder must")])


def _recipe(name: str) -> Recipe:
    check_choice("dataset", name, RECIPES)
    return RECIPES[name]
