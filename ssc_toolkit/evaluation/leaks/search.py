"""Search for tested tracks that are also in the pretraining music or in the training set of the probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssc_toolkit.evaluation.leaks.matching import find_matches
from ssc_toolkit.evaluation.leaks.record import EARLIER_VERSION, MAX_HOURS, UNDECODED, TrackRecord

SAME_FILE = "same file"
NEAR_DUPLICATE = "near-duplicate"
MAX_PAIRS = 10_000
"""Maximum number of pairs in a `Leak`."""
SHOWN_PAIRS = 3
"""Number of pairs of each leak that reports and the terminal show."""


@dataclass(frozen=True)
class Leak:
    """Tested tracks that have something in common with the tracks of another set.

    Attributes:
        source: name of the other set, such as "probe training".
        kind: "same file", "near-duplicate", or "same" with the name of a group column.
        tracks: number of tested tracks concerned.
        tested: number of tested tracks.
        pairs: all pairs up to `MAX_PAIRS`, most similar first. A pair is the name of the tested track, the name of the
            other track, and the similarity of their fingerprints from 0 to 1 (1 for the same file). There is one pair
            for each tested track, with the most similar other track. For groups, it is the name of the group, the name
            of a track of this group in the other set, and the number of tested tracks of the group.
        omitted_pairs: number of further pairs.
    """

    source: str
    kind: str
    tracks: int
    tested: int
    pairs: tuple[tuple[str, str, float], ...]
    omitted_pairs: int = 0

    @classmethod
    def of_pairs(cls, source: str, kind: str, tracks: int, tested: int, pairs: list[tuple[str, str, float]]) -> Leak:
        """Return a leak with at most `MAX_PAIRS` of the pairs."""
        return cls(source, kind, tracks, tested, tuple(pairs[:MAX_PAIRS]), max(0, len(pairs) - MAX_PAIRS))

    def describe_shown(self) -> str:
        """Return a text with the number of pairs that are shown, or an empty text if these are all.

        Examples:
            >>> Leak.of_pairs("training set", SAME_FILE, 18, 20, [("a.wav", "b.wav", 1.0)] * 18).describe_shown()
            '3 of 18 shown; all are in report.json'
        """
        if len(self.pairs) <= SHOWN_PAIRS:
            return ""
        listed = f"the first {len(self.pairs)}" if self.omitted_pairs else "all"
        return f"{SHOWN_PAIRS} of {len(self.pairs) + self.omitted_pairs} shown; {listed} are in report.json"

    def describe_pair(self, pair: tuple[str, str, float]) -> str:
        """Return a short text about one of the pairs."""
        first, second, value = pair
        if self.kind == SAME_FILE:
            return f"{first} is {second}"
        if self.kind == NEAR_DUPLICATE:
            return f"{first} and {second}, similarity {value:.2f}"
        return f"{first}, {count_tracks(value)}"

    def describe(self) -> str:
        """Return a short text with the number of tracks and the worst pair."""
        whats = {SAME_FILE: "are also in", NEAR_DUPLICATE: "are near-duplicates of tracks in"}
        what = whats.get(self.kind, f"have the {self.kind} as tracks in")
        return f"{self.tracks} of {self.tested} {what} the {self.source} ({self.describe_pair(self.pairs[0])})"


@dataclass(frozen=True)
class Uncompared:
    """Tracks of a set without fingerprints, whose near-duplicates were not searched for.

    Attributes:
        source: name of the set, such as "pretraining music".
        reason: "undecoded", or "earlier version" for fingerprints of an earlier version of this library.
        tracks: number of such tracks.
        total: number of tracks of the set.
        names: names of such tracks, up to `MAX_PAIRS`.
        is_tested: whether the set is that of the tested tracks.
    """

    source: str
    reason: str
    tracks: int
    total: int
    names: tuple[str, ...]
    is_tested: bool = False

    def describe(self) -> str:
        """Return a short text with the number of tracks and what the user can do."""
        which = self.source if self.is_tested else f"tracks in the {self.source}"
        which = f"{self.tracks} of {self.total} {which}"
        if self.reason == UNDECODED:
            more = ", …" if self.tracks > SHOWN_PAIRS else ""
            return (
                f"{which} could not be decoded and were not compared by sound "
                f"({', '.join(self.names[:SHOWN_PAIRS])}{more})"
            )
        return (
            f"near-duplicates of {which} were not searched for, because their fingerprints are of an earlier version "
            f"(make the run longer to compute them again)"
        )


@dataclass(frozen=True)
class Leaks:
    """Result of `find_leaks`.

    Attributes:
        found: the leaks. Empty if none were found.
        searched: names of the sets that were searched.
        unsearched: names of the sets that have too many hours of audio to search for same files and near-duplicates.
        unknown: names of the sets whose tracks are not known, such as the pretraining music of an old encoder.
        tested: name of the tested tracks.
        uncompared: tracks without fingerprints in the tested set and in the sets that were searched.
    """

    found: tuple[Leak, ...]
    searched: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    tested: str = "test tracks"
    unsearched: tuple[str, ...] = ()
    uncompared: tuple[Uncompared, ...] = ()

    def describe(self) -> str:
        """Return one line with all leaks, the sets without leaks, and the sets that are not known."""
        parts = [leak.describe() for leak in self.found]
        clean = [name for name in self.searched if all(leak.source != name for leak in self.found)]
        whole = [name for name in clean if name not in self.unsearched and not self._is_uncompared(name)]
        if whole:
            parts.append(f"none found in the {' and the '.join(whole)}")
        earlier = {group.source for group in self.uncompared if group.reason == EARLIER_VERSION}
        if partly := [name for name in clean if name in earlier and name not in whole]:
            parts.append(f"no same files or shared groups found in the {' and the '.join(partly)}")
        parts += [group.describe() for group in self.uncompared]
        if self.unsearched:
            names = " and the ".join(self.unsearched)
            parts.append(f"only groups were compared with the {names}, because of more than {MAX_HOURS} hours of audio")
        if self.unknown:
            parts.append(f"unknown for the {' and the '.join(self.unknown)}, whose tracks are not recorded")
        return f"Leaks of {self.tested}: {'; '.join(parts)}."

    def _is_uncompared(self, source: str) -> bool:
        """Return whether no track of a set, or no tested track, has a fingerprint."""
        without: Counter[str] = Counter()
        for group in self.uncompared:
            key = "" if group.is_tested else group.source
            without[key] += group.tracks
            if key in ("", source) and without[key] == group.total:
                return True
        return False

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
                    "omitted_pairs": leak.omitted_pairs,
                }
                for leak in self.found
            ],
            "uncompared": [
                {
                    "source": group.source,
                    "reason": group.reason,
                    "tracks": group.tracks,
                    "total": group.total,
                    "names": list(group.names),
                }
                for group in self.uncompared
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
    uncompared = list(_uncompared(name, tested, is_tested=True))
    for source, record in known.items():
        if record is not tested:
            uncompared += _uncompared(source, record)
    return Leaks(tuple(found), tuple(known), unknown, name, unsearched, tuple(uncompared))


def count_tracks(count: float) -> str:
    """Return a number of tracks as text."""
    return f"{count:.0f} track{'' if count == 1 else 's'}"


def _uncompared(source: str, record: TrackRecord, is_tested: bool = False) -> Iterator[Uncompared]:
    """Yield the tracks without fingerprints for each reason."""
    reasons = record.reasons
    for reason in (UNDECODED, EARLIER_VERSION):
        names = record.names[reasons == reason]
        if len(names):
            shown = tuple(map(str, names[:MAX_PAIRS]))
            yield Uncompared(source, reason, len(names), len(record), shown, is_tested)


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
        yield Leak.of_pairs(source, SAME_FILE, len(copies), len(tested), pairs)
    matches = find_matches(tested.fingerprints, other.fingerprints, *(ids or ()))
    similar = [
        (str(tested.names[row]), str(other.names[item]), round(float(similarity), 3))
        for row, item, similarity in zip(matches.queries, matches.items, matches.similarities, strict=True)
        if row not in copies
    ]
    if similar:
        similar.sort(key=lambda pair: -pair[2])
        yield Leak.of_pairs(source, NEAR_DUPLICATE, len(similar), len(tested), similar)


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
            counts = Counter(str(values[row]) for row in shared).most_common()
            pairs = [(group, examples[group], float(count)) for group, count in counts]
            yield Leak.of_pairs(source, f"same {column}", len(shared), len(tested), pairs)


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
