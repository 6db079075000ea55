"""GTZAN dataset: ten genres with a hundred 30 s excerpts each (Tzanetakis and Cook 2002), with the filtered split.

Sturm (2013) found exact copies, wrong labels and distorted files. The split of Kereliuk, Sturm and Larsen (2015) omits
them and contains 930 of the 1,000 excerpts. No known artist is in two sets.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ssc_toolkit.data.recipes.base import SPLITS, LabelColumn, NeededFile, Recipe, RecipeTask, read_shipped_list

_FOLDERS = ("genres/", "", "genres_original/", "Data/genres_original/", "gtzan_genre/genres/")


class GTZAN(Recipe):
    """Recipe of GTZAN. The label is one of ten genres."""

    name = "gtzan"
    variants = ("filtered",)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            NeededFile(
                "genres/<genre>/<genre>.<number>.wav",
                "the excerpts as .wav or .au; the original host is offline, but copies exist",
            ),
        )

    def task(self, variant: str) -> RecipeTask:
        return RecipeTask(
            labels={"genre": LabelColumn("class", read_shipped_list("gtzan_genres"))},
            metrics=("accuracy",),
            source="fault-filtered lists of Kereliuk, Sturm and Larsen (2015)",
            counts=(443, 197, 290),
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        rows = [_track(name, split) for split in SPLITS for name in read_shipped_list(f"gtzan_{split}")]
        return pd.DataFrame(rows)


def _track(name: str, split: str) -> dict[str, object]:
    genre = name.partition(".")[0]
    places = tuple(f"{folder}{genre}/{name}{suffix}" for folder in _FOLDERS for suffix in (".wav", ".au"))
    return {"track_id": name, "split": split, "genre": genre, "audio": places}
