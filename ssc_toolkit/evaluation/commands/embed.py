"""`ssc-toolkit embed`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Literal

import numpy as np

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.commands.opening import open_model_for, open_tracks
from ssc_toolkit.evaluation.embed import embed_tracks, embed_windows
from ssc_toolkit.evaluation.embedding_files import SUFFIXES, write_embeddings
from ssc_toolkit.evaluation.models import fingerprint, window_seconds_of
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.files import clear_leftovers, held_file, writable_folder


def embed(
    encoder: str,
    tracks: str,
    out: str,
    root: str | None = None,
    variant: str | None = None,
    window_seconds: float | None = None,
    pooling: Literal["mean", "max", "mean+std", "none"] = "mean",
    cache: str | None = None,
    most_skipped: float = 0.1,
) -> Path:
    """Embed every track and write one file: an embedding a track, or a window, with paths, seconds and metadata.

    Args:
        encoder: folder of a saved encoder, or module:function that gives a model.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset.
        out: file to write, ending in .npz or .parquet; one of that name is replaced.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        window_seconds: length of the non-overlapping windows; by default that of the views the encoder was trained
            on, if their settings lie beside it, otherwise 3.
        pooling: what becomes of the windows of a track; none keeps them, with the seconds at which they begin.
        cache: folder for embeddings of whole tracks, found again by the content of model and audio.
        most_skipped: share of the files that may be unreadable or shorter than a window.

    Returns:
        The file.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
    path = Path(out)
    if path.suffix not in SUFFIXES:
        raise InputError(f"out: expected a file name ending in {' or '.join(SUFFIXES)}, got {out}")
    if path.suffix == ".parquet":
        importlib.import_module("pyarrow")  # if it is missing, before the work
    writable_folder(path.absolute().parent, "out")
    with held_file(path, "out"):
        clear_leftovers(path.absolute().parent, names=[path.name])
        model = open_model_for(encoder, cache)
        kept = open_tracks(model, tracks, root, variant, window_seconds, most_skipped, split=False)
        seconds = window_seconds_of(model, window_seconds)
        if pooling == "none":
            windows = embed_windows(model, kept, seconds)
            embeddings, rows = windows.embeddings, windows.rows
            columns = {"start_seconds": windows.seconds}
        else:
            everything = embed_tracks(model, kept, seconds, pooling=pooling, cache=cache)
            rows = np.flatnonzero(np.isfinite(everything).all(axis=1))
            embeddings, columns = everything[rows], {}
        columns |= {"paths": kept["path"].to_numpy(dtype=str)[rows], "seconds": kept["seconds"].to_numpy()[rows]}
        metadata = provenance_of(
            kept, window_seconds=seconds, pooling=pooling, seeds=(), encoder=_described(model, encoder)
        )
        write_embeddings(path, embeddings, columns, metadata)
        print(f"{len(embeddings)} embeddings of width {embeddings.shape[1]} in {path}")
        return path


def _described(model: object, source: str) -> dict[str, str]:
    try:
        return {"source": source, "fingerprint": fingerprint(model)}  # type: ignore[arg-type]
    except InputError:  # a function that has no identity
        return {"source": source}
