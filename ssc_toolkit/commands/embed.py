"""The command `ssc-toolkit embed`."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from ssc_toolkit.commands.inputs import (
    THIS,
    ModelsBySeed,
    check_readouts,
    choose_windows,
    load_for,
    open_encoder,
    usable_tracks,
)
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.extract import embed_tracks, embed_windows
from ssc_toolkit.evaluation.embedding.files import write_embeddings
from ssc_toolkit.evaluation.embedding.models import hash_model
from ssc_toolkit.evaluation.estimate import estimate_embedding
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.files import clear_leftovers, lock_file, make_writable_folder
from ssc_toolkit.options.embed import EmbedOptions
from ssc_toolkit.paths import user_path


def embed(options: EmbedOptions) -> Path:
    """Write the embeddings of tracks or windows to a file, with paths, lengths in seconds and metadata.

    The estimated time, memory and disk space are printed first. With `dry_run`, nothing else is done.

    Args:
        options: options of the command, as on the command line.

    Returns:
        Path of the written file.

    Raises:
        InputError: if an option or a file is invalid. The error is raised before the work starts.
    """
    options.check()
    path = user_path(options.out, "out")
    if path.suffix == ".parquet":
        importlib.import_module("pyarrow")  # raise the error before the work starts if pyarrow is missing
    with nullcontext() if options.dry_run else _output_file(path):
        model = open_encoder(options.encoder, options.cache, options.projections, allow_code=options.allow_code)
        models: ModelsBySeed = {THIS: [model]}
        (seconds,) = choose_windows(models, options.window_seconds).values()
        readouts = check_readouts(models, {THIS: seconds}, **options.readout)
        kept, _ = usable_tracks(load_for(models, options), options.max_unusable, {})
        is_pooled = options.window_pooling != "none"
        cache = None if options.cache is None else user_path(options.cache, "cache")
        settings: dict[str, Any] = {"window_pooling": options.window_pooling} if is_pooled else {}
        estimate_embedding(
            model, kept, seconds, path, is_pooled=is_pooled, cache=cache, **settings, **options.readout
        ).report()
        if options.dry_run:
            return path
        if not is_pooled:
            windows = embed_windows(model, kept, seconds, **options.readout)
            embeddings, rows = windows.embeddings, windows.rows
            columns = {"start_seconds": windows.seconds}
        else:
            everything = embed_tracks(
                model, kept, seconds, window_pooling=options.window_pooling, cache=options.cache, **options.readout
            )
            rows = np.flatnonzero(np.isfinite(everything).all(axis=1))
            embeddings, columns = everything[rows], {}
        columns |= {"paths": kept["path"].to_numpy(dtype=str)[rows], "seconds": kept["seconds"].to_numpy()[rows]}
        described = _described(model, options.encoder)
        metadata = provenance_of(
            kept,
            window_seconds=seconds,
            window_pooling=options.window_pooling,
            seeds=(),
            encoder=described,
            projections=options.projections,
            readout=readouts.get(THIS),
        )
        write_embeddings(path, embeddings, columns, metadata)
        print(f"{len(embeddings)} embeddings of dimension {embeddings.shape[1]} in {path}")
        return path


@contextmanager
def _output_file(path: Path) -> Iterator[None]:
    """Context manager that creates the folder of the output file, and locks the file."""
    make_writable_folder(path.absolute().parent, "out")
    with lock_file(path, "out"):
        clear_leftovers(path.absolute().parent, names=[path.name])
        yield


def _described(model: object, source: str) -> dict[str, str]:
    try:
        return {"source": source, "fingerprint": hash_model(model)}  # type: ignore[arg-type]
    except InputError:  # the model is a function without an `identity`
        return {"source": source}
