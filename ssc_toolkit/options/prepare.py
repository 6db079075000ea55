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
        strict: stop at the first file that is unreadable, silent or too short.
        workers: number of decoding threads; by default one for each CPU core.
        shard_megabytes: maximum size of the files of the store in MiB.
        verify: only check that the store in `out` agrees with its checksums and its source files.
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
    workers: int | None = None
    shard_megabytes: int = 256
    verify: bool = False
    describe: bool = False

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks are loaded."""
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
