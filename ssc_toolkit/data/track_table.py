"""Table of tracks with the store and the dataset that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.errors import InputError


@dataclass(frozen=True, eq=False)
class TrackTable:
    """Data frame with one row for each track, and where its audio and its labels come from.

    `table["genre"]` is a column of the frame, `"genre" in table` tells whether there is one, and `len(table)` is the
    number of tracks. To add columns, pass the new frame to `with_frame`, which keeps the store and the dataset.

    Attributes:
        frame: data frame with the column `path`, and columns such as `seconds`, `split`, `group` and labels.
        store: path or URL of the audio store that has the audio of the tracks; None if it is read from the files.
        dataset: metadata of the published dataset that the tracks come from; empty if there is none.

    Raises:
        InputError: if `frame` is not a data frame.

    Examples:
        >>> table = TrackTable(pd.DataFrame({"path": ["a.wav", "b.wav"], "artist": ["Ann", "Bob"]}), store="store")
        >>> born = pd.DataFrame({"artist": ["Ann", "Bob"], "born": [1970, 1985]})
        >>> table = table.with_frame(table.frame.merge(born, on="artist"))
        >>> table.store, table["born"].tolist()
        ('store', [1970, 1985])
        >>> table.select(table["born"] < 1980)["path"].tolist()
        ['a.wav']
    """

    frame: pd.DataFrame
    store: str | None = None
    dataset: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.frame, pd.DataFrame):
            raise InputError(f"frame: expected a data frame, got {type(self.frame).__name__}")

    def __len__(self) -> int:
        return len(self.frame)

    def __contains__(self, column: object) -> bool:
        return column in self.frame.columns

    def __getitem__(self, column: str) -> pd.Series:
        """Return a column.

        Raises:
            TypeError: if `column` is not a name.
            KeyError: if there is no such column.
        """
        if not isinstance(column, str):
            raise TypeError(
                f"column: expected a name, got {type(column).__name__}; `select` chooses rows, `frame` has all columns"
            )
        return self.frame[column]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the column names, as a data frame does."""
        return map(str, self.frame)

    def __repr__(self) -> str:
        origin = [f"store {self.store}"] if self.store is not None else []
        origin += [f"dataset {self.dataset['name']}"] if "name" in self.dataset else []
        return f"TrackTable({', '.join([f'{len(self)} tracks', *origin])}, columns {', '.join(map(str, self))})"

    def select(self, rows: Any) -> TrackTable:
        """Return some of the tracks, numbered from 0 again.

        Args:
            rows: (tracks,) booleans, such as `table["split"] == "train"`, where a missing value counts as False; or the
                numbers of the rows in the wanted order. A sequence, an array, a tensor or a Series without regard to
                its index.

        Raises:
            InputError: if `rows` is neither, or if there is not one boolean for each track.
        """
        cells = rows if isinstance(rows, pd.Series) else pd.Series(np.asarray(rows))
        if pd.api.types.is_bool_dtype(cells):
            if len(cells) != len(self):
                raise InputError(f"rows: expected {len(self)} booleans, one for each track, got {len(cells)}")
            places = np.flatnonzero(cells.fillna(False).to_numpy(dtype=bool))
        elif pd.api.types.is_integer_dtype(cells) or not len(cells):
            places = cells.to_numpy(dtype=np.int64)
        else:
            raise InputError(f"rows: expected booleans or row numbers, got {cells.dtype}")
        return self.with_frame(self.frame.iloc[places].reset_index(drop=True))

    def with_frame(self, frame: pd.DataFrame) -> TrackTable:
        """Return a table of another frame, such as a merge of this one, with the same store and dataset."""
        return replace(self, frame=frame)

    def assign(self, **columns: Any) -> TrackTable:
        """Return a table with added or replaced columns, as `pandas.DataFrame.assign`."""
        return self.with_frame(self.frame.assign(**columns))


Tracks = TrackTable | pd.DataFrame | str | Path
"""Whatever `as_track_table` accepts: a table, a data frame, or a source of `load_tracks`."""


def as_track_table(tracks: Tracks) -> TrackTable:
    """Return tracks in any accepted form as a table.

    Args:
        tracks: a table, which is returned unchanged; a data frame, whose audio is read from the files in its column
            `path`; or a path, a URL or "scores", which `load_tracks` loads.

    Raises:
        InputError: if `tracks` is something else, or as `load_tracks`.

    Examples:
        >>> as_track_table(pd.DataFrame({"path": ["a.wav"]}))
        TrackTable(1 tracks, columns path)
    """
    if isinstance(tracks, TrackTable):
        return tracks
    if isinstance(tracks, pd.DataFrame):
        return TrackTable(tracks)
    if isinstance(tracks, str | Path):
        from ssc_toolkit.data.tracks import load_tracks  # it opens stores, whose tables are track tables

        return load_tracks(tracks)
    raise InputError(f"tracks: expected a table, a data frame or a path, got {type(tracks).__name__}")
