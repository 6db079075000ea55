"""Options of the batches of a training: additional unlabeled sources, and balanced classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from ssc_toolkit.checks import check_integer, check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices
from ssc_toolkit.options.schema import suggest_name
from ssc_toolkit.options.tracks import TrackSource, as_source


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Selection of the labeled tracks of a batch.

    Args:
        sampler: "random": labeled tracks are drawn at random, each once before any is drawn again. "balanced": the same
            number of tracks is drawn from each of several classes, so that rare classes are as frequent as others.
            Unlabeled tracks are drawn at random in both cases.
        items_per_class: number of tracks of each selected class in the batch of all processes, for "balanced". It must
            divide the number of labeled tracks of a batch, `labeled_fraction * batch_size`.
    """

    sampler: Literal["random", "balanced"] = "random"
    items_per_class: int = 2

    @property
    def balanced_items(self) -> int | None:
        """Number of tracks of each selected class, or None if batches are not balanced."""
        return self.items_per_class if self.sampler == "balanced" else None

    def check(self) -> None:
        """Raise InputError if a value is out of range, or has no effect."""
        check_choices(self, "batches.")
        check_integer("batches.items_per_class", self.items_per_class, 1)
        if self.sampler != "balanced" and self.items_per_class != BatchOptions.items_per_class:
            raise InputError(f"batches.items_per_class: expected batches.sampler=balanced, got {self.sampler}")

    def check_counts(self, has_labels: bool, labeled_fraction: float, batch_size: int) -> None:
        """Raise InputError unless a batch has a number of labeled tracks that can be balanced."""
        if self.sampler != "balanced":
            return
        if not has_labels:
            raise InputError("batches.sampler: expected labels as well with balanced, got none")
        count = labeled_fraction * batch_size
        if count < self.items_per_class or abs(count - round(count)) > 1e-9 or round(count) % self.items_per_class:
            raise InputError(
                "batches.items_per_class: expected a divisor of the number of labeled tracks in a batch, "
                f"labeled_fraction * batch_size = {count:g}, got {self.items_per_class}"
            )


@dataclass(frozen=True, kw_only=True)
class UnlabeledSource:
    """One or several sources of additional unlabeled tracks.

    Args:
        tracks: tracks in any form that `tracks` of `pretrain` accepts, or a list of sources: each is the same, or a
            dictionary with the options here.
        root: as for `tracks`.
        variant: as for `tracks`.
        proportion: fraction of the unlabeled tracks of the batches that comes from this source, above 0 and up to 1.
            Give it for all sources or for none. If the sum is below 1, the unlabeled tracks of `tracks` give the rest.
            If it is 1, they are not used. None: unlabeled tracks are drawn from all sources at random.

    Examples:
        >>> PARTS = [{"tracks": "fma.csv", "proportion": 0.7}, {"tracks": "mtat.csv", "proportion": 0.3}]
        >>> [source.tracks for source in read_unlabeled(PARTS)]
        ['fma.csv', 'mtat.csv']
    """

    tracks: list[dict[str, Any] | str] | str
    root: str | None = None
    variant: str | None = None
    proportion: float | None = None

    @property
    def source(self) -> TrackSource:
        """Track source, of which this object is the proportion too."""
        return TrackSource(tracks=str(self.tracks), root=self.root, variant=self.variant)


Unlabeled = str | TrackSource | UnlabeledSource | Sequence[Any] | None
"""Type of the option `unlabeled`."""


def read_unlabeled(unlabeled: Unlabeled) -> list[UnlabeledSource]:
    """Return the sources in the option `unlabeled`, without a check of their values.

    Raises:
        InputError: if a source in a list has an unknown option or no tracks.
    """
    if unlabeled is None:
        return []
    if isinstance(unlabeled, UnlabeledSource) and isinstance(unlabeled.tracks, list):
        for name in ("root", "variant", "proportion"):
            if (value := getattr(unlabeled, name)) is not None:
                raise InputError(f"unlabeled.{name}: expected it in each source of the list, got {value}")
        unlabeled = unlabeled.tracks
    if isinstance(unlabeled, str | TrackSource | UnlabeledSource):
        return [_read_source("unlabeled", unlabeled)]
    if not len(unlabeled):
        raise InputError("unlabeled: expected at least one source, got an empty list")
    return [_read_source(f"unlabeled[{number}]", entry) for number, entry in enumerate(unlabeled, 1)]


def name_unlabeled(sources: Sequence[UnlabeledSource]) -> dict[str, TrackSource]:
    """Return track sources by their names: "unlabeled" for a single one, otherwise "unlabeled[1]" and so on."""
    if len(sources) == 1:
        return {"unlabeled": sources[0].source}
    return {f"unlabeled[{number}]": one.source for number, one in enumerate(sources, 1)}


def read_proportions(unlabeled: Unlabeled) -> tuple[float, ...]:
    """Return the proportions of the sources in the option `unlabeled`, or an empty tuple without proportions."""
    found = [source.proportion for source in read_unlabeled(unlabeled)]
    return tuple(proportion for proportion in found if proportion is not None)


def check_proportions(unlabeled: Unlabeled) -> None:
    """Raise InputError unless all sources have a proportion or none has, and their sum is at most 1."""
    sources, found = read_unlabeled(unlabeled), read_proportions(unlabeled)
    if not found:
        return
    if len(found) < len(sources):
        raise InputError(
            f"unlabeled: expected a proportion for all {len(sources)} sources or for none, got {len(found)}"
        )
    for proportion in found:
        if check_number("unlabeled: proportion", proportion, 0, 1) == 0:
            raise InputError("unlabeled: proportion: expected a number above 0, got 0")
    if sum(found) > 1 + 1e-9:
        raise InputError(f"unlabeled: expected proportions with a sum of at most 1, got {sum(found):g}")


def _read_source(name: str, entry: Any) -> UnlabeledSource:
    if isinstance(entry, UnlabeledSource):
        return entry
    if isinstance(entry, str | TrackSource):
        source = as_source(entry)
        return UnlabeledSource(tracks=source.tracks, root=source.root, variant=source.variant)
    known = [field.name for field in fields(UnlabeledSource)]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("tracks"), str):
        raise InputError(f"{name}: expected tracks, or a dictionary with tracks, got {entry!r:.100}")
    for option, value in entry.items():
        if option not in known:
            hint = suggest_name(str(option), known)
            raise InputError(f"{name}: expected {', '.join(known)}, got {option!r:.100}{hint}")
        if option in ("root", "variant") and not isinstance(value, str | None):
            raise InputError(f"{name}.{option}: expected text, got {value!r:.100}")
    return UnlabeledSource(**entry)
