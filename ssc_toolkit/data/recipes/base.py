"""Base class of recipes, which read the tracks, splits and labels of a published dataset from disk."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ssc_toolkit.data.cells import SEPARATOR, Kind
from ssc_toolkit.errors import InputError

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class LabelColumn:
    """Label column of the track table of a published dataset.

    Attributes:
        kind: "class" (one class for each track), "multi-hot" (any number of classes, joined by "|" in a cell) or
            "number".
        names: class names in their fixed order. For the kind "number", the name of the column.
        mean: mean over the tracks of the training and validation sets, for the kind "number" only.
        std: standard deviation over the tracks of the training and validation sets, for the kind "number" only.
    """

    kind: Kind
    names: tuple[str, ...]
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class RecipeTask:
    """Labels, splits and metrics of one variant of a published dataset.

    Attributes:
        labels: label columns by name.
        metrics: names of the metrics that are usually reported.
        source: source of the splits, in one line.
        counts: published numbers of training, validation and test tracks. None if no numbers are published.
        unusable: ids of tracks whose audio is known to be broken. They are left out.
        rule: dictionary from a property of tracks (such as a singer) to the split, if the splits are not a list of
            tracks.
    """

    labels: Mapping[str, LabelColumn]
    metrics: tuple[str, ...]
    source: str
    counts: tuple[int, int, int] | None = None
    unusable: frozenset[str] = frozenset()
    rule: Mapping[str, str] | None = None


@dataclass(frozen=True)
class NeededFile:
    """File or folder of a published dataset that its recipe reads.

    Attributes:
        path: path relative to the folder of the dataset.
        origin: description of the file, or where to download it.
        elsewhere: other paths where some copies of the dataset have the file.
    """

    path: str
    origin: str
    elsewhere: tuple[str, ...] = field(default=())


class Recipe(ABC):
    """Base class of recipes. A recipe reads the tracks, splits and labels of a published dataset from disk.

    Attributes:
        name: name of the dataset on the command line and in `RECIPES`.
        variants: names of the variants of the dataset. The first one is the default.
    """

    name: str
    variants: tuple[str, ...]

    @abstractmethod
    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        """Return the files that must exist for a variant of the dataset, with a description of each file."""

    @abstractmethod
    def task(self, variant: str) -> RecipeTask:
        """Return the labels, splits and metrics of a variant of the dataset."""

    @abstractmethod
    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        """Return all tracks of a variant of the dataset, also those without an audio file on disk.

        Args:
            root: folder of the dataset.
            variant: name of the variant.

        Returns:
            A table with one row for each track and the columns `track_id`, `split`, the label columns, `audio` and, for
            some datasets, `group`. A cell of `audio` is a tuple of possible paths of the audio file, relative to
            `root`. The first path that exists is used.

        Raises:
            InputError: if a file is missing or malformed.
        """

    def find(self, root: Path, variant: str, path: str) -> Path:
        """Return the path of a file or folder that a variant of the dataset requires.

        Args:
            root: folder of the dataset.
            variant: name of the variant.
            path: the attribute `path` of one of the files in `needs(variant)`.

        Raises:
            InputError: if the file does not exist. The message lists all files that the recipe needs.
        """
        found = self.find_optional(root, variant, path)
        if found is None:
            raise InputError(f"{self.name}: there is no {path} below {root}. {describe_needs(self.needs(variant))}")
        return found

    def find_optional(self, root: Path, variant: str, path: str) -> Path | None:
        """Return the result of `find`, or None if the file does not exist."""
        needed = next(need for need in self.needs(variant) if need.path == path)
        places = (root / place for place in (needed.path, *needed.elsewhere))
        return next((place for place in places if place.exists()), None)


def describe_needs(needs: Iterable[NeededFile]) -> str:
    """Return a text that lists the files that the folder of a dataset must contain, one per line."""
    listed = list(needs)
    width = max(len(need.path) for need in listed)
    return "It must contain\n" + "\n".join(f"  {need.path:<{width}}  {need.origin}" for need in listed)


@cache
def read_shipped_list(name: str) -> tuple[str, ...]:
    """Return the lines of a text file that is part of this package, such as a list of class names.

    Lines that begin with "#" name the source of the list and are omitted.

    Examples:
        >>> read_shipped_list("gtzan_genres")[:3]
        ('blues', 'classical', 'country')
    """
    text = (files(__package__) / "lists" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def join_labels(labels: Iterable[str]) -> str:
    """Join labels by "|" to the text of a table cell. For no labels, the text is "|".

    Examples:
        >>> join_labels(["guitar", "slow"]), join_labels([])
        ('guitar|slow', '|')
    """
    return SEPARATOR.join(labels) or SEPARATOR


def choose_bucket(text: str, buckets: int) -> int:
    """Return the SHA-1 hash of a text modulo `buckets`, a number from 0 to `buckets` - 1.

    Examples:
        >>> choose_bucket("the beatles", 10)
        6
    """
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16) % buckets
