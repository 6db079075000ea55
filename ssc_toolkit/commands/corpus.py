"""The command `ssc-toolkit corpus`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd

from ssc_toolkit.data.corpus.corpus import build_corpus
from ssc_toolkit.data.corpus.notes import build_notes
from ssc_toolkit.data.tracks import from_csv
from ssc_toolkit.files import make_writable_folder
from ssc_toolkit.options.corpus import CorpusOptions
from ssc_toolkit.paths import user_path

BUILDERS = {"scores": build_corpus, "notes": build_notes}
_MAX_VALUES = 30


def corpus(options: CorpusOptions) -> Path:
    """Render a labeled corpus if it does not exist yet, and print the path of its track table.

    Args:
        options: options of the command, as on the command line.

    Returns:
        The folder of the corpus, which contains `tracks.csv` and `audio/`.

    Raises:
        InputError: if a package of the extra `corpus` is missing, or an output folder cannot be used.
    """
    options.check()
    if options.describe:
        make_writable_folder(user_path(options.examples, "examples"), "examples")
    place = BUILDERS[options.kind](options.clips, options.seed, options.folder)
    print(f"{place / 'tracks.csv'}")
    if options.describe:
        tracks = from_csv(place / "tracks.csv").frame
        print(describe_tracks(tracks))
        written = write_examples(tracks, place, user_path(options.examples))
        print(f"listen: {len(written)} clips in {options.examples}/")
    return place


def describe_tracks(tracks: pd.DataFrame) -> str:
    """Return a text with the total length of a corpus and its numbers of clips by split and label."""
    parts = [f"{len(tracks)} clips, {tracks['seconds'].sum() / 3600:.1f} hours", _counts(tracks["split"])]
    for column in tracks.columns.drop(["path", "seconds", "split", "title", "piece"], errors="ignore"):
        values = tracks[column]
        known = f"known for {values.notna().sum()} of {len(values)}"
        if values.nunique() > _MAX_VALUES:
            spread = f", {values.min():g} to {values.max():g}" if pd.api.types.is_numeric_dtype(values) else ""
            parts.append(f"{column}: {values.nunique()} values{spread}; {known}")
        else:
            parts.append(f"{column}: {_counts(values)}; {known}")
    return "\n".join(parts)


def _counts(values: pd.Series) -> str:
    return ", ".join(f"{name} {count}" for name, count in values.value_counts().sort_index().items())


def write_examples(tracks: pd.DataFrame, corpus_folder: Path, folder: Path) -> list[Path]:
    """Copy one test clip of each instrument family of a corpus to a folder.

    The name of a copy contains the labels of the clip. `tracks` is the track table of the corpus.
    """
    written = []
    for family, own in tracks[tracks["split"] == "test"].groupby("family"):
        row = own.iloc[0]
        what = [
            family,
            f"program-{row['program']}",
            *(row[name] for name in ("key", "title", "pitch") if name in row),
        ]
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", "-".join(map(str, what))).strip("_")
        target = folder / f"{name}.wav"
        shutil.copyfile(corpus_folder / row["path"], target)
        written.append(target)
    return written
