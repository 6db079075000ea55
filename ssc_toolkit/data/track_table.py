"""Table of tracks that records its audio store and its dataset."""

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
    """Data frame with one row for each track, together with the origin of the audio and the labels.

    `table["genre"]` returns a column, `"genre" in table` checks whether a column exists, and `len(table)` is the number
    of tracks. To add columns, call `assign` or `with_frame`, which keep the audio store and the dataset.

    Attributes:
        frame: data frame with the column `path` and optional columns such as `seconds` (duration), `split`, `group` and
            labels.
        store: path or URL of the audio store that contains the audio of the tracks. None if the audio is read from the
            files in `path`.
        dataset: metadata of the published dataset that the tracks come from. Empty if there is none.

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
        """Return a column of the table as a Series.

        Raises:
            TypeError: if `column` is not a string.
            KeyError: if the column does not exist.
        """
        if not isinstance(column, str):
            raise TypeError(
                f"column: expected a name, got {type(column).__name__}; `select` chooses rows, `frame` has all columns"
            )
        return self.frame[column]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the column names."""
        return map(str, self.frame)

    def __repr__(self) -> str:
        origin = [f"store {self.store}"] if self.store is not None else []
        origin += [f"dataset {self.dataset['name']}"] if "name" in self.dataset else []
        return f"TrackTable({', '.join([f'{len(self)} tracks', *origin])}, columns {', '.join(map(str, self))})"

    def select(self, rows: Any) -> TrackTable:
        """Return a table of selected tracks, with row numbers from 0.

        Args:
            rows: sequence, array, tensor or Series (its index is ignored). It contains one boolean for each track, such
                as `table["split"] == "train"`, or the numbers of the selected rows in the desired order. A missing
                boolean counts as False.

        Raises:
            InputError: if `rows` contains neither booleans nor integers, or if the number of booleans differs from the
                number of tracks.
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
        """Return a table with another data frame and the same audio store and dataset."""
        return replace(self, frame=frame)

    def assign(self, **columns: Any) -> TrackTable:
        """Return a table with added or replaced columns. The arguments are those of `pandas.DataFrame.assign`."""
        return self.with_frame(self.frame.assign(**columns))


Tracks = TrackTable | pd.DataFrame | str | Path
"""Types that `as_track_table` accepts: a track table, a data frame, or a path or name for `load_tracks`."""
