"""MTG-Jamendo dataset: 55,525 whole tracks with genre, instrument and mood tags (Bogdanov et al. 2019).

The splits are those of split-0, the first of five official assignments. No artist is in two splits. In the annotation
files, each tag of a track has its own column, so rows differ in length.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path, PurePosixPath

import pandas as pd

from ssc_toolkit.csv_files import read_text, split_rows
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, join_labels, read_shipped_list
from ssc_toolkit.errors import make_malformed_error

logger = logging.getLogger(__name__)

_REPOSITORY = "https://github.com/MTG/mtg-jamendo-dataset"
_FOLDER = "data/splits/split-0"
_FILES = {
    "top50": "autotagging_top50tags",
    "genre": "autotagging_genre",
    "instrument": "autotagging_instrument",
    "mood": "autotagging_moodtheme",
}
_COUNTS = {
    "top50": (32136, 10888, 11356),
    "genre": (32572, 11043, 11479),
    "instrument": (14395, 5466, 5115),
    "mood": (9949, 3802, 4231),
}
_PARTS = {"train": "train", "validation": "valid", "test": "test"}
_HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]
_AUDIO_FOLDERS = tuple(
    place + quality for place in ("", "raw_30s/", "autotagging_moodtheme/") for quality in ("", "audio/", "audio-low/")
)


def _split_file(name: str) -> NeededFile:
    return NeededFile(
        f"{_FOLDER}/{name}",
        f"from {_REPOSITORY}",
        elsewhere=(f"mtg-jamendo-dataset/{_FOLDER}/{name}", f"splits/split-0/{name}", name),
    )


class MTGJamendo(Recipe):
    """Recipe of MTG-Jamendo. The labels are the 50 most frequent tags, or the tags of one category."""

    name = "mtg_jamendo"
    variants = tuple(_FILES)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        subset = "autotagging_moodtheme" if variant == "mood" else "raw_30s"
        audio = f"the tracks as .mp3 or .low.mp3: {subset} by scripts/download/download.py of {_REPOSITORY}"
        return (
            *(_split_file(f"{_FILES[variant]}-{part}.tsv") for part in _PARTS),
            NeededFile("00/ ... 99/", audio),
        )

    def task(self, variant: str) -> RecipeTask:
        return RecipeTask(
            labels={"tags": LabelColumn("multi-hot", read_shipped_list(f"mtg_jamendo_{variant}"))},
            metrics=("roc_auc", "average_precision"),
            source=f"split-0 of {_REPOSITORY}",
            counts=_COUNTS[variant],
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        names = set(read_shipped_list(f"mtg_jamendo_{variant}"))
        rows: list[dict[str, object]] = []
        unknown: set[str] = set()
        for part, split in _PARTS.items():
            path = self.find(root, variant, f"{_FOLDER}/{_FILES[variant]}-{part}.tsv")
            for cells in _read(path):
                tags = {tag.strip() for tag in cells[5:] if tag.strip()}
                unknown |= tags - names
                rows.append(_track(cells, split, sorted(tags & names)))
        if unknown:
            logger.warning(
                "mtg_jamendo %s: left out tags that are not in its list: %s", variant, ", ".join(sorted(unknown))
            )
        return pd.DataFrame(rows, columns=["track_id", "split", "group", "tags", "audio"])


def _read(path: Path) -> list[list[str]]:
    lines = split_rows(io.StringIO(read_text(path)), "\t", quoted=False)
    _, header = next(lines, (1, []))
    if header[: len(_HEADER)] != _HEADER:
        raise make_malformed_error(path, 1, "the header " + " ".join(_HEADER), " ".join(header))
    rows = []
    for line, cells in lines:
        if len(cells) < len(_HEADER) or not cells[3].endswith(".mp3"):
            expected = "six or more cells, the fourth a path of an .mp3 file"
            raise make_malformed_error(path, line, expected, "\t".join(cells)[:80])
        rows.append(cells)
    return rows


def _track(cells: list[str], split: str, tags: list[str]) -> dict[str, object]:
    low = str(PurePosixPath(cells[3]).with_suffix(".low.mp3"))
    return {
        "track_id": cells[0],
        "split": split,
        "group": cells[1],
        "tags": join_labels(tags),
        "audio": tuple(folder + path for folder in _AUDIO_FOLDERS for path in (cells[3], low)),
    }
