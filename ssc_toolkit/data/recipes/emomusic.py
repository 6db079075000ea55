"""EmoMusic dataset: arousal and valence of 744 excerpts of 45 s (Soleymani et al. 2013).

The test set is the evaluation set of the dataset. The SHA-1 hash of the artist's name, in ASCII letters, assigns each
other song to the training or validation set (Castellon, Donahue and Liang 2021).
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from ssc_toolkit.csv_files import read_columns
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, choose_bucket
from ssc_toolkit.errors import make_malformed_error

_HOST = "from https://cvml.unige.ch/databases/emoMusic"
_SONGS, _RATINGS = "annotations/songs_info.csv", "annotations/static_annotations.csv"
_PART = "Mediaeval 2013 set"


class EmoMusic(Recipe):
    """Recipe of EmoMusic. The labels are arousal and valence, numbers from 1 to 9."""

    name = "emomusic"
    variants = ("emotion",)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            NeededFile(_SONGS, f"annotations.tar.gz {_HOST}", elsewhere=("songs_info.csv",)),
            NeededFile(_RATINGS, f"annotations.tar.gz {_HOST}", elsewhere=("static_annotations.csv",)),
            NeededFile("clips_45seconds", f"<song_id>.mp3 files, clips_45sec.tar.gz {_HOST}"),
        )

    def task(self, variant: str) -> RecipeTask:
        return RecipeTask(
            labels={
                "arousal": LabelColumn("number", ("arousal",), mean=4.756063, std=1.386010),
                "valence": LabelColumn("number", ("valence",), mean=4.973865, std=1.254618),
            },
            metrics=("r2",),
            source="test: MediaEval 2013's evaluation set; train and valid by artist as in Castellon et al. (2021)",
            counts=(504, 115, 125),
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        songs, ratings = self.find(root, variant, _SONGS), self.find(root, variant, _RATINGS)
        known = _ratings(ratings)
        rows = []
        for line, cells in read_columns(songs, ",", ("song_id", "Artist", _PART)):
            if cells[_PART] not in ("development", "evaluation"):
                raise make_malformed_error(
                    songs, line, f"'development' or 'evaluation' in column {_PART!r}", cells[_PART]
                )
            song = cells["song_id"]
            arousal, valence = known.get(song, (math.nan, math.nan))
            split = "test" if cells[_PART] == "evaluation" else _side(cells["Artist"])
            rows.append((song, split, cells["Artist"], arousal, valence, _places(song)))
        return pd.DataFrame(rows, columns=["track_id", "split", "group", "arousal", "valence", "audio"])


def _ratings(path: Path) -> dict[str, tuple[float, float]]:
    ratings = {}
    for line, cells in read_columns(path, ",", ("song_id", "mean_arousal", "mean_valence")):
        try:
            ratings[cells["song_id"]] = float(cells["mean_arousal"]), float(cells["mean_valence"])
        except ValueError:
            raise make_malformed_error(
                path, line, "numbers", f"{cells['mean_arousal']}, {cells['mean_valence']}"
            ) from None
    return ratings


def _side(artist: str) -> str:
    plain = "".join(sign for sign in artist.lower() if sign.isascii() and (sign.isalpha() or sign.isspace()))
    return "train" if choose_bucket(" ".join(plain.split()), 10) < 8 else "valid"


def _places(song: str) -> tuple[str, ...]:
    return tuple(f"{folder}{song}{suffix}" for folder in ("clips_45seconds/", "") for suffix in (".mp3", ".wav"))
