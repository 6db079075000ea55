"""What the commands have in common: the model, its baselines, and the tracks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ssc_toolkit.data import Labels, check_audio, load_tracks, with_splits
from ssc_toolkit.data.store import store_of
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import RANDOM, STATISTICS, LogMelStatistics, random_twin
from ssc_toolkit.evaluation.heads import HEADS
from ssc_toolkit.evaluation.keys import unlike_keys
from ssc_toolkit.evaluation.models import WaveformModel, fingerprint, open_model, window_seconds_of
from ssc_toolkit.evaluation.probing import check_labels, label_signal, training_share
from ssc_toolkit.evaluation.report import REPORTS
from ssc_toolkit.evaluation.scores import Score
from ssc_toolkit.files import clear_leftovers, held, writable_folder

logger = logging.getLogger(__name__)

THIS = "this encoder"
FINETUNE = "finetune"


@contextmanager
def output_folder(out: str | None) -> Iterator[Path | None]:
    """Yield the output folder of a command, made if need be and locked for the block; None if there is none.

    Raises:
        InputError: if it cannot be written, or another process works in it.
    """
    if out is None:
        yield None
        return
    folder = writable_folder(Path(out), "out")
    with held(folder, "out"):
        clear_leftovers(folder, names=REPORTS)
        yield folder


def open_model_for(encoder: str, cache: str | None) -> WaveformModel:
    """Open a model.

    Args:
        encoder: folder of a saved encoder, or module:function that gives a model.
        cache: folder for its embeddings, if they are to be kept.

    Raises:
        InputError: if it cannot be opened, or has no identity that a cache could find it by.
    """
    model = open_model(encoder)
    if cache is not None:
        fingerprint(model)
    return model


def check_methods(methods: Sequence[str], known: Sequence[str] = tuple(HEADS)) -> None:
    """Raise InputError for an unknown method, or none."""
    for method in methods or ("",):
        if method not in known:
            raise InputError(f"methods: expected some of {', '.join(known)}, got {method!r}")


def signals_of(tracks: pd.DataFrame, labels: Sequence[str], numbers: Sequence[str]) -> dict[str, Labels]:
    """The label signals of some columns.

    Raises:
        InputError: for a column that is missing or of another kind, or a name in `numbers` that is no label.
    """
    odd = set(numbers) - set(labels)
    if odd:
        raise InputError(f"numbers: {', '.join(sorted(odd))} is not among the labels {', '.join(labels)}")
    return {column: label_signal(tracks, column, "number" if column in numbers else None) for column in labels}


def say_why_no_key_score(column: str, labels: Labels) -> None:
    """A line for a column of keys that holds other classes too."""
    odd = unlike_keys(labels.names) if labels.kind == "class" else []
    if odd:
        shown = ", ".join(map(repr, odd[:3]))
        logger.info("no weighted key score for column %r: %s cannot be read as a key", column, shown)


def open_tracks(
    model: WaveformModel,
    tracks: str,
    root: str | None,
    variant: str | None,
    window_seconds: float | None,
    most_skipped: float,
    *,
    labels: Sequence[str] = (),
    numbers: Sequence[str] = (),
    methods: Sequence[str] = (),
    label_shares: Sequence[float] = (),
    seed: int = 0,
    split: bool = True,
) -> pd.DataFrame:
    """The usable tracks, with splits; what is wrong with columns or rates shows before any file is opened.

    Args:
        model: what is to hear them.
        tracks, root, variant: as for `load_tracks`.
        window_seconds: length of a window, or None for what the model is made for.
        most_skipped: as for `check_audio`.
        labels: columns that are needed; every split must have some of each if there are splits.
        numbers: those that hold numbers.
        methods: that are to be fitted to them.
        label_shares: that they are to be fitted to.
        seed: of the split, if the table has none, and of the shares.
        split: whether to split a table that has none.

    Raises:
        InputError: for anything that cannot work.
    """
    seconds = window_seconds_of(model, window_seconds)
    check_window(seconds, THIS, model)
    found = load_tracks(tracks, root, variant)
    if split:
        found = with_splits(found, seed)
    store_of(found, model.sample_rate)
    for column, signal in signals_of(found, labels, numbers).items():
        if signal.kind == "number" and "prototypes" in methods:
            raise InputError(f"methods: prototypes need classes, but {column} holds numbers")
        if split:
            say_why_no_key_score(column, signal)
            train = check_labels(found, signal, column)["train"]
            for share in label_shares:
                training_share(train, signal, share, seed)
    kept = check_audio(found, seconds, most_skipped)
    if split:
        for column, signal in signals_of(kept, labels, numbers).items():
            check_labels(kept, signal, column)  # what is left may hold less
    return kept


def with_baselines(
    model: WaveformModel, seeds: Sequence[int], window_seconds: float | None
) -> dict[str, list[WaveformModel]]:
    """The model beside log-mel statistics and random encoders, one a seed.

    Raises:
        InputError: if windows of that length are too short for one of them.
    """
    models: dict[str, list[WaveformModel]] = {
        RANDOM: [random_twin(model, seed) for seed in seeds],
        STATISTICS: [LogMelStatistics(model.sample_rate)],
        THIS: [model],
    }
    for name, (first, *_) in models.items():
        check_window(window_seconds_of(model, window_seconds), f"the {name.removeprefix('this ')}", first)
    return models


def check_window(seconds: float, name: str, model: WaveformModel) -> None:
    """Raise InputError if windows are too short for a model.

    Args:
        seconds: length of a window.
        name: what the user calls the model, for the message.
        model: may say what it needs as `minimum_samples`.
    """
    samples = getattr(model, "minimum_samples", 1)
    if seconds * model.sample_rate < samples:
        least = math.ceil(100 * samples / model.sample_rate) / 100  # as many are enough
        raise InputError(f"window_seconds: {name} needs at least {least:.2f} s, got {seconds:g}")


def _in_a_cell(name: str, value: float) -> str:
    """A further metric; what is undefined is counted."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.0f}" if name.startswith("undefined") else f"{value:.3f}"


def others(score: Score) -> str:
    """The further metrics of a score in one cell."""
    cells = [f"{name.replace('_', ' ')} {_in_a_cell(name, value)}" for name, value in score.others.items()]
    if score.undefined_classes:
        cells.append(f"{score.undefined_classes} {score.classes_or_columns} undefined")
    return ", ".join(cells)
