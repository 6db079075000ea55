"""Records of how results were computed, with dataset, splits, windows, seeds and software versions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssc_toolkit.data import dataset_of
from ssc_toolkit.data.cells import format_cells
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.environment import describe_environment
from ssc_toolkit.evaluation.embedding.windows import ALL_WINDOWS_RULE, WINDOW_RULE
from ssc_toolkit.hashing import lines_hash


def provenance_of(
    tracks: Tracks,
    *,
    window_seconds: float | Mapping[str, float],
    window_pooling: str = "mean",
    seeds: Sequence[int] = (0,),
    **further: Any,
) -> dict[str, Any]:
    """Return a dictionary that records how a result was computed and that can be written as JSON.

    The dictionary contains the name of the dataset, a hash of the splits, the number of tracks of each split, the
    length, maximum number and pooling of the windows, the seeds, and the versions of this library and its dependencies.

    Args:
        tracks: track table, data frame or path of a table that the result was computed on.
        window_seconds: length of a window in seconds, or a dictionary of lengths by model name.
        window_pooling: name of the pooling of window embeddings, as for `embed_tracks`, or "none" for one embedding per
            window.
        seeds: seeds of the probes, the label fractions and the corruptions.
        further: additional entries of the dictionary.

    Examples:
        >>> import pandas as pd
        >>> found = provenance_of(pd.DataFrame({"path": ["/a/x.wav"], "split": ["test"]}), window_seconds=3.0)
        >>> found["tracks"], found["windows"]["seconds"], "torch" in found["versions"]
        ({'test': 1}, 3.0, True)
    """
    tracks = as_track_table(tracks)
    sides = tracks["split"].value_counts().to_dict() if "split" in tracks else {}
    return {
        "dataset": dataset_of(tracks),
        "split_hash": split_hash(tracks),
        "tracks": {split: int(sides[split]) for split in ("train", "valid", "test") if split in sides} or len(tracks),
        "windows": {
            "seconds": dict(window_seconds) if isinstance(window_seconds, Mapping) else window_seconds,
            "rule": ALL_WINDOWS_RULE if window_pooling == "none" else WINDOW_RULE,
            "pooling": window_pooling,
        },
        "seeds": list(seeds),
        "versions": describe_environment(),
        **further,
    }


def track_names(tracks: Tracks) -> list[str]:
    """Return a name for each track that does not depend on the location of the files.

    If the table has the column `track_id`, the name is its value. Otherwise, and for an empty cell, the name is the
    path relative to the deepest folder that contains all tracks.
    """
    tracks = as_track_table(tracks)
    if "track_id" in tracks:
        ids = format_cells(tracks["track_id"])
        paths = _relative_paths(tracks) if "path" in tracks else [""] * len(tracks)
        return [name or path for name, path in zip(ids, paths, strict=True)]
    return _relative_paths(tracks)


def _relative_paths(tracks: TrackTable) -> list[str]:
    paths = tracks["path"].astype(str).tolist()
    folders = {str(Path(path).parent) for path in paths}
    root = os.path.commonpath(folders) if folders and all(map(os.path.isabs, folders)) else None
    return [Path(path).relative_to(root).as_posix() if root else path for path in paths]


def split_hash(tracks: Tracks) -> str:
    """Return a hash of the track names and the split of each track.

    The hash does not depend on the order of the rows or on the location of the files.

    Examples:
        >>> import pandas as pd
        >>> here = pd.DataFrame({"path": ["/a/x.wav", "/a/y.wav"], "split": ["train", "test"]})
        >>> there = pd.DataFrame({"path": ["/b/c/y.wav", "/b/c/x.wav"], "split": ["test", "train"]})
        >>> split_hash(here) == split_hash(there), split_hash(here) == split_hash(here.assign(split="test"))
        (True, False)
    """
    tracks = as_track_table(tracks)
    splits = format_cells(tracks["split"]) if "split" in tracks else [None] * len(tracks)
    lines = sorted(f"{name}\t{split or ''}" for name, split in zip(track_names(tracks), splits, strict=True))
    return lines_hash(lines)
