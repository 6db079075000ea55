"""Options of the command `ssc-toolkit prepare`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ssc_toolkit.checks import MAX_SAMPLE_RATE, check_choice, check_fraction, check_integer, check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, read_checked_json
from ssc_toolkit.options.checks import check_choices
from ssc_toolkit.options.names import DATASETS, SHARDS, STORE_FILE
from ssc_toolkit.options.output_folder import has_other_files
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import user_path


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `prepare`, which decodes audio files once into a store.

    A store is a folder of decoded audio, from which segments are read much faster than from audio files. Pass the
    folder as `--tracks` to any command. Rerun the same command to resume, or to decode files that were added.

    Args:
        tracks: a CSV file with a `path` column, a folder of audio, or "scores" for the default corpus.
        dataset: name of a published dataset, instead of `tracks`. If files are missing, the error lists their paths.
        root: folder of the dataset, or folder to which paths in the CSV file are relative (by default the folder of the
            CSV file).
        variant: variant of the dataset, which determines its labels and splits.
        out: folder of the store.
        sample_rate: sample rate of the store in hertz, which must be that of the encoder: 16000 for MelCNN and
            ShortChunkCNN, 22050 for the other encoders.
        channel: how files are converted to mono: mean of the channels, left channel, right channel, or loudest channel
            of each file.
        min_seconds: minimum length in seconds; shorter tracks are left out.
        max_unusable: maximum fraction of the files that may be unreadable, silent or too short. These files are left
            out.
        strict: allow no file that is unreadable, silent or too short. The error names all of them.
        threads: number of decoding threads; by default one for each CPU core.
        shard_megabytes: maximum size of the files of the store in MiB.
        verify: only check that the store in `out` agrees with its checksums and its source files.
        dry_run: only print the estimated time, memory and disk space, and write nothing to `out`.
        describe: only print the variants and the required files of `dataset`, or of all datasets.
    """

    tracks: str | None = None
    dataset: str | None = None
    root: str | None = None
    variant: str | None = None
    out: str = "store"
    sample_rate: int = 22050
    channel: Literal["mean", "left", "right", "loudest"] = "mean"
    min_seconds: float = 0.0
    max_unusable: float = 0.1
    strict: bool = False
    threads: int | None = None
    shard_megabytes: int = 256
    verify: bool = False
    dry_run: bool = False
    describe: bool = False

    def check(self) -> None:
        """Raise InputError if an option is invalid, or if the folder contains a store with other settings."""
        if self.dry_run and (self.verify or self.describe):
            raise InputError(f"dry_run: expected no {'verify' if self.verify else 'describe'} with it")
        if self.verify:
            check_store_exists(user_path(self.out, "store") / STORE_FILE, self.out)
            return
        if self.dataset is not None:
            check_choice("dataset", self.dataset, DATASETS)
        if self.describe:
            return
        if (self.tracks is None) == (self.dataset is None):
            raise InputError(f"tracks, dataset: give one of them; the datasets are {', '.join(DATASETS)}")
        check_choices(self)
        if self.threads is not None:
            check_integer("threads", self.threads, 1)
        check_integer("sample_rate", self.sample_rate, 1, MAX_SAMPLE_RATE)
        check_integer("shard_megabytes", self.shard_megabytes)
        check_number("min_seconds", self.min_seconds, 0)
        check_fraction("max_unusable", self.max_unusable)
        if self.dataset is None or self.root is not None:
            TrackSource(tracks=self.dataset or self.tracks or "", root=self.root, variant=self.variant).check()
        check_local_folder(self.out)
        check_store_folder(user_path(self.out, "out"), self.sample_rate, self.channel)


def check_local_folder(folder: str | Path) -> None:
    """Raise InputError if the folder of a store to create is a URL."""
    if "://" in str(folder):
        raise InputError(f"out: expected a local folder, got {folder}; create the store locally and copy it there")


def check_store_folder(folder: Path, sample_rate: int, channel: str) -> None:
    """Raise InputError if a folder contains a store with other settings, or other files. Nothing is written.

    Args:
        folder: folder of the store; it need not exist. A store whose `store.json` is damaged is accepted.
        sample_rate: expected sample rate in hertz.
        channel: expected conversion of files to mono.
    """
    file = folder / STORE_FILE
    if file.is_file():
        try:
            found = read_checked_json(file, "store", "`ssc-toolkit prepare` restores it", required=False)
        except DamagedFile:
            return
        check_store_settings(folder, found, sample_rate, channel)
    elif (
        folder.is_dir() and not file.exists() and not (folder / SHARDS).is_dir() and has_other_files(folder, STORE_FILE)
    ):
        raise InputError(f"out: expected a store or an empty folder, got {folder} with other files; choose another one")


def check_store_settings(folder: Path, found: Mapping[str, Any], sample_rate: int, channel: str) -> None:
    """Raise InputError if a store has another sample rate or another conversion to mono.

    Args:
        folder: folder of the store.
        found: content of its `store.json`.
        sample_rate: expected sample rate in hertz.
        channel: expected conversion of files to mono.
    """
    found_rate, found_channel = found.get("sample_rate", sample_rate), found.get("channel", "mean")
    if found_rate != sample_rate:
        raise InputError(
            f"out: expected a store at {sample_rate} Hz, got {folder} at {found_rate} Hz; choose another folder"
        )
    if found_channel != channel:
        raise InputError(
            f"out: expected a store of channel {channel!r}, got {folder} of channel {found_channel!r}; choose another "
            "folder"
        )


def check_store_exists(file: Path, name: str) -> None:
    """Raise InputError if there is no `store.json`.

    Args:
        file: path of the file.
        name: path or URL of the store, for the error.
    """
    if file.is_dir():
        raise InputError(
            f"store: expected a file {name}/{STORE_FILE}, got a folder; remove it, or choose another folder"
        )
    if not file.is_file():
        raise InputError(f"store: there is no store in {name} (no {STORE_FILE}); `ssc-toolkit prepare` makes one")
