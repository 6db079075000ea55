"""Names of the corruptions of an evaluation: single corruptions, the augmentation chain, and sequences of them."""

from __future__ import annotations

from collections.abc import Iterable

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import CHAIN, CORRUPTIONS, STAGES
from ssc_toolkit.options.schema import suggest_name

JOIN = "+"
"""Text between the names of corruptions that are applied one after another, as in `chain+reverb`."""
UNSEEN = CORRUPTIONS[len(STAGES) :]
"""Names of the corruptions that are not stages of the augmentation chain."""
TIERS = "tiers"
"""Name for the sequences that begin with the augmentation chain and add the unseen corruptions one after another."""
CHAIN_AND_UNSEEN = "chain+unseen"
"""Name for the sequences of the augmentation chain and one unseen corruption."""

_GROUPS = {
    "unseen": UNSEEN,
    CHAIN_AND_UNSEEN: tuple(JOIN.join((CHAIN, name)) for name in UNSEEN),
    TIERS: tuple(JOIN.join((CHAIN, *UNSEEN[: number + 1])) for number in range(len(UNSEEN))),
}
"""Names that stand for several corruptions."""


def corruption_parts(name: str) -> tuple[str, ...]:
    """Return the names of the corruptions that are applied one after another for a name such as `chain+reverb`.

    Raises:
        InputError: if a part is neither "chain" nor the name of a single corruption, or if it occurs twice.

    Examples:
        >>> corruption_parts("chain+reverb+mp3")
        ('chain', 'reverb', 'mp3')
    """
    parts = tuple(name.split(JOIN))
    known = (CHAIN, *CORRUPTIONS)
    for part in parts:
        if part not in known:
            whole = f" in {name!r}" if len(parts) > 1 else ""
            names = (*known, *_GROUPS)
            raise InputError(
                f"corruptions: expected some of {', '.join(names)}, or names joined by {JOIN}, got {part!r}{whole}"
                f"{suggest_name(part, names)}"
            )
    if len(set(parts)) < len(parts):
        raise InputError(f"corruptions: expected different names in a sequence, got {name!r}")
    return parts


def expand_corruptions(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of single corruptions and sequences, in which names of groups are replaced by their members.

    Raises:
        InputError: as for `corruption_parts`.

    Examples:
        >>> expand_corruptions(["chain", "tiers"])[:3]
        ('chain', 'chain+time_stretch', 'chain+time_stretch+splice_out')
        >>> expand_corruptions(["chain+unseen"])[-1]
        'chain+mp3'
    """
    found = dict.fromkeys(one for name in names for one in _GROUPS.get(name, (name,)))
    for name in found:
        corruption_parts(name)
    return tuple(found)
