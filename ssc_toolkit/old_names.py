"""Old names of arguments and options, which are needed to read files of earlier versions."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ENCODER_ARGUMENTS = {"lowest_hz": "min_hz", "highest_hz": "max_hz", "minimum_samples": "min_samples"}
"""New names by old names of arguments in `config.json` of saved encoders."""

OPTIONS = {
    "minimum_shared": "min_shared",
    "most_skipped": "max_unusable",
    "clips": "audio_clips",
    "workers": "threads",
    "database_root": "database.root",
    "monitor": "validation.labels",
    "logs.measure_every": "validation.every",
    "unlabeled_root": "unlabeled.root",
    "unlabeled_variant": "unlabeled.variant",
}
"""New names by old names of options in config files, and in the settings of a training run."""

OLD_WINDOW_POOLINGS = {"mean+std": "mean_std"}
"""New names by old names of the poolings of windows."""

OPTION_VALUES = {"window_pooling": OLD_WINDOW_POOLINGS}
"""New values by old values of options in config files, by the name of the option."""

SAMPLER_STATE = {"items_and_shares": "settings_hash"}
"""New names by old names of entries in the state of a batch sampler."""


def with_new_names(
    content: Mapping[str, Any], names: Mapping[str, str], known: Collection[str] | None = None
) -> dict[str, Any]:
    """Return values by name with old names replaced by new names, in the same order.

    Args:
        content: values by name, from a file of any version.
        names: new names by old name.
        known: names that are accepted. If given, an old name is replaced only if it is not accepted and the new name
            is.

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
