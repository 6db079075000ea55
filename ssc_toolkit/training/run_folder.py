"""Functions that write and check the files in the folder of a training run."""

from __future__ import annotations

import csv
import json
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.encoders import ContrastiveModel
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.leaks import (
    TRAINING_TRACKS,
    find_pretraining_record,
    join_records,
    record_tracks,
    save_record,
)
from ssc_toolkit.files import (
    CHECKSUMS,
    read_checked_json,
    reading,
    verify_checksum,
    verify_listed,
    write_checked_json,
    write_checksums,
    write_text,
)
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import (
    BEST_CHECKPOINT,
    CHECKPOINT,
    ENCODER_FOLDER,
    SETTINGS,
    STEPS,
    TRAINING,
    check_run_settings,
    holds_run,
    kept_checkpoint,
    kept_steps,
    read_settings,
    select_settings,
    to_plain,
)
from ssc_toolkit.training.checkpoint_model import AVERAGED, TRAINED
from ssc_toolkit.training.model_folder import write_model_folder
from ssc_toolkit.training.provenance import describe_start

logger = logging.getLogger(__name__)

HISTORY = "history.csv"
CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
SUMMARY = "summary.json"
"""Name of the file that states why the run ended, and the values of its last and its best validation."""
STARTS = "starts"
"""Key of the list in `provenance.json` that has an entry for each start or resumption of the run."""
LEARNING_RATE_FILE = "learning_rate.json"
"""Name of the file with the learning rate that a range test chose, and the values of the test."""
PRECISION_FILE = "precision.json"
"""Name of the file with the precision that a measurement chose, and the measured times."""
UNUSABLE_TRACKS = "unusable.csv"
WRITTEN = (
    HISTORY,
    SETTINGS,
    CONFIG,
    PROVENANCE,
    CHECKSUMS,
    CHECKPOINT,
    TRAINING_TRACKS,
    BEST_CHECKPOINT,
    LEARNING_RATE_FILE,
    PRECISION_FILE,
    SUMMARY,
)
"""Names of the files of a run in its folder."""

_REPORT = re.compile(rf"(unlabeled(-\d+)?-)?{re.escape(UNUSABLE_TRACKS)}")
_TRAIN_AGAIN = "restore it, or train again in another folder"
_LOGS = (".log", ".out", ".err", ".txt")


def claim_run_folder(folder: Path, options: PretrainOptions, identity: Mapping[str, Any]) -> None:
    """Write the settings of a run to its folder, or check that a run in the folder has the same settings.

    Args:
        folder: folder of the run, locked by the caller.
        options: options of the run.
        identity: hashes of the data, and the version of this library.

    Raises:
        InputError: if the folder contains a run with other settings. The folder is not changed.
    """
    if holds_run(folder):
        check_run_settings(folder, options, identity)
    else:  # this replaces the settings of a run that has no checkpoint
        write_checked_json(folder / SETTINGS, to_plain(select_settings(options) | dict(identity)))


def report_name(argument: str) -> str:
    """Return the name of the file that lists the unusable audio files of the tracks in an argument.

    Examples:
        >>> report_name("tracks"), report_name("unlabeled[2]")
        ('unusable.csv', 'unlabeled-2-unusable.csv')
    """
    own = argument.replace("[", "-").replace("]", "")
    return UNUSABLE_TRACKS if argument == "tracks" else f"{own}-{UNUSABLE_TRACKS}"


def remove_checkpoints(folder: Path) -> None:
    """Remove what an earlier training left in the folder of a run whose training starts from its first step."""
    for name in (BEST_CHECKPOINT, LEARNING_RATE_FILE, PRECISION_FILE, TRAINING_TRACKS):
        (folder / name).unlink(missing_ok=True)
    for step in kept_steps(folder):
        kept_checkpoint(folder, step).unlink()


def check_folder(folder: Path) -> None:
    """Raise InputError if a folder contains anything other than a run.

    Hidden files, log files (suffixes .log, .out, .err, .txt) and lists of unusable files are allowed.

    Args:
        folder: folder of the run, locked by the caller.
    """
    if holds_run(folder) or _is_begun(folder):
        return
    others = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.suffix not in _LOGS and not _REPORT.fullmatch(path.name)
    )
    if others:
        raise InputError(
            f"out: expected an empty folder or that of a run, got {folder}, which contains {others[0]!r}; choose "
            "another folder"
        )


def _is_begun(folder: Path) -> bool:
    """Return whether a folder contains the settings of a training run, even without a checkpoint."""
    try:
        return not {STEPS, "batch_size"}.isdisjoint(read_settings(folder))
    except InputError:
        return False


def verify_run(folder: Path) -> None:
    """Raise InputError if a file in the folder of a complete run is missing or has changed since it was written."""
    advice = _TRAIN_AGAIN
    for part in (folder, folder / ENCODER_FOLDER):
        missing = verify_listed(part, "out", advice)
        if missing:
            raise InputError(f"out: expected the file {missing[0]} of a complete run in {part}, got none; {advice}")
    for name in (CHECKPOINT, BEST_CHECKPOINT):
        if (folder / name).exists():
            verify_checksum(folder / name, "out", advice, required=False)
    for name in (SUMMARY, LEARNING_RATE_FILE, PRECISION_FILE):
        if (folder / name).exists():
            read_checked_json(folder / name, "out", advice)
    if (folder / PROVENANCE).exists():
        _read_starts(folder / PROVENANCE)


def cut_history(folder: Path, options: PretrainOptions) -> None:
    """Remove the rows of steps from the history of a complete run that its encoder and checkpoint do not have.

    They were written by a longer run that was killed before it saved a checkpoint. The options of the complete run and
    the checksum of its history, which the longer run replaced or deleted, are then written again.

    Args:
        folder: folder of the run, locked by the caller.
        options: options of the run.

    Raises:
        InputError: if the history is damaged.
    """
    path, training = folder / HISTORY, folder / ENCODER_FOLDER / TRAINING
    if (folder / CHECKSUMS).exists() or not (path.exists() and training.exists()):
        return
    last = read_checked_json(training, "out", _TRAIN_AGAIN)["step"]
    with reading("out", path, _TRAIN_AGAIN), path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file, strict=True)
        kept = [row for row in rows if int(row[0]) <= last]
    if len(kept) < len(rows):
        write_text(path, format_csv(header, kept))
        write_text(folder / CONFIG, _format_config(options))
        write_checksums(folder, [HISTORY])
        logger.info("removed %d steps of a longer run, which were not saved, from %s", len(rows) - len(kept), path)


def record_start(folder: Path, options: PretrainOptions) -> None:
    """Save the options to `config.yaml` in the folder of a run, and add an entry for this start to `provenance.json`.

    Raises:
        InputError: if `provenance.json` is damaged. Nothing is written then.
    """
    path = folder / PROVENANCE
    before = _read_starts(path) if path.exists() else []
    write_text(folder / CONFIG, _format_config(options))
    write_checked_json(path, {STARTS: [*before, describe_start()]})


def _format_config(options: PretrainOptions) -> str:
    return yaml.safe_dump(to_plain(vars(options)), sort_keys=False, allow_unicode=True)


def _read_starts(path: Path) -> list[Any]:
    advice = "restore it, or delete it; only the list of earlier starts is lost"
    with reading("out", path, advice):
        before = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(before, list):  # earlier versions wrote a list without a checksum
            content = read_checked_json(path, "out", advice)
            before = content[STARTS] if content.keys() == {STARTS} else None
        if not isinstance(before, list) or not all(isinstance(start, dict) for start in before):
            raise ValueError("expected a list of starts")
        return before


def save_training_record(parts: Sequence[TrackTable], folder: Path, start: str | None = None) -> None:
    """Save the names, content hashes, fingerprints and groups of the training tracks to the folder of a run.

    The evaluation commands search for test tracks among them.

    Args:
        parts: track tables of the training.
        folder: folder of the run.
        start: saved encoder that the run starts from, whose training tracks are recorded too. None for a new encoder.
    """
    records = [record_tracks(part) for part in parts]
    earlier = None if start is None else find_pretraining_record(start)
    save_record(join_records(records if earlier is None else [*records, earlier]), folder / TRAINING_TRACKS)


def save_encoder(model: ContrastiveModel, folder: Path, step: int, options: PretrainOptions) -> Path:
    """Save the encoder and the projector of a complete run atomically, and return their folder.

    The checksum of `history.csv` is written first.

    Args:
        model: model with the weights to save.
        folder: folder of the run.
        step: number of completed steps.
        options: options of the run.
    """
    kind = TRAINED if options.optimizer.ema_decay is None else AVERAGED
    write_checksums(folder, [HISTORY])
    training = {"step": step, STEPS: options.steps, "weights": kind}
    return write_model_folder(model, folder / ENCODER_FOLDER, training, folder)
