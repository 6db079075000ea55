"""The command `ssc-toolkit tag`."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.commands.inputs import choose_windows, load_for
from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data.cells import SEPARATOR
from ssc_toolkit.data.validation import check_audio, kept_rows
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.extract import expand_rows
from ssc_toolkit.evaluation.embedding.models import hash_model
from ssc_toolkit.evaluation.embedding.tagging import Tagger, open_tagger, tag_tracks
from ssc_toolkit.files import clear_leftovers, lock_file, make_writable_folder, write_text
from ssc_toolkit.options.tag import TagOptions
from ssc_toolkit.paths import user_path

logger = logging.getLogger(__name__)

TAGS = "tags"
"""Name of the column with the classes above the threshold."""
_DIGITS = 6
_OF_STORES = ("clipped", "checksum")
"""Columns of the table of a store that describe its audio."""
_READ_BY_NAME = ("path", "file", "filename", "filepath", "split", "group")
"""Names of columns that have a meaning in a CSV file of tracks, in any case."""


def tag(options: TagOptions) -> Path:
    """Write a track table with a column of probabilities for each class of a model.

    An interrupted call leaves an existing file unchanged, and stores its probabilities in a hidden folder next to the
    file. The same call then resumes.

    Args:
        options: options of the command, as on the command line.

    Returns:
        Path of the written file.

    Raises:
        InputError: if an option, the model or a file is invalid, or if a class has the name of another column.
    """
    options.check()
    out = user_path(options.out, "out")
    make_writable_folder(out.absolute().parent, "out")
    with lock_file(out, "out"):
        options.check_overwrite()
        clear_leftovers(out.absolute().parent, names=[out.name])
        tagger = open_tagger(options.model, allow_code=options.allow_code)
        (seconds,) = choose_windows({"the model": [tagger]}, options.window_seconds).values()
        tracks = load_for({"the model": [tagger]}, options)
        frame = tracks.frame.drop(columns=[name for name in _OF_STORES if name in tracks and tracks.store is not None])
        columns = _column_names(tagger.classes, list(map(str, frame)), options)
        usable = check_audio(tracks, max_unusable=options.max_unusable)
        cache = _cache_of(tagger, out)
        found = tag_tracks(tagger, usable, seconds, max_unusable=options.max_unusable, cache=cache)
        probabilities = expand_rows(found, kept_rows(tracks, usable).numpy())
        new = dict(zip(columns, probabilities.T, strict=True))
        added: dict[str, list[Any]] = {name: [_rounded(value) for value in values] for name, values in new.items()}
        if options.threshold is not None:
            added[f"{options.prefix}{TAGS}"] = _tags_above(options.threshold, tagger.classes, probabilities)
        table = pd.concat([frame.astype(object), pd.DataFrame(added, dtype=object, index=frame.index)], axis=1)
        write_text(out, format_csv(list(table), [[_cell(cell) for cell in row] for row in table.to_numpy()]))
        if cache is not None:
            shutil.rmtree(cache, ignore_errors=True)
    unknown = int(np.isnan(probabilities).any(axis=1).sum())
    print(f"{len(frame) - unknown} tracks with probabilities of {len(columns)} classes in {out}")
    if unknown:
        print(f"{unknown} tracks that cannot be used have empty cells")
    return out


def _column_names(classes: Sequence[str], others: Sequence[str], options: TagOptions) -> list[str]:
    """Return the names of the new columns, after a check that no other column has such a name."""
    names = [f"{options.prefix}{name}" for name in classes]
    taken = {name.casefold() for name in (*others, *_READ_BY_NAME)}
    new = names if options.threshold is None else [*names, f"{options.prefix}{TAGS}"]
    for name in new:
        if name.casefold() in taken or new.count(name) > 1:
            raise InputError(f"prefix: expected one with which no class has the name of another column, got {name!r}")
    if options.threshold is not None and (odd := [name for name in classes if SEPARATOR in name]):
        raise InputError(f"threshold: expected none if the name of a class contains {SEPARATOR}, got {odd[0]!r}")
    return names


def _cache_of(tagger: Tagger, out: Path) -> Path | None:
    """Return the hidden folder next to the output file that stores probabilities until the file is written.

    Return None if the model is a function without an `identity`.
    """
    try:
        hash_model(tagger.model)
    except InputError:
        logger.info("the model is a function without an identity, so an interrupted command starts again")
        return None
    return out.absolute().parent / f".{out.name}.parts"


def _tags_above(threshold: float, classes: Sequence[str], probabilities: np.ndarray) -> list[str | None]:
    """Return a cell for each track with the classes of at least the probability `threshold`.

    A cell without classes is the separator alone, and the cell of a track without probabilities is None.
    """
    return [
        None
        if np.isnan(row).any()
        else SEPARATOR.join(name for name, value in zip(classes, row, strict=True) if _rounded(value) >= threshold)
        or SEPARATOR
        for row in probabilities
    ]


def _rounded(value: Any) -> float:
    return math.nan if np.isnan(value) else round(float(value), _DIGITS)


def _cell(cell: Any) -> Any:
    """Return a cell with several labels as one text. An empty list is the separator alone."""
    if isinstance(cell, list | tuple | set | np.ndarray):
        return SEPARATOR.join(map(str, cell)) or SEPARATOR
    return cell
