"""Options of the command `ssc-toolkit tag`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.checks import check_fraction, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_encoder, check_output_file
from ssc_toolkit.options.code import CodeOptions
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import user_path


@dataclass(frozen=True, kw_only=True)
class TagOptions(CodeOptions, TrackSource):
    """Options of `tag`, which writes a track table with the probabilities of the classes of a model.

    The table has the rows and columns of the tracks, and a column of probabilities for each class. The cells of files
    that cannot be used are empty, which means unknown. Rerun the same command to resume it after an interruption.

    Args:
        model: MTT_musicnn, MSD_musicnn, or module:function that returns a model with the attributes `classes` (names)
            and `sample_rate` (hertz), which is called with waveforms and returns probabilities. A function requires
            allow_code.
        out: CSV file to write.
        overwrite: replace an existing file.
        prefix: text before the name of each class in the names of the new columns.
        threshold: smallest probability of a tag. If given, the table also has a column `tags` with the classes of at
            least this probability, separated by "|".
        window_seconds: length of a window in seconds. The probabilities of a track are the mean over its windows. The
            default is that of the model, or 3.
        max_unusable: maximum fraction of the files that may be unreadable or silent.
    """

    model: str
    out: str
    overwrite: bool = False
    prefix: str = ""
    threshold: float | None = None
    window_seconds: float | None = None
    max_unusable: float = 0.1

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        out = user_path(self.out, "out")
        if out.suffix.lower() != ".csv":
            raise InputError(f"out: expected a file name ending in .csv, got {self.out}")
        self.check_overwrite()
        check_encoder(self.model, "model", allow_code=self.allow_code)
        if self.threshold is not None:
            check_fraction("threshold", self.threshold, allow_zero=False)
        if self.window_seconds is not None:
            check_positive("window_seconds", self.window_seconds, "seconds")
        check_fraction("max_unusable", self.max_unusable)
        super().check()

    def check_overwrite(self) -> None:
        """Raise InputError if the output file exists and `overwrite` is False."""
        check_output_file(self.out, self.overwrite)
