"""Checks that audio files can be decoded before they are used."""

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
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_text
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)

_SHOWN = 5  # maximum number of files in a warning or an error


def report_unusable(
    problems: Mapping[str, str],
    total: int,
    max_unusable: float,
    strict: bool = False,
    report: Path | None = None,
) -> None:
    """Log a warning about the files that cannot be used, or raise an error if there are too many.

    Args:
        problems: dictionary from the path of each file that cannot be used to the reason.
        total: total number of files.
        max_unusable: maximum fraction of the files that may be left out.
        strict: whether a single file that cannot be used is an error.
        report: path of a CSV file that lists all problems. It is replaced atomically, or removed if there are no
            problems. None writes no file.

    Raises:
        InputError: if too many files cannot be used.
    """
    if not problems:
        if report is not None:
            report.unlink(missing_ok=True)
        return
    where = ""
    if report is not None:
        write_text(report, format_csv(["path", "problem"], list(problems.items())))
        where = f" All are listed in {report}."
    is_error = strict or len(problems) > max_unusable * total or len(problems) == total
    shown = [f"{path}: {reason}" for path, reason in list(problems.items())[:_SHOWN]]
    more = len(problems) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more else "")
    summary = f"{len(problems)} of {total} audio files cannot be used: {listed}"
    if is_error:
        allowed = "strict allows none" if strict else f"max_unusable, now {max_unusable:g}"
        raise InputError(f"{summary}. Fix or remove these files, or allow more ({allowed}).{where}")
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
    """Remove tracks whose audio files cannot be used, and add the duration of the other files.

    The beginning and the end of each file are decoded. A file cannot be used if it is missing, unreadable, truncated,
    empty, silent or too short, or if its channels cancel each other in the mono mix. For a table from an audio store,
    no files are opened, because `prepare_store` has already decoded them.

    Args:
        tracks: track table, data frame with a column `path`, or path of a table.
        min_seconds: minimum duration in seconds. Shorter files are removed.
        max_unusable: maximum fraction of the files that may be removed.
        progress: whether to show a progress bar.
        strict: whether a single file that cannot be used is an error, after all files are checked.
        report: path of a CSV file that lists each removed file and the reason. None writes no file.
        channel: conversion of audio files to mono, as for `read_audio`. Pass the same value to `ContrastiveDataset`.

    Returns:
        The table of the remaining tracks, with a column `seconds`. A warning names removed files.

    Raises:
        InputError: if more than the fraction `max_unusable` of the files, or all files, cannot be used. If `strict`, if
            any file cannot be used.
    """
    check_fraction("max_unusable", max_unusable)
    check_channel(channel)
    tracks = as_track_table(tracks)
    if tracks.store is not None:
        seconds = dict(zip(tracks["path"], tracks["seconds"], strict=True))
        problems: dict[str, str] = {}
    else:
        seconds, problems = _look_into(tracks["path"].drop_duplicates().tolist(), channel, progress)
    problems |= {
        path: f"expected at least {min_seconds:.2f} s, got {found:.2f} s"
        for path, found in seconds.items()
        if found < min_seconds
    }
    report_unusable(problems, tracks["path"].nunique(), max_unusable, strict, report)
    usable = tracks.select(~tracks["path"].isin(problems))
    return usable.assign(seconds=usable["path"].map(seconds))


def check_all_audio(
    tables: Mapping[str, TrackTable],
    min_seconds: float = 0.0,
    max_unusable: float = 0.1,
    reports: Mapping[str, Path] | None = None,
) -> list[TrackTable]:
    """Return the results of `check_audio` for several tables, after the files of all tables are checked.

    Args:
        tables: track tables by the name of their argument.
        min_seconds: as for `check_audio`.
        max_unusable: as for `check_audio`.
        reports: path of the report of each table, by the name of its argument. None writes no files.

    Raises:
        InputError: if too many files of a table cannot be used. The message describes all tables with this problem.
    """
    kept, problems = [], []
    for argument, table in tables.items():
        try:
            kept.append(check_audio(table, min_seconds, max_unusable, report=(reports or {}).get(argument)))
        except InputError as error:
            problems.append(f"{argument}: {error}" if len(tables) > 1 else str(error))
    if problems:
        raise InputError(" ".join(problems))
    return kept


def kept_rows(tracks: TrackTable, kept: TrackTable) -> Tensor:
    """Return a mask, bool (tracks,), that is True for the rows that `check_audio` kept.

    Use it to select the labels of these rows.

    Args:
        tracks: the table that was passed to `check_audio`.
        kept: the table that `check_audio` returned.
    """
    return torch.tensor(tracks["path"].isin(kept["path"]).to_numpy())


def _look_into(paths: list[str], channel: Channel, progress: bool) -> tuple[dict[str, float], dict[str, str]]:
    """Return the duration in seconds of each usable audio file, and the reason for each other file, by path."""

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
            else:
                seconds[path] = answer
    return seconds, problems
