"""GiantSteps key dataset: 604 test excerpts of electronic dance music (Knees et al. 2015).

Training and validation excerpts come from the MTG key dataset (`giantsteps-mtg-key-dataset`). Only excerpts with a
single key that the annotator was certain of are used (Korzeniowski and Widmer 2018). They are split by artist
(Castellon, Donahue and Liang 2021). The SHA-1 hash of the name assigns an artist to the training or validation set. An
artist who worked with a validation artist is also in the validation set.
"""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from ssc_toolkit.csv_files import read_columns, read_text
from ssc_toolkit.data.key_names import KEYS, MODES, key_number
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, choose_bucket
from ssc_toolkit.errors import make_malformed_error

_TEST, _TRAIN = "giantsteps-key-dataset", "giantsteps-mtg-key-dataset"
_HOST = "from https://github.com/GiantSteps/"
_KEYS = f"{_TEST}/annotations/key"
_ANNOTATIONS = f"{_TRAIN}/annotations/annotations.txt"
_ARTISTS = f"{_TRAIN}/annotations/beatport_metadata.txt"
_SURE = "2"
_BUCKETS, _TRAIN_BUCKETS = 116, 100  # 16 of 116 buckets are for validation


def _cloned(path: str, origin: str) -> NeededFile:
    repository, _, rest = path.partition("/")
    return NeededFile(path, origin, elsewhere=(f"{repository}-master/{rest}",))


class GiantSteps(Recipe):
    """Recipe of GiantSteps. The label is one of 24 keys."""

    name = "giantsteps"
    variants = ("key",)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            _cloned(_KEYS, f"<id>.LOFI.key files, {_HOST}{_TEST}"),
            _cloned(f"{_TEST}/audio", "<id>.LOFI.mp3 files, by its audio_dl.sh"),
            _cloned(_ANNOTATIONS, f"{_HOST}{_TRAIN}"),
            _cloned(_ARTISTS, f"{_HOST}{_TRAIN}"),
            _cloned(f"{_TRAIN}/audio", "<id>.LOFI.mp3 files, by its audio_dl.sh"),
        )

    def task(self, variant: str) -> RecipeTask:
        return RecipeTask(
            labels={"key": LabelColumn("class", KEYS)},
            metrics=("weighted_key_score", "accuracy"),
            source="test: all of giantsteps-key-dataset; train and valid: the sure keys of "
            "giantsteps-mtg-key-dataset, by artist as in Castellon et al. (2021)",
            counts=(923, 236, 604),
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        rows = [*self._train(root, variant), *self._test(root, variant)]
        return pd.DataFrame(rows, columns=["track_id", "split", "group", "key", "audio"])

    def _train(self, root: Path, variant: str) -> list[dict[str, object]]:
        annotations, metadata = self.find(root, variant, _ANNOTATIONS), self.find(root, variant, _ARTISTS)
        artists = {cells["ID"]: cells["ARTIST"] for _, cells in read_columns(metadata, "\t", ("ID", "ARTIST"))}
        valid = _valid_artists(list(artists.values()))
        rows = []
        for line, cells in read_columns(annotations, "\t", ("ID", "MANUAL KEY", "C")):
            track_id, key = cells["ID"], cells["MANUAL KEY"]
            if cells["C"] not in ("0", "1", "2"):
                raise make_malformed_error(annotations, line, "a confidence of 0, 1 or 2 in column 'C'", cells["C"])
            if cells["C"] != _SURE or "/" in key or key == "-":
                continue
            if track_id not in artists:
                raise make_malformed_error(metadata, None, f"a row for the track {track_id}", "none")
            is_valid = not valid.isdisjoint(_names(artists[track_id]))
            row = _track(_TRAIN, track_id, "valid" if is_valid else "train", _key(annotations, line, key))
            rows.append(row | {"group": artists[track_id]})
        return rows

    def _test(self, root: Path, variant: str) -> list[dict[str, object]]:
        folder = self.find(root, variant, _KEYS)
        rows = []
        for path in sorted(folder.glob("*.LOFI.key")):
            track_id = path.name.partition(".")[0]
            rows.append(_track(_TEST, track_id, "test", _key(path, None, read_text(path))) | {"group": math.nan})
        if not rows:
            raise make_malformed_error(folder, None, "files such as 10089.LOFI.key", "none")
        return rows


def _key(path: Path, line: int | None, text: str) -> str:
    number = key_number(text) if text.strip().endswith(MODES) else None
    if number is None:
        raise make_malformed_error(path, line, "a key such as 'C minor'", text)
    return KEYS[number]


def _names(artists: str) -> list[str]:
    return [name.strip() for name in artists.split(",")]


def _valid_artists(credits: list[str]) -> set[str]:
    groups = [_names(artists) for artists in credits]
    valid = {name for names in groups for name in names if choose_bucket(name.lower(), _BUCKETS) >= _TRAIN_BUCKETS}
    # To reproduce the published split, collaborators are added in two passes in the order of the file, not until none
    # is missing.
    for _ in range(2):
        for names in groups:
            if not valid.isdisjoint(names):
                valid.update(names)
    return valid


def _track(repository: str, track_id: str, split: str, key: str) -> dict[str, object]:
    # Some copies of the test set have ids with leading zeros, others without.
    stems = dict.fromkeys(f"{number}.LOFI" for number in (track_id, track_id.lstrip("0"), track_id.zfill(7)))
    places = tuple(
        f"{folder}/audio/{stem}{suffix}"
        for folder in (repository, f"{repository}-master")
        for stem in stems
        for suffix in (".mp3", ".wav")
    )
    return {"track_id": track_id.lstrip("0"), "split": split, "key": key, "audio": places}
