"""MagnaTagATune dataset: 25,863 annotated clips of 29 s with 188 tags (Law et al. 2009).

The first folder of the path of a clip determines its split (0 to b train, c valid, d to f test). An artist can be in
several splits. Scores on different versions of the dataset cannot be compared. The version `full` has every annotated
clip, `pons2017` omits three clips that cannot be decoded, and `clean` also omits clips that have none of the 50 most
frequent tags (Won et al. 2020).
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from ssc_toolkit.csv_files import read_columns
from ssc_toolkit.data.recipes.base import LabelColumn, NeededFile, Recipe, RecipeTask, join_labels, read_shipped_list
from ssc_toolkit.errors import make_malformed_error

logger = logging.getLogger(__name__)

_HOST = "from https://mirg.city.ac.uk/datasets/magnatagatune"
_ANNOTATIONS = "annotations_final.csv"
_CLIP_INFO = "clip_info_final.csv"
_BROKEN = frozenset({"35644", "55753", "57881"})
_COUNTS = {"pons2017": (18706, 1825, 5329), "full": (18709, 1825, 5329), "clean": (15247, 1529, 4332)}
_SPLIT_OF_FOLDER = dict.fromkeys("0123456789ab", "train") | {"c": "valid"} | dict.fromkeys("def", "test")


class MagnaTagATune(Recipe):
    """Recipe of MagnaTagATune. The labels are the 50 most frequent tags or all 188 tags."""

    name = "magnatagatune"
    variants = tuple(f"{tags}-{version}" for tags in ("top50", "all") for version in _COUNTS)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return (
            NeededFile(_ANNOTATIONS, _HOST, elsewhere=(f"annotations/{_ANNOTATIONS}", f"metadata/{_ANNOTATIONS}")),
            NeededFile(
                _CLIP_INFO,
                f"{_HOST} (optional: the artists)",
                elsewhere=(f"annotations/{_CLIP_INFO}", f"metadata/{_CLIP_INFO}"),
            ),
            NeededFile(
                "0/ ... f/",
                f"the clips as .mp3, or copies as .wav: mp3.zip.001 to mp3.zip.003 joined and unzipped, {_HOST}",
            ),
        )

    def task(self, variant: str) -> RecipeTask:
        tags, version = variant.split("-")
        return RecipeTask(
            labels={"tags": LabelColumn("multi-hot", read_shipped_list(f"magnatagatune_{tags}"))},
            metrics=("roc_auc", "average_precision"),
            source="12:1:3 of the 16 folders (0-b, c, d-f), " + _VERSIONS[version],
            counts=_COUNTS[version],
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        tags, version = variant.split("-")
        names, frequent = read_shipped_list(f"magnatagatune_{tags}"), read_shipped_list("magnatagatune_top50")
        annotations = self.find(root, variant, _ANNOTATIONS)
        every = read_shipped_list("magnatagatune_all")
        rows, broken = [], []
        for line, cells in read_columns(annotations, "\t", ("clip_id", *every, "mp3_path")):
            _check(annotations, line, cells, every)
            if version == "clean" and not any(cells[tag] == "1" for tag in frequent):
                continue
            if version != "full" and cells["clip_id"] in _BROKEN:
                broken.append(cells["mp3_path"])
                continue
            rows.append(_track(cells, names))
        if broken:
            logger.info("%s: left out %d clips that cannot be decoded: %s", variant, len(broken), ", ".join(broken))
        tracks = pd.DataFrame(rows, columns=["track_id", "split", "tags", "audio"])
        clip_info = self.find_optional(root, variant, _CLIP_INFO)
        if clip_info is not None:
            artists = {
                cells["clip_id"]: cells["artist"] for _, cells in read_columns(clip_info, "\t", ("clip_id", "artist"))
            }
            tracks["group"] = tracks["track_id"].map(artists)
        return tracks


_VERSIONS = {
    "full": "every annotated clip",
    "pons2017": "without three clips that cannot be decoded (Pons et al. 2017)",
    "clean": "without clips that have none of the 50 most frequent tags (Won et al. 2020)",
}


def _check(path: Path, line: int, cells: dict[str, str], tags: tuple[str, ...]) -> None:
    odd = next((tag for tag in tags if cells[tag] not in ("0", "1")), None)
    if odd is not None:
        raise make_malformed_error(path, line, f"0 or 1 in column {odd!r}", cells[odd])
    if cells["mp3_path"][:2] not in {f"{folder}/" for folder in _SPLIT_OF_FOLDER}:
        raise make_malformed_error(path, line, "an mp3_path that begins with 0/ to f/", cells["mp3_path"])


def _track(cells: dict[str, str], names: tuple[str, ...]) -> dict[str, object]:
    path = cells["mp3_path"]
    stem = path.removesuffix(".mp3")
    return {
        "track_id": cells["clip_id"],
        "split": _SPLIT_OF_FOLDER[path[0]],
        "tags": join_labels(tag for tag in names if cells[tag] == "1"),
        "audio": (path, f"mp3/{path}", f"{stem}.wav", f"wav/{stem}.wav"),
    }
