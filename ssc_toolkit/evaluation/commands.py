"""The jobs of the command line that look at an encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.data import check_audio, dataset_of, encode_labels, load_tracks, with_splits
from ssc_toolkit.data.store import store_of
from ssc_toolkit.encoders import Encoder, load_encoder, reinitialized
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import LogMelStatistics
from ssc_toolkit.evaluation.corrupted import SEVERITIES, Task, robustness
from ssc_toolkit.evaluation.embed import embed_tracks
from ssc_toolkit.evaluation.probing import Probe, Score, check_labels, fit_probe
from ssc_toolkit.evaluation.report import Section, table, write_report
from ssc_toolkit.files import atomic_path, writable_folder

CHAIN = "chain"


def embed(
    encoder: str,
    tracks: str,
    out: str,
    root: str | None = None,
    variant: str | None = None,
    window_seconds: float = 3.0,
    most_skipped: float = 0.1,
) -> Path:
    """Embed every track and write one .npz file: `embeddings` (tracks, dim), `paths` and `seconds`.

    Args:
        encoder: folder of a saved encoder.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset.
        out: file to write, ending in .npz; one of that name is replaced.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        window_seconds: an embedding is the mean over non-overlapping windows of this length.
        most_skipped: share of the files that may be unreadable or shorter than a window.

    Returns:
        The file.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
    path = Path(out)
    if path.suffix != ".npz":
        raise InputError(f"out: expected a file name ending in .npz, got {out}")
    writable_folder(path.absolute().parent, "out")
    model = load_encoder(encoder)
    kept = _open(model, tracks, root, variant, window_seconds, most_skipped)
    embeddings = embed_tracks(model, kept, window_seconds)
    decoded = np.isfinite(embeddings).all(axis=1)
    if not decoded.any():
        raise InputError("tracks: none of the files could be decoded")
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            embeddings=embeddings[decoded],
            paths=kept["path"].to_numpy(dtype=str)[decoded],
            seconds=kept["seconds"].to_numpy()[decoded],
        )
    print(f"{int(decoded.sum())} embeddings of width {embeddings.shape[1]} in {path}")
    return path


def probe(
    encoder: str,
    labels: tuple[str, ...],
    tracks: str = "scores",
    root: str | None = None,
    variant: str | None = None,
    window_seconds: float = 3.0,
    out: str | None = None,
    most_skipped: float = 0.1,
    seed: int = 0,
) -> dict[str, dict[str, Score]]:
    """Probe an encoder with a linear classifier for each label, beside an untrained one and no encoder at all.

    Prints a table of test scores with 95 % intervals (bootstrap over groups of tracks).

    Args:
        encoder: folder of a saved encoder.
        labels: label columns to predict.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset. A `split` column (train, valid, test) is used if
            there is one; otherwise tracks are split at random, 70/10/20, a `group` together.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        window_seconds: an embedding is the mean over non-overlapping windows of this length.
        out: folder for report.json, report.md and report.html, which are replaced; nothing is written by default.
        most_skipped: share of the files that may be unreadable or shorter than a window.
        seed: of the random encoder and the split.

    Returns:
        Scores by model and label.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
    folder = None if out is None else writable_folder(Path(out), "out")
    model = load_encoder(encoder)
    kept = _open(model, tracks, root, variant, window_seconds, most_skipped, labels, seed)
    scores: dict[str, dict[str, Score]] = {}
    for name, candidate in _with_baselines(model, seed).items():
        embeddings = embed_tracks(candidate, kept, window_seconds)
        scores[name] = {column: fit_probe(embeddings, kept, column).score(embeddings, kept) for column in labels}
    section = _probe_section(scores)
    print(table(section.header, section.rows))
    if folder is not None:
        content = {
            "dataset": dataset_of(kept),
            "probes": {m: {t: s.to_json() for t, s in own.items()} for m, own in scores.items()},
        }
        write_report(folder, "Linear probes", f"Encoder {encoder}, tracks {tracks}.", [section], content)
    return scores


def stress(
    encoder: str,
    labels: tuple[str, ...],
    tracks: str = "scores",
    root: str | None = None,
    variant: str | None = None,
    corruptions: tuple[str, ...] = (CHAIN,),
    severities: tuple[float, ...] = SEVERITIES,
    omit: tuple[str, ...] = (),
    window_seconds: float = 3.0,
    out: str | None = None,
    most_skipped: float = 0.1,
    seed: int = 0,
) -> dict[str, dict[str, dict[float, Score]]]:
    """Probe an encoder on clean audio, then score the probes on corrupted test tracks.

    Prints a table of test scores with 95 % intervals (bootstrap over groups of tracks).

    Args:
        encoder: folder of a saved encoder.
        labels: label columns to predict.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset; splits as for `probe`.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        corruptions: "chain" for the whole augmentation chain, or one alone: its stages gain, polarity_inversion,
            colored_noise, filter, pitch_shift, delay; or time_stretch, splice_out, reverb, chorus, distortion,
            compression, reverse, bitcrush, mp3.
        severities: 0 (clean) to 2.5.
        omit: stages to leave out of the chain; leave out pitch_shift where labels speak of key or pitch.
        window_seconds: an embedding is the mean over non-overlapping windows of this length.
        out: folder for report.json, report.md and report.html, which are replaced; nothing is written by default.
        most_skipped: share of the files that may be unreadable or shorter than a window.
        seed: of the corruptions and the split.

    Returns:
        Scores by corruption, label and severity.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
    folder = None if out is None else writable_folder(Path(out), "out")
    for name in corruptions:
        if name not in (CHAIN, *CORRUPTIONS):
            raise InputError(f"corruptions: expected {CHAIN} or one of {', '.join(CORRUPTIONS)}, got {name!r}")
    model = load_encoder(encoder)
    try:
        transforms = {
            name: {severity: _corruption(name, model.sample_rate, severity, omit) for severity in severities}
            for name in corruptions
        }
    except ValueError as error:
        raise InputError(str(error)) from error
    kept = _open(model, tracks, root, variant, window_seconds, most_skipped, labels, seed)
    embeddings = embed_tracks(model, kept, window_seconds)
    probes: dict[str, Probe] = {column: fit_probe(embeddings, kept, column) for column in labels}
    tasks = [Task(column, column) for column in labels]
    scores = {
        name: robustness(model, probes, tasks, kept, window_seconds, by_severity.__getitem__, severities, seed=seed)
        for name, by_severity in transforms.items()
    }
    section = _stress_section(scores, severities)
    print(table(section.header, section.rows))
    if folder is not None:
        content = {
            "dataset": dataset_of(kept),
            "robustness": {
                name: {t: {str(s): score.to_json() for s, score in own.items()} for t, own in by_task.items()}
                for name, by_task in scores.items()
            },
        }
        write_report(folder, "Robustness", f"Encoder {encoder}, tracks {tracks}.", [section], content)
    return scores


def _open(
    model: Encoder,
    tracks: str,
    root: str | None,
    variant: str | None,
    window_seconds: float,
    most_skipped: float,
    labels: tuple[str, ...] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """The usable tracks, with splits."""
    if window_seconds * model.sample_rate < model.minimum_samples:
        needed = model.minimum_samples / model.sample_rate
        raise InputError(f"window_seconds: the encoder needs at least {needed:.2f} s, got {window_seconds}")
    found = with_splits(load_tracks(tracks, root, variant), seed)
    store_of(found, model.sample_rate)  # a store at another rate is an error before anything is looked at
    for column in labels:
        check_labels(found, encode_labels(found, column), column)  # an error before any file is opened
    return check_audio(found, window_seconds, most_skipped)


def _with_baselines(model: Encoder, seed: int) -> dict[str, Encoder]:
    return {
        "random encoder": reinitialized(model, seed),
        "log-mel statistics": LogMelStatistics(model.sample_rate),
        "this encoder": model,
    }


def _corruption(name: str, sample_rate: int, severity: float, omit: tuple[str, ...]) -> Augmentation:
    if name == CHAIN:
        return semisupcon_chain(sample_rate, severity, omit)
    return corruption(name, sample_rate, severity)


def _probe_section(scores: dict[str, dict[str, Score]]) -> Section:
    rows = [
        [model, label, score.metric, str(score.headline), _others(score), str(score.tracks)]
        for model, own in scores.items()
        for label, score in own.items()
    ]
    header = ["model", "label", "metric", "test score", "other metrics", "tracks"]
    return Section("Linear probes", header=header, rows=rows)


def _stress_section(scores: dict[str, dict[str, dict[float, Score]]], severities: tuple[float, ...]) -> Section:
    rows = [
        [name, label, *(str(by_severity[severity].headline) for severity in severities)]
        for name, by_label in scores.items()
        for label, by_severity in by_label.items()
    ]
    header = ["corruption", "label", *(f"severity {severity:g}" for severity in severities)]
    return Section("Robustness", header=header, rows=rows)


def _others(score: Score) -> str:
    cells = [f"{name.replace('_', ' ')} {value:.3f}" for name, value in score.others.items()]
    if score.undefined_classes:
        cells.append(f"{score.undefined_classes} classes undefined")
    return ", ".join(cells)
