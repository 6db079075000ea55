"""What a dataset recipe is: the rule that turns a published dataset on disk into tracks, splits and labels."""

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
    """A label column of a recipe.

    Attributes:
        kind: "class" (one name a track), "multi-hot" (any number of names, joined by "|") or "number".
        names: of the classes in their fixed order; of the number itself if it is one.
        mean, std: of a number over the tracks that are meant for development.
    """

    kind: Kind
    names: tuple[str, ...]
    mean: float | None = None
    std: float | None = None


@dataclass(frozen=True)
class Task:
    """One variant of a recipe.

    Attributes:
        labels: label columns by name.
        metrics: names of the metrics that are usually reported.
        source: one line, where the split comes from.
        counts: published numbers of train, valid and test tracks; None if nobody has published any.
        unusable: ids of tracks in the split whose audio is known to be broken.
        rule: what decides the split (such as singers) and its side, where the split is a rule and not a
            list of tracks.
    """

    labels: Mapping[str, LabelColumn]
    metrics: tuple[str, ...]
    source: str
    counts: tuple[int, int, int] | None = None
    unusable: frozenset[str] = frozenset()
    rule: Mapping[str, str] | None = None


@dataclass(frozen=True)
class NeededFile:
    """A file or a set of files that a recipe reads.

    Attributes:
        path: where it lies below the root folder.
        origin: what it is, or where it comes from.
        elsewhere: other places below the root where copies of the dataset have it.
    """

    path: str
    origin: str
    elsewhere: tuple[str, ...] = field(default=())


class Recipe(ABC):
    """A published dataset: what it needs on disk, and how that becomes a list of tracks.

    Attributes:
        name: what users call it.
        variants: names of its tasks, the default first.
    """

    name: str
    variants: tuple[str, ...]

    @abstractmethod
    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        """The files that a variant reads, as they are told to somebody who lacks them."""

    @abstractmethod
    def task(self, variant: str) -> Task:
        """Labels, metrics and published counts of a variant."""

    @abstractmethod
    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        """Every track of the split, whether its audio is on disk or not.

        Returns:
            A row for each track, with `track_id`, `split`, the label columns of the task, `group` if there is
            one, and `audio`, a tuple of paths below the root where the file may lie, the first that
            exists to be taken.

        Raises:
            InputError: if a file is missing or is not what it should be.
        """


@cache
def shipped_list(name: str) -> tuple[str, ...]:
    """Lines of a list that comes with the package; lines that begin with "#" name its source.

    Examples:
        >>> shipped_list("gtzan_genres")[:3]
        ('blues', 'classical', 'country')
    """
    text = (files(__package__) / "lists" / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))


def joined(labels: Iterable[str]) -> str:
    """Cell of a multi-hot column; "|" says that the labels are known and there are none.

    Examples:
        >>> joined(["guitar", "slow"]), joined([])
        ('guitar|slow', '|')
    """
    return SEPARATOR.join(labels) or SEPARATOR


def bucket(text: str, buckets: int) -> int:
    """A number from 0 to `buckets` − 1 that depends on a text alone: its SHA-1, modulo `buckets`.

    Examples:
        >>> bucket("the beatles", 10)
        6
    """
    return int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16) % buckets
