"""Options of the command `ssc-toolkit table`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ssc_toolkit.checks import check_choice, check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_output_file
from ssc_toolkit.options.names import STORE_FILE
from ssc_toolkit.paths import missing_hint, user_path

Grouping = Literal["artist", "album_artist", "album", "folder", "none"]


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Options of `table`, which writes a track table of your music from file tags, folders and playlists.

    Edit the table, and pass it as --tracks to other commands, with the folder as --root.

    Args:
        tracks: folder of audio files, including its subfolders. Playlists (M3U, M3U8, PLS) in it become labels.
        out: CSV file to write. Its paths are relative to the folder.
        overwrite: replace an existing file.
        split: add a random column `split` with 60 % training, 20 % validation and 20 % test tracks.
        group_by: column whose tracks with the same value get the same split; artist by default. "none" splits tracks
            one by one.
        seed: seed of the random split.
    """

    tracks: str
    out: str
    overwrite: bool = False
    split: bool = False
    group_by: Grouping | None = None
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before the folder is searched."""
        folder, out = user_path(self.tracks, "tracks"), user_path(self.out, "out")
        if not folder.is_dir():
            found = "a file" if folder.exists() else f"nothing there{missing_hint(folder)}"
            raise InputError(f"tracks: expected a folder of audio files, got {folder} ({found})")
        if (folder / STORE_FILE).is_file():
            raise InputError(
                f"tracks: {folder} is a store, which contains its table; pass the folder of the audio files"
            )
        if out.suffix.lower() != ".csv":
            raise InputError(f"out: expected a file name ending in .csv, got {self.out}")
        if self.group_by is not None:
            check_choice("group_by", self.group_by, get_args(Grouping))
            if not self.split:
                raise InputError("group_by: expected --split to use it with, got none")
        check_integer("seed", self.seed, 0)
        self.check_overwrite()

    def check_overwrite(self) -> None:
        """Raise InputError if the output file exists and `overwrite` is False."""
        check_output_file(self.out, self.overwrite)
