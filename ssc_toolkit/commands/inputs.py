"""Functions that several commands use: open models and tracks, lock the output folder, write the report."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ssc_toolkit.data import Labels, add_splits, check_audio, load_tracks
from ssc_toolkit.data.store import open_store_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.data.validation import kept_rows
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import LOG_MEL_STATISTICS, RANDOM, make_baselines
from ssc_toolkit.evaluation.conditions import Condition, fixed_conditions
from ssc_toolkit.evaluation.embedding.models import WaveformModel, choose_window_seconds, hash_model, open_model
from ssc_toolkit.evaluation.metrics.key import find_unlike_keys
from ssc_toolkit.evaluation.probing.probe import check_labels, choose_training_rows, label_signal
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.files import clear_leftovers, lock_folder, make_writable_folder
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import user_path
from ssc_toolkit.reports.page import REPORTS, Section, check_report_files, render_table, write_report

logger = logging.getLogger(__name__)

THIS = "this encoder"
Models = dict[str, list[WaveformModel]]
"""Models by name: one, or one for each seed."""


@contextmanager
def output_folder(out: str) -> Iterator[Path]:
    """Create and lock the output folder of a command, and yield its path.

    Raises:
        InputError: if the folder is not writable, if a report cannot be written to it, or if another process uses it.
    """
    folder = make_writable_folder(user_path(out, "out"), "out")
    with lock_folder(folder, "out"):
        check_report_files(folder)
        clear_leftovers(folder, names=REPORTS)
        yield folder


def optional_folder(out: str | None) -> AbstractContextManager[Path | None]:
    """Return the context of `output_folder`, or of None for a command without an output folder."""
    return nullcontext() if out is None else output_folder(out)


def publish(
    folder: Path | None,
    title: str,
    lead: str,
    sections: Sequence[Section],
    content: Mapping[str, Any],
    *,
    printed: int | None = None,
) -> None:
    """Print the tables of a report, and write the report to the output folder if there is one.

    Args:
        folder: output folder, or None.
        title, lead, sections, content: as for `write_report`.
        printed: number of sections whose tables are printed; by default all.
    """
    for section in sections[:printed]:
        print(f"\n{section.title}\n\n{render_table(section.header, section.rows)}")
    if folder is not None:
        write_report(folder, title, lead, sections, content)


def open_encoder(encoder: str, cache: str | Path | None) -> WaveformModel:
    """Open a model, and check that its embeddings can be cached if `cache` is given.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        cache: folder of the cache, or None.

    Raises:
        InputError: if the model cannot be opened, or if it cannot be cached because it has no identity.
    """
    model = open_model(encoder)
    if cache is not None:
        hash_model(model)
    return model


def encoder_and_baselines(
    encoder: str, cache: str | None, window_seconds: float | None, seeds: Sequence[int]
) -> tuple[Models, float]:
    """Open an encoder.

    Args:
        encoder: as for `open_encoder`.
        cache: as for `open_encoder`.
        window_seconds: length of a window in seconds; None for the window length of the encoder.
        seeds: seeds of the random encoders.

    Returns:
        A random encoder for each seed, log-mel statistics and the encoder, and the window length for all of them.

    Raises:
        InputError: as `open_encoder`, or if the windows are too short.
    """
    model = open_encoder(encoder, cache)
    models = {**baselines_by_seed({THIS: model}, seeds), THIS: [model]}
    seconds = choose_window_seconds(model, window_seconds)
    choose_windows(models, seconds)
    return models, seconds


def baselines_by_seed(models: Mapping[str, WaveformModel], seeds: Sequence[int]) -> Models:
    """Return the baselines of a comparison, with a random encoder for each seed."""
    by_seed = [make_baselines(models, seed) for seed in seeds]
    return {
        name: [found[name] for found in (by_seed if name.startswith(RANDOM) else by_seed[:1])] for name in by_seed[0]
    }


def make_tasks(labels: Sequence[str]) -> list[Task]:
    """Return a task for each label column."""
    return [Task(label, label) for label in dict.fromkeys(labels)]


def choose_windows(models: Models, window_seconds: float | None) -> dict[str, float]:
    """Return the window length of each model in seconds.

    Raises:
        InputError: if a window is too short for its model.
    """
    windows = {name: choose_window_seconds(own[0], window_seconds) for name, own in models.items()}
    for name, seconds in windows.items():
        model = models[name][0]
        samples = getattr(model, "min_samples", 1)
        if seconds * model.sample_rate < samples:
            least = math.ceil(100 * samples / model.sample_rate) / 100  # rounded up, so that this value is accepted
            named = f"the {name}" if name.startswith((RANDOM, LOG_MEL_STATISTICS)) else name
            raise InputError(f"window_seconds: expected at least {least:.2f} s for {named}, got {seconds:g}")
    return windows


def load_for(models: Models, source: TrackSource, seed: int | None = None) -> TrackTable:
    """Load the track table of a command, and check its store; no audio file is opened.

    Args:
        models: the models that embed the tracks.
        source: source of the tracks.
        seed: seed of the split of a table without splits; None to leave it without splits.

    Raises:
        InputError: if an option or a file is invalid.
    """
    found = load_tracks(source.tracks, source.root, source.variant)
    if seed is not None:
        found = add_splits(found, seed)
    for own in models.values():
        open_store_of(found, own[0].sample_rate)  # fail early if the store has another sample rate
    return found


def label_signals(tracks: TrackTable, labels: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Labels]:
    """Return the labels of columns, of which those in `numbers` hold numbers.

    Raises:
        InputError: if a column is missing or of another kind.
    """
    return {column: label_signal(tracks, column, "number" if column in numbers else None) for column in labels}


def probed_labels(
    tracks: TrackTable,
    labels: Sequence[str],
    numbers: Sequence[str],
    methods: Sequence[str],
    label_fractions: Sequence[float] = (1.0,),
    seed: int = 0,
) -> dict[str, Labels]:
    """Return the labels of columns after a check that probes can be fitted to each of them.

    Raises:
        InputError: if a column or an argument is invalid, or if a split has no labeled track.
    """
    signals = label_signals(tracks, labels, numbers)
    for column, signal in signals.items():
        if signal.kind == "number" and "prototypes" in methods:
            raise InputError(f"methods: prototypes expected classes, got numbers in {column}")
        odd = find_unlike_keys(signal.names) if signal.kind == "class" else []
        if odd:
            shown = ", ".join(map(repr, odd[:3]))
            logger.info("no weighted key score for column %r: %s is not a key", column, shown)
        train = check_labels(tracks, signal, column)["train"]
        for fraction in label_fractions:
            choose_training_rows(train, signal, fraction, seed)
    return signals


def usable_tracks(
    tracks: TrackTable,
    window_seconds: float,
    max_unusable: float,
    signals: Mapping[str, Labels],
) -> tuple[TrackTable, dict[str, Labels]]:
    """Return the tracks that are readable and long enough for a window, and their labels.

    Args:
        tracks: the table.
        window_seconds: length of the longest window in seconds.
        max_unusable: as for `check_audio`.
        signals: labels of all tracks by column.

    Raises:
        InputError: if too many tracks cannot be used.
    """
    kept = check_audio(tracks, window_seconds, max_unusable)
    rows = kept_rows(tracks, kept)
    return kept, {column: signal[rows] for column, signal in signals.items()}


def usable_probed_tracks(
    tracks: TrackTable, window_seconds: float, max_unusable: float, signals: Mapping[str, Labels]
) -> tuple[TrackTable, dict[str, Labels]]:
    """Return the same as `usable_tracks`, after a check that every split keeps labeled tracks of each column."""
    kept, own = usable_tracks(tracks, window_seconds, max_unusable, signals)
    for column, signal in own.items():
        check_labels(kept, signal, column)
    return kept, own


def stored_conditions(
    conditions: Sequence[Condition],
    sample_rate: int,
    tracks: TrackTable,
    seed: int,
    draws: str | None,
    folder: Path | None,
) -> list[Condition]:
    """Return the conditions with fixed corruptions of the test tracks.

    Args:
        conditions: the conditions.
        sample_rate: sample rate of the corruptions in hertz.
        tracks: table of all tracks.
        seed: seed of the draws.
        draws: folder of stored corruptions, which are used, and in which missing ones are stored. None to draw all.
        folder: output folder, in which corruptions are stored if `draws` is None.

    Raises:
        InputError: as `fixed_conditions`.
    """
    place = folder / "draws" if draws is None and folder is not None else draws
    return fixed_conditions(conditions, sample_rate, tracks, seed, place, replace=draws is None)
