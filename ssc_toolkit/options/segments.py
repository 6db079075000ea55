"""Options of the views of a training: the tracks that they come from, and their positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from ssc_toolkit.checks import check_fraction, check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices
from ssc_toolkit.options.schema import suggest_name

SAME_LABEL = "same_label"
_WEIGHT = "weight"
_WHOLE = ("mixture", "silence_threshold_db")
"""Names of the options that apply to all parts of a mixture."""


@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """Tracks and positions of the views of an item.

    Args:
        sampler: "adjacent": views follow one another without a gap, as in the SemiSupCon paper. "same": all views are
            the same segment, and differ by augmentation only. "random": positions are random; the gaps limit the
            distance of views. "same_label": the first view is from the track, and the others are from other tracks
            with the same label in `column`, all at random positions.
        min_gap_seconds: minimum time from the end of a view to the start of the next one, at least 0, for "random".
            None: `overlap` is the limit.
        max_gap_seconds: maximum time from the end of a view to the start of the next one, at least the minimum, for
            "random". None: no maximum.
        overlap: maximum fraction of a view by which views may overlap, from 0 to 1, for "random" without
            `min_gap_seconds`.
        column: column with the label that the tracks of "same_label" have in common, such as the artist. A track that
            shares no label with another one gives all views itself. So do additional unlabeled tracks without the
            column.
        mixture: samplers with weights, instead of `sampler`. One of them is chosen at random for each item. Each is a
            dictionary with `sampler`, its options and its `weight` (1 by default), such as `{sampler: same_label,
            column: artist, weight: 0.2}`.
        silence_threshold_db: level below which half a second of a track is silent, in dB relative to its loudest half
            second, such as -40. Views avoid such stretches. The tracks must come from a store. None: silence is not
            avoided.

    Examples:
        >>> options = SegmentOptions(mixture=({"sampler": "adjacent", "weight": 3}, {"sampler": "same"}))
        >>> [(part.sampler, weight) for part, weight in options.parts]
        [('adjacent', 3), ('same', 1.0)]
    """

    sampler: Literal["adjacent", "same", "random", "same_label"] = "adjacent"
    min_gap_seconds: float | None = None
    max_gap_seconds: float | None = None
    overlap: float = 1.0
    column: str | None = None
    mixture: tuple[dict[str, Any], ...] = ()
    silence_threshold_db: float | None = None

    @property
    def parts(self) -> list[tuple[SegmentOptions, float]]:
        """Options of each sampler, and its weight.

        Raises:
            InputError: if a part of the mixture is not a dictionary, or contains an unknown option.
        """
        if not self.mixture:
            return [(self, 1.0)]
        return [_read_part(number, content) for number, content in enumerate(self.mixture, 1)]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the samplers "same_label"."""
        found = [part.column for part, _ in self.parts if part.sampler == SAME_LABEL]
        return list(dict.fromkeys(column for column in found if column is not None))

    def check(self) -> None:
        """Raise InputError for a value out of range, or for an option that the sampler does not use."""
        if self.silence_threshold_db is not None:
            check_number("segments.silence_threshold_db", self.silence_threshold_db, -200, -1)
        if self.mixture:
            self._check_mixture()
            return
        check_choices(self, "segments.")
        for name, least in (("min_gap_seconds", 0.0), ("max_gap_seconds", self.min_gap_seconds or 0.0)):
            value = getattr(self, name)
            if value is None:
                continue
            check_number(f"segments.{name}", value, least)
            self._check_used(name, "random")
        if check_fraction("segments.overlap", self.overlap) != 1:
            self._check_used("overlap", "random")
            if self.min_gap_seconds is not None:
                raise InputError("segments.overlap: expected no segments.min_gap_seconds as well, got both")
        if self.column is not None:
            self._check_used("column", SAME_LABEL)
        elif self.sampler == SAME_LABEL:
            raise InputError(
                "segments.column: expected the name of a column with segments.sampler=same_label, got none"
            )

    def _check_used(self, name: str, sampler: str) -> None:
        if self.sampler != sampler:
            raise InputError(f"segments.{name}: expected segments.sampler={sampler}, got {self.sampler}")

    def _check_mixture(self) -> None:
        for field in fields(self):
            if field.name not in _WHOLE and (value := getattr(self, field.name)) != field.default:
                raise InputError(
                    f"segments.{field.name}: expected no value with segments.mixture, whose parts have their own, got "
                    f"{value}"
                )
        weights = []
        for number, (part, weight) in enumerate(self.parts, 1):
            try:
                part.check()
                weights.append(check_number(_WEIGHT, weight, 0))
            except InputError as error:
                message = str(error).removeprefix("segments.")
                raise InputError(f"segments.mixture: part {number}: {message}") from error
        if not sum(weights) > 0:
            raise InputError(f"segments.mixture: expected weights with a positive sum, got {weights}")


def _read_part(number: int, content: Any) -> tuple[SegmentOptions, float]:
    """Return the options and the weight of a part of a mixture, whose position is `number`."""
    if not isinstance(content, Mapping):
        raise InputError(f"segments.mixture: part {number}: expected options by name, got {content!r:.100}")
    known = [field.name for field in fields(SegmentOptions) if field.name not in _WHOLE]
    for name in content:
        if name not in (*known, _WEIGHT):
            hint = suggest_name(str(name), [*known, _WEIGHT])
            raise InputError(
                f"segments.mixture: part {number}: expected {', '.join((*known, _WEIGHT))}, got {name!r:.100}{hint}"
            )
    own = dict(content)
    weight = own.pop(_WEIGHT, 1.0)
    return SegmentOptions(**own), weight
