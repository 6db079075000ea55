"""Checks of audio files before they are used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from ssc_toolkit.audio import Channel, UnreadableAudio, check_channel, check_decodes
from ssc_toolkit.checks import check_fraction
from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data.track_table import Tracks, TrackTable, as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_text
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)

_SHOWN = 5  # maximum number of files in a message


def exceeds_limit(problems: Mapping[str, str], total: int, max_unusable: float, strict: bool) -> bool:
    """Return whether there are too many problems: any if `strict`, more than the allowed fraction, or all files."""
    return bool(problems) and (strict or len(problems) > max_unusable * total or len(problems) == total)


def report_unusable(
    problems: Mapping[str, str],
    total: int,
    max_unusable: float,
    strict: bool = False,
    report: Path | None = None,
    complete: bool = True,
) -> None:
    """Report the files that cannot be used, in a warning or, if there are too many, in an error.

    Args:
        problems: reason for each path that cannot be used.
        total: number of files that were checked.
        max_unusable: fraction of the files that may be left out.
        strict: whether a single problem is an error.
        report: CSV file that lists all problems, replaced atomically; it is removed if there are no problems.
        complete: whether all files were checked.

    Raises:
        InputError: if there are too many problems.
    """
    if not problems:
        if report is not None:
            report.unlink(missing_ok=True)
        return
    where = ""
    if report is not None:
        write_text(report, format_csv(["path", "problem"], list(problems.items())))
        where = f" All {'' if complete else 'so far '}are listed in {report}."
    shown = [f"{path}: {reason}" for path, reason in list(problems.items())[:_SHOWN]]
    more = len(problems) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more else "")
    summary = f"{len(problems)} of {total} audio files cannot be used{'' if complete else ' so far'}: {listed}"
    if exceeds_limit(problems, total, max_unusable, strict):
        allowed = "strict allows none" if strict else f"max_unusable, now {max_unusable:g}"
        raise InputError(f"{summary}. Fix or remove them, or allow more ({allowed}).{where}")
    logger.warning("%s. They are left out.%s", summary, where)


def check_audio(
    tracks: Tracks,
    min_seconds: float = 0.0,
    max_unusable: float = 0.1,
    progress: bool = True,
    *,
    strict: bool = False,
    report: Path | None = None,
    channel: Channel = "mean",
) -> TrackTable:
    """Decode the beginning and the end of every file of a table, and leave out files that cannot be used.

    These are files that are missing, unreadable, cut short, empty, silent or too short, and files whose channels cancel
    each other. For a table from an audio store no file is opened, because `prepare_store` has decoded all of them.

    Args:
        tracks: track table, data frame with a `path` column, or path.
        min_seconds: minimum length in seconds; shorter files are left out.
        max_unusable: fraction of the files that may be left out before an error is raised.
        progress: whether to show a progress bar.
        strict: whether the first file that cannot be used is an error.
        report: path of a CSV file that lists the files that were left out, with the reason.
        channel: how files are converted to mono, as for `read_audio`; pass the same value to `ContrastiveDataset`.

    Returns:
        The table without these files, with a column `seconds`. A warning names the files that were left out.

    Raises:
        InputError: if more than `max_unusable` of the files, or all of them, cannot be used, or any of them if
            `strict`.
    """
    check_fraction("max_unusable", max_unusable)
    check_channel(channel)
    tracks = as_track_table(tracks)
    if tracks.store is not None:
        seconds = dict(zip(tracks["path"], tracks["seconds"], strict=True))
        problems: dict[str, str] = {}
    else:
        seconds, problems = _look_into(tracks["path"].drop_duplicates().tolist(), channel, strict, progress)
    problems |= {
        path: f"expected at least {min_seconds:.2f} s, got {found:.2f} s"
        for path, found in seconds.items()
        if found < min_seconds
    }
    paths = tracks["path"].nunique()
    report_unusable(
        problems, paths, max_unusable, strict, report, complete=len(seconds.keys() | problems.keys()) == paths
    )
    usable = tracks.select(~tracks["path"].isin(problems))
    return usable.assign(seconds=usable["path"].map(seconds))


def kept_rows(tracks: TrackTable, kept: TrackTable) -> Tensor:
    """Return which rows of a table `check_audio` kept, (tracks,) bool, to select their labels.

    Args:
        tracks: the table before the check.
        kept: the table after it.
    """
    return torch.tensor(tracks["path"].isin(kept["path"]).to_numpy())


def _look_into(
    paths: list[str], channel: Channel, strict: bool, progress: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """Return the length in seconds of each usable file, and the reason for each file that is not usable."""

    def seconds_or_problem(path: str) -> float | str:
        try:
            return check_decodes(path, channel).seconds
        except UnreadableAudio as error:
            return str(error).removeprefix(f"{path}: ")

    seconds: dict[str, float] = {}
    problems: dict[str, str] = {}
    with ThreadPoolExecutor() as pool:
        answers = pool.map(seconds_or_problem, paths)
        for path, answer in zip(
            paths, progress_bar(answers, total=len(paths), desc="checking audio", disable=not progress), strict=True
        ):
            if isinstance(answer, str):
                problems[path] = answer
                if strict:
                    pool.shutdown(cancel_futures=True)
                    break
            else:
                seconds[path] = answer
    return seconds, problems
