"""FMA dataset: 30 s clips with a root genre, in three nested subsets (Defferrard et al. 2017).

The splits are the official ones. No artist is in two splits. Clips that have no audio, last only one or two seconds,
or are reported as distorted are left out. The wiki and the issues of the FMA project list them.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from ssc_toolkit.csv_files import split_rows
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, read_shipped_list
from ssc_toolkit.errors import InputError, make_malformed_error

_HOST = "https://os.unil.cloud.switch.ch/fma"
_TRACKS = "fma_metadata/tracks.csv"
_SIZES = ("small", "medium", "large")
_COUNTS = {"small": (6400, 800, 800), "medium": (19922, 2505, 2573), "large": (84353, 10958, 11263)}
_PARTS = {"training": "train", "validation": "valid", "test": "test"}
_COLUMNS = {
    ("artist", "id"): "group",
    ("set", "split"): "part",
    ("set", "subset"): "size",
    ("track", "genre_top"): "genre",
}
_NO_AUDIO = (
    1486,
    5574,
    65753,
    80391,
    98558,
    98559,
    98560,
    98571,
    99134,
    105247,
    108925,
    126981,
    127336,
    133297,
    143992,
)
_SHORT = (98565, 98566, 98567, 98568, 98569, 108924)
_DISTORTED = (107535, 48949, 44374)
_BROKEN = {
    "small": (98565, 98567, 98569, 99134, 108925, 133297),
    "medium": _NO_AUDIO + _SHORT + _DISTORTED,
    "large": _NO_AUDIO + _SHORT + _DISTORTED,
}


class FMA(Recipe):
    """Recipe of FMA. The label is one of 8 root genres (subset small) or 16 root genres (subsets medium and large)."""

    name = "fma"
    variants = _SIZES

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            NeededFile(_TRACKS, f"from {_HOST}/fma_metadata.zip", elsewhere=("tracks.csv",)),
            NeededFile(f"fma_{variant}/000/ ...", f"the clips as .mp3, from {_HOST}/fma_{variant}.zip"),
        )

    def task(self, variant: str) -> RecipeTask:
        return RecipeTask(
            labels={
                "genre": LabelColumn(
                    "class", read_shipped_list("fma_small_genres" if variant == "small" else "fma_genres")
                )
            },
            metrics=("accuracy",),
            source="official split of fma_metadata/tracks.csv",
            counts=_COUNTS[variant],
            unusable=frozenset(map(_track_id, _BROKEN[variant])),
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        path = self.find(root, variant, _TRACKS)
        table = _read(path)
        sizes = _SIZES[: _SIZES.index(variant) + 1]
        _check(path, table, "part", set(_PARTS))
        _check(path, table, "size", set(_SIZES))
        table = table[table["size"].isin(sizes)]
        _check(path, table, "genre", {"", *self.task(variant).labels["genre"].names})
        # Archives of larger subsets contain the clips of smaller subsets. fma_full has whole tracks and no clips.
        folders = (*(f"fma_{size}/" for size in _SIZES[_SIZES.index(variant) :]), "")
        ids = [_track_id(int(number)) for number in table.index]
        return pd.DataFrame(
            {
                "track_id": ids,
                "split": table["part"].map(_PARTS).to_numpy(),
                "group": table["group"].to_numpy(),
                "genre": table["genre"].where(table["genre"] != "").to_numpy(),
                "audio": [tuple(f"{folder}{name[:3]}/{name}.mp3" for folder in folders) for name in ids],
            }
        )


def _track_id(number: int) -> str:
    return f"{number:06d}"


def _read(path: Path) -> pd.DataFrame:
    """Read the file tracks.csv of FMA, and return the four columns that are needed, indexed by track number.

    The file begins with two rows of column names and one row that contains the name of the index.
    """
    heads = _first_rows(path, 3)
    names = list(zip(heads[0], heads[1], strict=False))
    missing = [f"({group}, {name})" for group, name in _COLUMNS if (group, name) not in names]
    if missing:
        raise make_malformed_error(path, 1, f"two rows of column names with {missing[0]}", ",".join(heads[0])[:80])
    if heads[2][:1] != ["track_id"]:
        raise make_malformed_error(path, 3, "a row that begins with 'track_id'", ",".join(heads[2])[:80])
    places = {names.index(name): column for name, column in _COLUMNS.items()}
    options: dict[str, Any] = {"header": None, "skiprows": 3, "dtype": str, "keep_default_na": False}
    try:
        table = pd.read_csv(path, usecols=[0, *places], index_col=0, **options)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InputError(f"{path}: expected rows of {len(names)} cells ({str(error).strip()})") from error
    table.columns = [places[column] for column in table.columns]
    odd = [str(number) for number in table.index if not str(number).isdecimal()]
    if odd:
        raise make_malformed_error(path, None, "track numbers in the first column", odd[0])
    return table


def _first_rows(path: Path, number: int) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            rows = [cells for _, cells in itertools.islice(split_rows(file), number)]
        except (UnicodeDecodeError, csv.Error) as error:
            raise make_malformed_error(path, 1, "a CSV file in UTF-8", str(error)) from error
    return rows + [[]] * (number - len(rows))


def _check(path: Path, table: pd.DataFrame, column: str, known: set[str]) -> None:
    odd = table[~table[column].isin(known)]
    if len(odd):
        expected = f"track {odd.index[0]} to have one of {', '.join(sorted(filter(None, known)))}"
        raise make_malformed_error(path, None, expected, odd[column].iloc[0])
