"""Functions that several commands use to open the model, its baselines and the tracks."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ssc_toolkit.data import Labels, check_audio, load_tracks, with_splits
from ssc_toolkit.data.store import store_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import LOG_MEL_STATISTICS, RANDOM, LogMelStatistics, random_twin
from ssc_toolkit.evaluation.embedding.models import WaveformModel, fingerprint, open_model, window_seconds_of
from ssc_toolkit.evaluation.metrics.key import unlike_keys
from ssc_toolkit.evaluation.metrics.scores import Score
from ssc_toolkit.evaluation.probing.heads import HEADS
from ssc_toolkit.evaluation.probing.probe import check_labels, label_signal, training_share
from ssc_toolkit.files import clear_leftovers, held, writable_folder
from ssc_toolkit.paths import user_path
from ssc_toolkit.reports.page import REPORTS

logger = logging.getLogger(__name__)

THIS = "this encoder"
FINETUNE = "finetune"


@contextmanager
def output_folder(out: str | None) -> Iterator[Path | None]:
    """Create and lock the output folder of a command, and yield its path; yield None if there is no output folder.

    Raises:
        InputError: if the folder is not writable, or if another process uses it.
    """
    if out is None:
        yield None
        return
    folder = writable_folder(user_path(out, "out"), "out")
    with held(folder, "out"):
        clear_leftovers(folder, names=REPORTS)
        yield folder


def open_model_for(encoder: str, cache: str | None) -> WaveformModel:
    """Open a model, and check that its embeddings can be cached if `cache` is given.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        cache: folder of the embedding cache, or None.

    Raises:
        InputError: if the model cannot be opened, or if it cannot be cached because it has no identity.
    """
    model = open_model(encoder)
    if cache is not None:
        fingerprint(model)
    return model


def check_methods(methods: Sequence[str], known: Sequence[str] = tuple(HEADS)) -> None:
    """Raise InputError unless there is at least one method and all are known."""
    for method in methods or ("",):
        if method not in known:
            raise InputError(f"methods: expected some of {', '.join(known)}, got {method!r}")


def label_signals(tracks: TrackTable, labels: Sequence[str], numbers: Sequence[str]) -> dict[str, Labels]:
    """Return the labels of columns.

    Raises:
        InputError: if a column is missing or of another kind, or if a name in `numbers` is not in `labels`.
    """
    odd = set(numbers) - set(labels)
    if odd:
        raise InputError(f"numbers: expected names from labels ({', '.join(labels)}), got {', '.join(sorted(odd))}")
    return {column: label_signal(tracks, column, "number" if column in numbers else None) for column in labels}


def say_why_no_key_score(column: str, labels: Labels) -> None:
    """Log why a column that is mostly keys gets no weighted key score."""
    odd = unlike_keys(labels.names) if labels.kind == "class" else []
    if odd:
        shown = ", ".join(map(repr, odd[:3]))
        logger.info("no weighted key score for column %r: %s is not a key", column, shown)


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
) -> TrackTable:
    """Return the usable tracks with splits, after a check of columns and sample rates before any file is opened.

    Args:
        model: the model that embeds the tracks.
        tracks, root, variant: as for `load_tracks`.
        window_seconds: length of a window in seconds, or None for the window length of the model.
        most_skipped: as for `check_audio`.
        labels: label columns. If `split` is True, every split must have labeled tracks of each column.
        numbers: those of the label columns that hold numbers.
        methods: methods of the probes.
        label_shares: fractions of the training labels that probes are fitted to.
        seed: seed of the split, if the table has none, and of the fractions.
        split: add splits to a table that has none.

    Raises:
        InputError: if an argument or a file is invalid.
    """
    seconds = window_seconds_of(model, window_seconds)
    check_window(seconds, THIS, model)
    found = load_tracks(tracks, root, variant)
    if split:
        found = with_splits(found, seed)
    store_of(found, model.sample_rate)
    for column, signal in label_signals(found, labels, numbers).items():
        if signal.kind == "number" and "prototypes" in methods:
            raise InputError(f"methods: prototypes expected classes, got numbers in {column}")
        if split:
            say_why_no_key_score(column, signal)
            train = check_labels(found, signal, column)["train"]
            for share in label_shares:
                training_share(train, signal, share, seed)
    kept = check_audio(found, seconds, most_skipped)
    if split:
        for column, signal in label_signals(kept, labels, numbers).items():
            check_labels(kept, signal, column)  # unreadable tracks were removed
    return kept


def with_baselines(
    model: WaveformModel, seeds: Sequence[int], window_seconds: float | None
) -> dict[str, list[WaveformModel]]:
    """Return the model, log-mel statistics, and a random encoder for each seed.

    Raises:
        InputError: if the windows are too short for one of the models.
    """
    models: dict[str, list[WaveformModel]] = {
        RANDOM: [random_twin(model, seed) for seed in seeds],
        LOG_MEL_STATISTICS: [LogMelStatistics(model.sample_rate)],
        THIS: [model],
    }
    for name, (first, *_) in models.items():
        check_window(window_seconds_of(model, window_seconds), f"the {name.removeprefix('this ')}", first)
    return models


def check_window(seconds: float, name: str, model: WaveformModel) -> None:
    """Raise InputError if windows are too short for a model.

    Args:
        seconds: length of a window in seconds.
        name: name of the model, for the error.
        model: the model; its optional attribute `minimum_samples` is the minimum number of samples.
    """
    samples = getattr(model, "minimum_samples", 1)
    if seconds * model.sample_rate < samples:
        least = math.ceil(100 * samples / model.sample_rate) / 100  # rounded up, so that this value is accepted
        raise InputError(f"window_seconds: expected at least {least:.2f} s for {name}, got {seconds:g}")


def _in_a_cell(name: str, value: float) -> str:
    """Format a metric; the number of undefined queries is formatted as a count."""
    if math.isnan(value):
        return "undefined"
    return f"{value:.0f}" if name.startswith("undefined") else f"{value:.3f}"


def others(score: Score) -> str:
    """Format all metrics of a score except the headline metric, for one cell of a table."""
    cells = [f"{name.replace('_', ' ')} {_in_a_cell(name, value)}" for name, value in score.others.items()]
    if score.undefined_classes:
        cells.append(f"{score.undefined_classes} {score.classes_or_columns} undefined")
    return ", ".join(cells)
