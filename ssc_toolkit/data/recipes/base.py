"""Base class of dataset recipes, which convert a published dataset on disk to tracks, splits and labels."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

import pandas as pd

from ssc_toolkit.data.labels import SEPARATOR, Kind

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class LabelColumn:
    """Label column of a recipe.

    Attributes:
        kind: "class" (one name for each track), "multi-hot" (any number of names, joined by "|") or "number".
        names: class names in their fixed order; for a number, the name of the number.
        mean: mean of a number over the development tracks.
        std: standard deviation of a number over the development tracks.
    """

    kind: Kind
    names: tuple[str, ...]
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class RecipeTask:
    """Labels, split and metrics of one variant of a recipe.

    Attributes:
        labels: label columns by name.
        metrics: names of the metrics that are usually reported.
        source: source of the split, in one line.
        counts: published numbers of train, valid and test tracks; None if there are no published numbers.
        unusable: ids of tracks in the split whose audio is known to be broken.
        rule: split by condition (such as a singer), if the split is defined by a rule and not by a list of tracks.
    """

    labels: Mapping[str, LabelColumn]
    metrics: tuple[str, ...]
    source: str
    counts: tuple[int, int, int] | None = None
    unusable: frozenset[str] = frozenset()
    rule: Mapping[str, str] | None = None


@dataclass(frozen=True)
class NeededFile:
    """File or set of files that a recipe reads.

    Attributes:
        path: path below the root folder.
        origin: description or source of the file.
        elsewhere: other paths below the root folder where copies of the dataset have the file.
    """

    path: str
    origin: str
    elsewhere: tuple[str, ...] = field(default=())


class Recipe(ABC):
    """Recipe of a published dataset: the files that it needs, and their conversion to a list of tracks.

    Attributes:
        name: name of the dataset on the command line and in `RECIPES`.
        variants: names of its variants, the default first.
    """

    name: str
    variants: tuple[str, ...]

    @abstractmethod
    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        """Return the files that a variant reads, with descriptions for users who lack them."""

    @abstractmethod
    def task(self, variant: str) -> RecipeTask:
        """Return the labels, metrics and published counts of a variant."""

    @abstractmethod
    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        """Return all tracks of the split, whether or not their audio is on disk.

        Returns:
            A table with one row for each track: `track_id`, `split`, the label columns of the task, `group` if there is
            one, and `audio`, a tuple of candidate paths below the root. The first path that exists is used.

        Raises:
            InputError: if a file is missing or malformed.
        """


@cache
def read_shipped_list(name: str) -> tuple[str, ...]:
    """Return the lines of a list that comes with the package, without the lines that begin with "#" (its source).

    Examples:
        >>> read_shipped_list("gtzan_genres")[:3]
        ('blues', 'classical', 'country')
    """
    text = (files(__package__) / "lists" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def join_labels(labels: Iterable[str]) -> str:
    """Return the cell of a multi-hot column; "|" means that the labels are known and there are none.

    Examples:
        >>> join_labels(["guitar", "slow"]), join_labels([])
        ('guitar|slow', '|')
    """
    return SEPARATOR.join(labels) or SEPARATOR


def choose_bucket(text: str, buckets: int) -> int:
    """Return a number from 0 to `buckets` − 1 that depends only on a text: its SHA-1 hash modulo `buckets`.

    Examples:
        >>> choose_bucket("the beatles", 10)
        6
    """
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16) % buckets
