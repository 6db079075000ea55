"""Looking into every file of a table before long work starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from ssc_toolkit.audio import Channel, UnreadableAudio, check_channel, check_decodes
from ssc_toolkit.checks import check_fraction
from ssc_toolkit.data.unusable import settle
from ssc_toolkit.progress import progress_bar


def check_audio(
    tracks: pd.DataFrame,
    minimum_seconds: float = 0.0,
    most_skipped: float = 0.1,
    progress: bool = True,
    *,
    strict: bool = False,
    report: Path | None = None,
    channel: Channel = "mean",
) -> pd.DataFrame:
    """Open every file of a table, decode its two ends, and leave out those that cannot be used.

    They are those that are missing, unreadable, cut short, empty, silent or too short, and those whose channels cancel
    each other. Of a table from an audio store
    no file is opened: the store has decoded them whole.

    Args:
        tracks: table with a `path` column.
        minimum_seconds: shorter files are left out.
        most_skipped: share of files that may be left out before it is an error.
        progress: show a progress bar.
        strict: the first file that cannot be used is an error.
        report: CSV file to list what was left out in, and why.
        channel: which channel has to hold sound, as for `read_audio`; give `ContrastiveDataset` the same.

    Returns:
        The table without those files, with a `seconds` column. What was left out is named in a warning.

    Raises:
        InputError: if more than `most_skipped` of the files, or all, cannot be used, or one if `strict`.
    """
    check_fraction("most_skipped", most_skipped)
    check_channel(channel)
    if "store" in tracks.attrs:
        seconds = dict(zip(tracks["path"], tracks["seconds"], strict=True))
        problems: dict[str, str] = {}
    else:
        seconds, problems = _look_into(tracks["path"].drop_duplicates().tolist(), channel, strict, progress)
    problems |= {
        path: f"{found:.2f} s long, at least {minimum_seconds:.2f} s needed"
        for path, found in seconds.items()
        if found < minimum_seconds
    }
    paths = tracks["path"].nunique()
    settle(problems, paths, most_skipped, strict, report, complete=len(seconds.keys() | problems.keys()) == paths)
    result = tracks[~tracks["path"].isin(problems)].reset_index(drop=True)
    result["seconds"] = result["path"].map(seconds)
    return result


def _look_into(
    paths: list[str], channel: Channel, strict: bool, progress: bool
) -> tuple[dict[str, float], dict[str, str]]:
    """Seconds of the files that can be decoded, and why the others cannot."""

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
