"""VocalSet dataset: 20 singers, 17 vocal techniques (Wilkins et al. 2018).

For technique labels, the splits follow the authors' lists of training and test singers. The authors list no validation
singers, so three of the training singers (female6, male4, male9) form the validation set. For singer labels, the SHA-1
hash of the file name assigns each file to a split (80 % train, 10 % valid, 10 % test). Every singer is in every split.

Version 1.2 of the dataset has three copies of the audio. Only the copy that is sorted by singer is read.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, choose_bucket, read_shipped_list

logger = logging.getLogger(__name__)

_SINGERS = tuple([f"female{number}" for number in range(1, 10)] + [f"male{number}" for number in range(1, 12)])
_TEST = {"female2", "female8", "male3", "male5", "male10"}
_VALID = {"female6", "male4", "male9"}
_MISSPELLED = {"vibrado": "vibrato", "strait": "straight"}
_SIDES = ("train",) * 8 + ("valid", "test")
_BY_SINGER = "data_by_singer"


class VocalSet(Recipe):
    """Recipe of VocalSet. The label is one of 20 singers, or one of 17 or 10 techniques."""

    name = "vocalset"
    variants = ("singer", "technique17", "technique10")

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            NeededFile(
                _BY_SINGER,
                "(or FULL in version 1.1) <singer>/<context>/<technique>/<file>.wav, from https://zenodo.org/records/1193957",
                elsewhere=("FULL", f"VocalSet1-2/{_BY_SINGER}", "VocalSet11/FULL", "VocalSet/FULL"),
            ),
        )

    def task(self, variant: str) -> RecipeTask:
        if variant == "singer":
            return RecipeTask(
                labels={"singer": LabelColumn("class", _SINGERS)},
                metrics=("accuracy", "macro_recall"),
                source="no published split: SHA-1 of the file name modulo 10; 0-7 train, 8 valid, 9 test",
                rule={f"sha1 of the file name modulo 10 is {number}": side for number, side in enumerate(_SIDES)},
            )
        return RecipeTask(
            labels={"technique": LabelColumn("class", read_shipped_list(f"vocalset_techniques{variant[-2:]}"))},
            metrics=("accuracy", "macro_recall"),
            source="train and test singers of the authors; valid: the train singers " + ", ".join(sorted(_VALID)),
            rule={singer: _side_of_singer(singer) for singer in _SINGERS},
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        folder = self.find(root, variant, _BY_SINGER)
        names = read_shipped_list(f"vocalset_techniques{'10' if variant == 'technique10' else '17'}")
        rows, odd = [], []
        for path in _audio_files(folder):
            singer, technique = _singer(path), _technique(path)
            if singer is None or technique is None:
                odd.append(str(path))
            elif (technique in names or variant == "singer") and not _is_deleted(path, technique):
                rows.append(_track(path, singer, technique, folder.relative_to(root).as_posix(), variant))
        if odd:
            logger.warning("vocalset: singer or technique of %d files is unclear, such as %s", len(odd), odd[0])
        labels = ["singer"] if variant == "singer" else ["technique", "group"]
        return pd.DataFrame(rows, columns=["track_id", "split", *labels, "audio"]).drop_duplicates("track_id")


def _audio_files(folder: Path) -> Iterator[PurePosixPath]:
    """Yield the paths of the WAV files below a folder in sorted order, without hidden files and `__MACOSX`."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__MACOSX" and not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(".wav") and not name.startswith("."):
                yield PurePosixPath(Path(place, name).relative_to(folder).as_posix())


def _singer(path: PurePosixPath) -> str | None:
    """Return the singer of an audio file.

    The singer is read from the folder or name of the file, or from a list of files whose name has no singer.
    """
    if path.parts[0] in _SINGERS:
        return path.parts[0]
    found = re.match(r"([fm])(\d+)_", path.name)
    short = found.group(1) + found.group(2) if found else _UNNAMED.get(path.stem)
    if short is None:
        return None
    singer = short.replace("f", "female").replace("m", "male")
    return singer if singer in _SINGERS else None


def _technique(path: PurePosixPath) -> str | None:
    known = read_shipped_list("vocalset_techniques17")
    folders = (_MISSPELLED.get(part.lower(), part.lower()) for part in reversed(path.parts[:-1]))
    return next((folder for folder in folders if folder in known), None)


def _is_deleted(path: PurePosixPath, technique: str) -> bool:
    return technique == "vibrato" and path.stem in _DELETED


def _side_of_singer(singer: str) -> str:
    if singer in _TEST:
        return "test"
    return "valid" if singer in _VALID else "train"


def _track(path: PurePosixPath, singer: str, technique: str, base: str, variant: str) -> dict[str, object]:
    spelled = [_MISSPELLED.get(part, part) for part in path.with_suffix("").parts]
    row: dict[str, object] = {"track_id": "/".join(spelled), "audio": (f"{base}/{path}",)}
    if variant == "singer":
        return row | {"split": _SIDES[choose_bucket(path.stem, 10)], "singer": singer}
    return row | {"split": _side_of_singer(singer), "technique": technique, "group": singer}


# Singers of the files whose name has no singer (Yuan et al. 2023, MARBLE).
_UNNAMED = {
    "lip_trill_arps": "f2",
    "scales_lip_trill": "m3",
    "row_straight": "m8",
    "scales_vocal_fry": "f2",
    "arps_fast_piano_c": "f9",
    "fast_piano_arps_f": "f2",
    "arps_c_fast_piano": "m3",
    "scales_fast_piano_f": "f3",
    **{f"arpeggios_straight_{vowel}": "f4" for vowel in "aeiou"},
    **{f"scales_straight_{vowel}": "f4" for vowel in "aeiou"},
    **{f"scales_{key}_fast_piano_{vowel}": "m10" for key in "cf" for vowel in "aeiou"},
}
# Vibrato files that are copies of other files or whose singer is unknown.
_DELETED = {"f2_scales_vibrato_a(1)", "caro_vibrato", "dona_vibrato", "row_vibrato", "slow_vibrato_arps"}
