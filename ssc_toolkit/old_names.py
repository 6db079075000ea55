"""Names in files of earlier versions, by which such files can still be read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ENCODER_ARGUMENTS = {"lowest_hz": "min_hz", "highest_hz": "max_hz", "minimum_samples": "min_samples"}
"""Arguments in `config.json` of saved encoders."""

OPTIONS = {
    "minimum_shared": "min_shared",
    "most_skipped": "max_unusable",
    "database_root": "database.root",
    "unlabeled_root": "unlabeled.root",
    "unlabeled_variant": "unlabeled.variant",
}
"""Options in config files, and in the settings of a training run."""

SAMPLER_STATE = {"items_and_shares": "settings_hash"}
"""Entries of the state of a batch sampler."""


def with_new_names(
    content: Mapping[str, Any], names: Mapping[str, str], known: Collection[str] | None = None
) -> dict[str, Any]:
    """Return the content of a file with new names in place of old ones, in the same order.

    Args:
        content: values by name.
        names: new names by old name.
        known: if given, a name is only changed if the old one is not known here and the new one is.

    Examples:
        >>> with_new_names({"n_mels": 64, "highest_hz": 5000}, ENCODER_ARGUMENTS)
        {'n_mels': 64, 'max_hz': 5000}
    """

    def renamed(name: str) -> str:
        new = names.get(name, name)
        if new in content or (known is not None and (name in known or new not in known)):
            return name
        return new

    return {renamed(name): value for name, value in content.items()}
