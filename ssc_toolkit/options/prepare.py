"""Options of the command `ssc-toolkit prepare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_integer, check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices
from ssc_toolkit.options.names import DATASETS
from ssc_toolkit.options.tracks import TrackSource


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `prepare`, which decodes audio once into a store, from which segments are read at the speed of memory.

    Pass the store as `--tracks` to any command. Rerun the same command to resume. When files were added, only the new
    files are decoded.

    Args:
        tracks: a CSV file with a `path` column, a folder of audio, or "scores" for the default corpus.
        dataset: a published dataset, instead of `tracks`; if files are missing, the error lists them and their paths.
        root: folder of the dataset, or the folder that relative paths in the CSV file start from (by default its own).
        variant: variant of the dataset, which sets the labels and the split.
        out: folder of the store.
        sample_rate: sample rate in hertz, that of the encoder (MelCNN and ShortChunkCNN 16000, the others 22050).
        channel: how files are converted to mono: mean, left, right, or the loudest channel of each file.
        min_seconds: minimum length in seconds; shorter tracks are left out.
        max_unusable: fraction of the files that may be unreadable, silent or too short.
        strict: stop at the first such file.
        workers: number of decoding threads; one for each CPU core by default.
        shard_megabytes: maximum size of the files of the store in MiB.
        verify: only check the store in `out` against its checksums and its source files.
        describe: only print the variants of a dataset and the files that it needs.
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
    workers: int | None = None
    shard_megabytes: int = 256
    verify: bool = False
    describe: bool = False

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""
        if self.verify:
            return
        if self.dataset is not None and self.dataset not in DATASETS:
            raise InputError(f"dataset: expected one of {', '.join(DATASETS)}, got {self.dataset!r}")
        if self.describe:
            return
        if (self.tracks is None) == (self.dataset is None):
            raise InputError(f"tracks, dataset: give one of them; the datasets are {', '.join(DATASETS)}")
        check_choices(self)
        if self.workers is not None:
            check_integer("workers", self.workers, 1)
        check_integer("sample_rate", self.sample_rate)
        check_integer("shard_megabytes", self.shard_megabytes)
        check_number("min_seconds", self.min_seconds, 0)
        check_fraction("max_unusable", self.max_unusable)
        if self.dataset is None or self.root is not None:
            TrackSource(tracks=self.dataset or self.tracks or "", root=self.root, variant=self.variant).check()
