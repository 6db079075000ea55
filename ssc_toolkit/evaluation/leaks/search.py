"""Search for tested tracks that are also in the pretraining music or in the training set of the probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssc_toolkit.evaluation.leaks.matching import find_matches
from ssc_toolkit.evaluation.leaks.record import MAX_HOURS, TrackRecord

SAME_FILE = "same file"
NEAR_DUPLICATE = "near-duplicate"
_SHOWN = 3  # number of pairs of each kind


@dataclass(frozen=True)
class Leak:
    """Tested tracks that have something in common with the tracks of another set.

    Attributes:
        source: name of the other set, such as "probe training".
        kind: "same file", "near-duplicate", or "same" with the name of a group column.
        tracks: number of tested tracks concerned.
        tested: number of tested tracks.
        pairs: examples, most similar first. Each is the name of the tested track, the name of the other track, and the
            similarity of their fingerprints from 0 to 1 (1 for the same file). For groups, it is the name of the
            group, the name of a track of this group in the other set, and the number of tested tracks of the group.
    """

    source: str
    kind: str
    tracks: int
    tested: int
    pairs: tuple[tuple[str, str, float], ...]

    def describe(self) -> str:
        """Return a short text with the number of tracks and the worst pair."""
        first, second, value = self.pairs[0]
        if self.kind == SAME_FILE:
            what, worst = "are also in", f"{first} is {second}"
        elif self.kind == NEAR_DUPLICATE:
            what, worst = "are near-duplicates of tracks in", f"{first} and {second}, similarity {value:.2f}"
        else:
            what, worst = f"have the {self.kind} as tracks in", f"{first}, {value:.0f} tracks"
        return f"{self.tracks} of {self.tested} {what} the {self.source} ({worst})"


@dataclass(frozen=True)
class Leaks:
    """Result of `find_leaks`.

    Attributes:
        found: the leaks. Empty if none were found.
        searched: names of the sets that were searched.
        unsearched: names of the sets that have too many hours of audio to search for same files and near-duplicates.
        unknown: names of the sets whose tracks are not known, such as the pretraining music of an old encoder.
        tested: name of the tested tracks.
    """

    found: tuple[Leak, ...]
    searched: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    tested: str = "test tracks"
    unsearched: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return one line with all leaks, the sets without leaks, and the sets that are not known."""
        parts = [leak.describe() for leak in self.found]
        clean = [
            name
            for name in self.searched
            if name not in self.unsearched and all(leak.source != name for leak in self.found)
        ]
        if clean:
            parts.append(f"none found in the {' and the '.join(clean)}")
        if self.unsearched:
            names = " and the ".join(self.unsearched)
            parts.append(f"only groups were compared with the {names}, because of more than {MAX_HOURS} hours of audio")
        if self.unknown:
            parts.append(f"unknown for the {' and the '.join(self.unknown)}, whose tracks are not recorded")
        return f"Leaks of {self.tested}: {'; '.join(parts)}."

    def to_config(self) -> dict[str, Any]:
        """Return the leaks as plain data for a JSON report."""
        return {
            "searched": list(self.searched),
            "unsearched": list(self.unsearched),
            "unknown": list(self.unknown),
            "found": [
                {
                    "source": leak.source,
                    "kind": leak.kind,
                    "tracks": leak.tracks,
                    "tested": leak.tested,
                    "pairs": [list(pair) for pair in leak.pairs],
                }
                for leak in self.found
            ],
        }


def find_leaks(
    tested: TrackRecord,
    others: Mapping[str, TrackRecord | None],
    *,
    ranked: Collection[str] = (),
    groups: bool = True,
    name: str = "test tracks",
) -> Leaks:
    """Search for tested tracks that are also in other sets of tracks: same files, near-duplicates and shared groups.

    Two files are the same if their content has the same hash. Two tracks are near-duplicates if their fingerprints are
    similar (see `find_matches`). Groups are compared in the columns that both sets have, such as `artist`. Numbers in
    the column `group` of a saved record are compared only within a published dataset, because other tables number their
    groups independently.

    Args:
        tested: record of the tested tracks.
        others: records of the other sets by name. None for a set whose tracks are not known.
        ranked: names of the sets that are ranked for each tested track. A track with the path of the tested track is
            the tested track itself, which is never ranked, and is therefore no leak.
        groups: whether to compare the groups of ranked sets.
        name: name of the tested tracks for messages.

    Examples:
        >>> from ssc_toolkit.evaluation.leaks import Fingerprints
        >>> nothing = Fingerprints.of_nothing(1)
        >>> def record(name, artist):
        ...     return TrackRecord(np.array([name]), np.array(["5e"]), nothing, {"artist": np.array([artist])})
        >>> leaks = find_leaks(record("a.wav", "Ann"), {"training set": record("b.wav", "Ann"), "pretraining": None})
        >>> [(leak.kind, leak.tracks) for leak in leaks.found], leaks.unknown
        ([('same file', 1), ('same artist', 1)], ('pretraining',))
    """
    known = {name: record for name, record in others.items() if record is not None}
    found: list[Leak] = []
    for source, record in known.items():
        ids = _path_ids(tested, record) if source in ranked else None
        found += _content_leaks(tested, record, source, ids)
        if groups or source not in ranked:
            found += _group_leaks(tested, record, source, ids)
    unknown = tuple(source for source in others if source not in known)
    unsearched = tuple(
        source for source, record in known.items() if not (record.is_searchable and tested.is_searchable)
    )
    return Leaks(tuple(found), tuple(known), unknown, name, unsearched)


Ids = tuple[np.ndarray, np.ndarray] | None
"""Integers of the paths of tested and other tracks. Tracks with the same integer are the same. None: all differ."""


def _path_ids(tested: TrackRecord, other: TrackRecord) -> Ids:
    if tested.paths is None or other.paths is None:
        return None
    _, codes = np.unique(np.concatenate([tested.paths, other.paths]), return_inverse=True)
    return codes[: len(tested)], codes[len(tested) :]


def _content_leaks(tested: TrackRecord, other: TrackRecord, source: str, ids: Ids) -> Iterator[Leak]:
    """Yield the leak of same files, and the leak of near-duplicates among the other tracks."""
    copies = _find_equal(tested.hashes, other.hashes, ids)
    if copies:
        pairs = [(str(tested.names[row]), str(other.names[item]), 1.0) for row, item in copies.items()]
        yield Leak(source, SAME_FILE, len(copies), len(tested), tuple(pairs[:_SHOWN]))
    matches = find_matches(tested.fingerprints, other.fingerprints, *(ids or ()))
    similar = [
        (str(tested.names[row]), str(other.names[item]), round(float(similarity), 3))
        for row, item, similarity in zip(matches.queries, matches.items, matches.similarities, strict=True)
        if row not in copies
    ]
    if similar:
        similar.sort(key=lambda pair: -pair[2])
        yield Leak(source, NEAR_DUPLICATE, len(similar), len(tested), tuple(similar[:_SHOWN]))


def _group_leaks(tested: TrackRecord, other: TrackRecord, source: str, ids: Ids) -> Iterator[Leak]:
    """Yield a leak for each group column in which tested tracks share values with the other tracks."""
    is_same_numbering = other.paths is not None or (tested.dataset != "" and tested.dataset == other.dataset)
    for column, values in tested.groups.items():
        if column not in other.groups:
            continue
        if not is_same_numbering:
            values = np.array(["" if _is_number(value) else value for value in values], dtype=np.str_)
        shared = _find_equal(values, other.groups[column], ids)
        if shared:
            examples = {str(values[row]): str(other.names[item]) for row, item in shared.items()}
            counts = Counter(str(values[row]) for row in shared).most_common(_SHOWN)
            pairs = [(group, examples[group], float(count)) for group, count in counts]
            yield Leak(source, f"same {column}", len(shared), len(tested), tuple(pairs))


def _find_equal(values: np.ndarray, others: np.ndarray, ids: Ids) -> dict[int, int]:
    """Return, for each value that another track has too, the row of the value and the row of the other track.

    Empty texts are unknown values.
    """
    firsts: dict[str, list[int]] = {}  # the first two items of each value that are not the same track
    for item, value in enumerate(others.tolist()):
        items = firsts.setdefault(value, [])
        if not items or (ids is not None and len(items) == 1 and ids[1][item] != ids[1][items[0]]):
            items.append(item)
    found: dict[int, int] = {}
    for row, value in enumerate(values.tolist()):
        items = firsts.get(value, []) if value else []
        first = next((item for item in items if ids is None or ids[0][row] != ids[1][item]), None)
        if first is not None:
            found[row] = first
    return found


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()
