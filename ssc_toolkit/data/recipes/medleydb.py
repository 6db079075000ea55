"""MedleyDB dataset: recordings of single instruments (stems), with 20 instruments (Bittner et al. 2014, 2016).

There is no published split for this task. Only stems of one of the 20 most frequent instruments are used. The SHA-1
hash of the artist's name in lower case, modulo 10, assigns an artist to train (0 to 6), valid (7) or test (8 and 9).
The split of a song therefore does not depend on the other songs on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ssc_toolkit.csv_files import read_text
from ssc_toolkit.data.recipes.audio_folder import AudioFolder
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, choose_bucket, read_shipped_list
from ssc_toolkit.errors import make_malformed_error

logger = logging.getLogger(__name__)

_METADATA = "medleydb/data/Metadata"
_SUFFIX = "_METADATA.yaml"
_AUDIO_FOLDERS = ("Audio/", "", "V1/", "V2/", "Audio/V1/", "Audio/V2/")
_SIDES = ("train",) * 7 + ("valid",) + ("test",) * 2


class MedleyDB(Recipe):
    """Recipe of MedleyDB. The tracks are stems (recordings of single parts). The label is one of 20 instruments."""

    name = "medleydb"
    variants = ("instrument",)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            NeededFile(
                _METADATA,
                f"<song>{_SUFFIX} files, from https://github.com/marl/medleydb",
                elsewhere=("Metadata", "data/Metadata", "medleydb/medleydb/data/Metadata"),
            ),
            NeededFile("Audio/<song>/<song>_STEMS", "the stems as .wav, on request from https://medleydb.weebly.com"),
        )

    def task(self, variant: str) -> RecipeTask:
        return RecipeTask(
            labels={"instrument": LabelColumn("class", read_shipped_list("medleydb_instruments"))},
            metrics=("accuracy", "macro_recall"),
            source="no published split: SHA-1 of the artist modulo 10; 0-6 train, 7 valid, 8-9 test",
            rule={f"sha1 of the artist modulo 10 is {number}": side for number, side in enumerate(_SIDES)},
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        folder = self.find(root, variant, _METADATA)
        paths = sorted(folder.glob(f"*{_SUFFIX}"))
        if not paths:
            raise make_malformed_error(folder, None, f"files named <song>{_SUFFIX}", "none")
        instruments, audio = set(read_shipped_list("medleydb_instruments")), AudioFolder(root)
        rows, silent = [], 0
        for path in paths:
            song = path.name.removesuffix(_SUFFIX)
            if audio.first(place + song for place in _AUDIO_FOLDERS) is None:
                silent += 1
                continue
            rows += [row for row in _stems(path, song) if row["instrument"] in instruments]
        if silent:
            logger.info("medleydb: %d of %d songs have no folder of audio", silent, len(paths))
        return pd.DataFrame(rows, columns=["track_id", "split", "group", "instrument", "audio"])


def _stems(path: Path, song: str) -> Iterator[dict[str, Any]]:
    """Yield a row of the table for each stem (recording of a part) of a song, read from its metadata file `path`.

    The instrument is None if the stem has several instruments.
    """
    metadata = _read(path)
    artist = str(metadata.get("artist") or "").strip() or song.partition("_")[0]
    split = _SIDES[choose_bucket(artist.lower(), 10)]
    for name, stem in metadata["stems"].items():
        if not isinstance(stem, dict) or not {"filename", "instrument"} <= set(stem):
            raise make_malformed_error(path, None, f"'filename' and 'instrument' of the stem {name}", stem)
        instrument = stem["instrument"]
        if isinstance(instrument, list):
            instrument = instrument[0] if len(instrument) == 1 else None
        file = str(stem["filename"])
        folder = metadata.get("stem_dir") or f"{song}_STEMS"
        yield {
            "track_id": file.removesuffix(".wav"),
            "split": split,
            "group": artist,
            "instrument": instrument,
            "audio": tuple(f"{place}{song}/{folder}/{file}" for place in _AUDIO_FOLDERS),
        }


def _read(path: Path) -> dict[str, Any]:
    import yaml  # type: ignore[import-untyped]

    try:
        metadata = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise make_malformed_error(path, None, "YAML", str(error).splitlines()[0]) from error
    if not isinstance(metadata, dict) or not isinstance(metadata.get("stems"), dict):
        raise make_malformed_error(path, None, "a mapping with 'stems'", str(metadata)[:80])
    return metadata
