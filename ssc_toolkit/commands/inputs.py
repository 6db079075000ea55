"""Functions that several commands use to open models and tracks, lock the output folder, and write reports."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ssc_toolkit.data import Labels, add_splits, check_audio, load_tracks
from ssc_toolkit.data.store.reader import open_store_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.data.validation import kept_rows
from ssc_toolkit.encoders import Encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import BASELINES, RANDOM, make_baselines
from ssc_toolkit.evaluation.conditions import Condition, fixed_conditions
from ssc_toolkit.evaluation.embedding.models import WaveformModel, choose_window_seconds, hash_model, open_model
from ssc_toolkit.evaluation.embedding.projected import open_projected_model
from ssc_toolkit.evaluation.embedding.readout import check_frames, choose_readout
from ssc_toolkit.evaluation.metrics.key import find_unlike_keys
from ssc_toolkit.evaluation.probing.folds import INNER_FOLDS, CrossValidation, mark_cross_validated
from ssc_toolkit.evaluation.probing.heads import WEIGHTED
from ssc_toolkit.evaluation.probing.probe import check_labels, choose_cross_validation, label_signal
from ssc_toolkit.evaluation.probing.training_rows import choose_training_rows
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.files import clear_leftovers, lock_folder, make_writable_folder
from ssc_toolkit.options.evaluation import CrossValidationOptions
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import user_path
from ssc_toolkit.reports.page import REPORTS, Section, check_report_files, format_table, write_report

logger = logging.getLogger(__name__)

THIS = "this encoder"
ModelsBySeed = dict[str, list[WaveformModel]]
"""Type of models by name. Each value is a list of one model, or of one model for each seed."""


@contextmanager
def output_folder(out: str) -> Iterator[Path]:
    """Context manager that creates and locks the output folder of a command, and yields its path.

    Raises:
        InputError: if the folder is not writable, if a report cannot be written to it, or if another process uses it.
    """
    folder = make_writable_folder(user_path(out, "out"), "out")
    with lock_folder(folder, "out"):
        check_report_files(folder)
        clear_leftovers(folder, names=REPORTS)
        yield folder


def optional_folder(out: str | None) -> AbstractContextManager[Path | None]:
    """Return the context manager `output_folder`, or one that yields None if `out` is None."""
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
    """Print the tables of a report, and write the report to a folder if one is given.

    Args:
        folder: output folder, or None.
        title, lead, sections, content: as for `write_report`.
        printed: number of sections whose tables are printed; by default all.
    """
    for section in sections[:printed]:
        print(f"\n{section.title}\n\n{format_table(section.header, section.rows)}")
        for note in section.notes:
            print(f"\n{note}")
    if folder is not None:
        write_report(folder, title, lead, sections, content)


def open_encoder(
    encoder: str, cache: str | Path | None, projections: bool = False, *, allow_code: bool = False
) -> WaveformModel:
    """Open a model. If `cache` is given, check that the embeddings of the model can be cached.

    Args:
        encoder: folder of a saved encoder, MTT_musicnn or MSD_musicnn, or module:function that returns a model.
        cache: folder of the cache, or None.
        projections: whether the embeddings are those of the projector in the folder of the encoder.
        allow_code: allow module:function, which imports and runs code.

    Raises:
        InputError: if the model cannot be opened, or if its embeddings cannot be cached because it is a function
            without an `identity`.
    """
    model = open_projected_model(encoder) if projections else open_model(encoder, allow_code=allow_code)
    if cache is not None:
        hash_model(model)
    return model


def encoder_and_baselines(
    encoder: str,
    cache: str | Path | None,
    window_seconds: float | None,
    seeds: Sequence[int],
    projections: bool = False,
    *,
    allow_code: bool = False,
) -> tuple[ModelsBySeed, float]:
    """Open an encoder, and create the baselines to compare it with.

    Args:
        encoder: as for `open_encoder`.
        cache: as for `open_encoder`.
        window_seconds: length of a window in seconds; None for the window length of the encoder.
        seeds: seeds of the random encoders.
        projections: as for `open_encoder`. Random encoders then have a random projector.
        allow_code: as for `open_encoder`.

    Returns:
        The models by name (a random encoder for each seed, the other baselines, and the encoder), and the window
        length of all models in seconds.

    Raises:
        InputError: as for `open_encoder`, or if the windows are too short.
    """
    model = open_encoder(encoder, cache, projections, allow_code=allow_code)
    models = {**baselines_by_seed({THIS: model}, seeds), THIS: [model]}
    seconds = choose_window_seconds(model, window_seconds)
    choose_windows(models, seconds)
    return models, seconds


def baselines_by_seed(models: Mapping[str, WaveformModel], seeds: Sequence[int]) -> ModelsBySeed:
    """Return the baselines of a comparison by name: a random encoder for each seed, and log-mel statistics."""
    by_seed = [make_baselines(models, seed) for seed in seeds]
    return {
        name: [found[name] for found in (by_seed if name.startswith(RANDOM) else by_seed[:1])] for name in by_seed[0]
    }


def make_tasks(columns: Sequence[str]) -> list[Task]:
    """Return a prediction task for each label column, with the name of the column."""
    return [Task(column, column) for column in dict.fromkeys(columns)]


def choose_windows(models: ModelsBySeed, window_seconds: float | None) -> dict[str, float]:
    """Return the window length of each model in seconds, by name.

    It is `window_seconds` or, if that is None, the window length of the model.

    Raises:
        InputError: if a window is too short for its model.
    """
    windows = {name: choose_window_seconds(own[0], window_seconds) for name, own in models.items()}
    for name, seconds in windows.items():
        model = models[name][0]
        samples = getattr(model, "min_samples", 1)
        if seconds * model.sample_rate < samples:
            least = math.ceil(100 * samples / model.sample_rate) / 100  # rounded up, so that this value is accepted
            named = f"the {name}" if name.startswith(BASELINES) else name
            raise InputError(f"window_seconds: expected at least {least:.2f} s for {named}, got {seconds:g}")
    return windows


def check_readouts(
    models: ModelsBySeed,
    windows: Mapping[str, float],
    frame_pooling: str,
    layers: Sequence[str] | None,
    methods: Sequence[str] = (),
) -> dict[str, Any]:
    """Check that the readout of each model can be computed, before tracks are loaded.

    Args:
        models: models by name.
        windows: length of a window of each model in seconds.
        frame_pooling: as for `embed_tracks`.
        layers: as for `embed_tracks`.
        methods: methods of the probes.

    Returns:
        The readouts as plain data by model name. Models that give no frames are left out.

    Raises:
        InputError: as for `embed_tracks`, or if `methods` contains "weighted_layers" and no model has several layers.
    """
    readouts = {}
    most = 1
    for name, own in models.items():
        readout = choose_readout(own[0], frame_pooling, layers)
        check_frames(own[0], readout, round(windows[name] * own[0].sample_rate))
        if readout is not None and isinstance(own[0], Encoder):
            readouts[name] = readout.to_config()
            most = max(most, len(own[0].select_layers(readout.layers)))
    if WEIGHTED in methods and most == 1:
        raise InputError(f"methods: {WEIGHTED} expected several layers, such as layers=all, got one")
    return readouts


def load_for(models: ModelsBySeed, source: TrackSource, seed: int | None = None) -> TrackTable:
    """Load the track table of a command without opening audio files.

    If the tracks have decoded audio in a store, the sample rate of the store is compared with that of the models.

    Args:
        models: models that embed the tracks.
        source: track options of the command.
        seed: seed of the random split of a table without splits. If None, no split is added.

    Raises:
        InputError: if an option or a file is invalid.
    """
    found = load_tracks(source.tracks, source.root, source.variant)
    if seed is not None:
        found = add_splits(found, seed)
    for own in models.values():
        open_store_of(found, own[0].sample_rate)  # fail early if the store has another sample rate
    return found


def load_probed(
    models: ModelsBySeed, options: CrossValidationOptions, seed: int
) -> tuple[TrackTable, CrossValidation | None]:
    """Load the track table of a command that fits probes, without opening audio files.

    Args:
        models: models that embed the tracks.
        options: track options of the command.
        seed: seed of the random split of a table without splits.

    Returns:
        The table, and the settings of cross-validation or None. In cross-validation, the table has only the tracks to
        cross-validate, with the split "test".

    Raises:
        InputError: if an option or a file is invalid.
    """
    plan = choose_cross_validation(options.folds, options.group_by, options.splits)
    if plan is None:
        return load_for(models, options, seed), None
    found = mark_cross_validated(load_for(models, options), options.splits)
    return found.select(found["split"] == "test"), plan


def describe_cross_validation(options: CrossValidationOptions) -> dict[str, Any]:
    """Return the settings of cross-validation as an entry of the provenance. Without folds, there is no entry."""
    if options.folds is None:
        return {}
    settings = {"folds": options.folds, "group_by": options.group_by, "splits": list(options.splits)}
    return {"cross_validation": {**settings, "max_inner_folds": INNER_FOLDS}}


def label_signals(tracks: TrackTable, columns: Sequence[str], numbers: Sequence[str] = ()) -> dict[str, Labels]:
    """Return the labels of all tracks by label column. The columns in `numbers` contain numbers.

    Raises:
        InputError: if a column is missing or of another kind.
    """
    return {column: label_signal(tracks, column, "number" if column in numbers else None) for column in columns}


def probed_labels(
    tracks: TrackTable,
    columns: Sequence[str],
    numbers: Sequence[str],
    methods: Sequence[str],
    label_fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    plan: CrossValidation | None = None,
) -> dict[str, Labels]:
    """Return the labels of all tracks by label column, after checking that probes can be fitted to them.

    Args:
        tracks: track table with a column `split`.
        columns: names of the label columns.
        numbers: names of those label columns that contain numbers.
        methods: methods of the probes.
        label_fractions: fractions of the labeled training tracks to fit probes to.
        seeds: seeds of the selection of these fractions, and of the folds.
        plan: settings of cross-validation, or None.

    Raises:
        InputError: if a column or an argument is invalid, if a split has no labeled track, or if the tracks cannot be
            cross-validated.
    """
    signals = label_signals(tracks, columns, numbers)
    for column, signal in signals.items():
        if signal.kind == "number" and "prototypes" in methods:
            raise InputError(f"methods: prototypes expected classes, got numbers in {column}")
        odd = find_unlike_keys(signal.names) if signal.kind == "class" else []
        if odd:
            shown = ", ".join(map(repr, odd[:3]))
            logger.info("no weighted key score for column %r: %s is not a key", column, shown)
        if plan is not None:
            plan.check(tracks, signal, column, seeds, label_fractions)
            continue
        train = check_labels(tracks, signal, column)["train"]
        for fraction in label_fractions:
            choose_training_rows(train, signal, fraction, seeds[0])
    return signals


def usable_tracks(
    tracks: TrackTable, max_unusable: float, signals: Mapping[str, Labels]
) -> tuple[TrackTable, dict[str, Labels]]:
    """Return the tracks that are readable and not silent, and their labels by column.

    Args:
        tracks: track table.
        max_unusable: as for `check_audio`.
        signals: labels of all tracks by column.

    Raises:
        InputError: if too many tracks cannot be used.
    """
    kept = check_audio(tracks, max_unusable=max_unusable)
    return kept, kept_labels(tracks, kept, signals)


def kept_labels(tracks: TrackTable, kept: TrackTable, signals: Mapping[str, Labels]) -> dict[str, Labels]:
    """Return the labels of the tracks that `check_audio` kept, by column, from the labels of all tracks."""
    rows = kept_rows(tracks, kept)
    return {column: signal[rows] for column, signal in signals.items()}


def usable_probed_tracks(
    tracks: TrackTable,
    max_unusable: float,
    signals: Mapping[str, Labels],
    seeds: Sequence[int] = (0,),
    plan: CrossValidation | None = None,
) -> tuple[TrackTable, dict[str, Labels]]:
    """Return the result of `usable_tracks`, and check that probes can be fitted to the labels of each column.

    Arguments are as for `usable_tracks` and `probed_labels`.
    """
    kept, own = usable_tracks(tracks, max_unusable, signals)
    for column, signal in own.items():
        if plan is None:
            check_labels(kept, signal, column)
        else:
            plan.check(kept, signal, column, seeds)
    return kept, own


def stored_conditions(
    conditions: Sequence[Condition],
    sample_rate: int,
    tracks: TrackTable,
    seed: int,
    draws: str | None,
    folder: Path | None,
) -> list[Condition]:
    """Fix the random values of corruptions for each test track, and store them if there is a folder for them.

    Args:
        conditions: corruptions of the test tracks at a severity, and clean audio.
        sample_rate: sample rate of the corruptions in hertz.
        tracks: table of all tracks.
        seed: seed of the random values.
        draws: folder of stored corruptions. They are used, and missing ones are drawn and added. None: draw all.
        folder: output folder, in which corruptions are stored if `draws` is None.

    Returns:
        The same conditions with fixed corruptions.

    Raises:
        InputError: as for `fixed_conditions`.
    """
    place = folder / "draws" if draws is None and folder is not None else draws
    return fixed_conditions(conditions, sample_rate, tracks, seed, place, replace=draws is None)
