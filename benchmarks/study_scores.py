"""Evaluation of an encoder in the study by probes, transfer, retrieval and robustness."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from study_runs import OMIT, Size

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.data import TrackTable, check_audio, encode_labels, load_tracks
from ssc_toolkit.data.corpus import build_corpus, build_notes
from ssc_toolkit.encoders import Encoder
from ssc_toolkit.evaluation import (
    Probe,
    Score,
    embed_models,
    embedding_geometry,
    fit_probe,
    provenance_of,
    retrieval,
)
from ssc_toolkit.evaluation.embedding.extract import expand_rows
from ssc_toolkit.files import atomic_path
from ssc_toolkit.options.names import CORRUPTIONS, STAGES

CLEAN, NOTES = "clean", "notes"
SEVERITIES = (0.5, 1.0, 1.5, 2.0)
UNSEEN = CORRUPTIONS[len(STAGES) :]
COLUMNS = ("key", "family", "mode", "collection", "meter")
NOTE_COLUMNS = ("pitch class", "pitch")
RETRIEVED = ("key", "family", "mode", "collection")
CORPUS_SEED = 0


@cache
def corpus(size: Size) -> Path:
    """Return the file of the track table of the default corpus, which has one seed for all runs."""
    return build_corpus(size.clips, CORPUS_SEED) / "tracks.csv"


@cache
def clips(size: Size) -> TrackTable:
    """Return the track table of the default corpus."""
    return check_audio(load_tracks(corpus(size)), size.view_seconds)


@cache
def notes(size: Size) -> TrackTable:
    """Return the track table of single notes, with the pitch class of each note."""
    table = check_audio(load_tracks(build_notes(size.notes, CORPUS_SEED) / "tracks.csv"), size.view_seconds)
    return table.assign(pitch=table["pitch"].astype(str), **{"pitch class": (table["pitch"] % 12).astype(str)})


def conditions(sample_rate: int) -> dict[str, Augmentation]:
    """Return corruptions by name (the training chain at four severities, and nine not used in training)."""
    chain = {f"chain {severity:g}": semisupcon_chain(sample_rate, severity, OMIT) for severity in SEVERITIES}
    return chain | {name: corruption(name, sample_rate) for name in UNSEEN}


def embed(encoders: Mapping[str, Encoder], size: Size, folder: Path) -> None:
    """Embed clips, notes and corrupted test clips with several encoders. Each clip is corrupted only once.

    Args:
        encoders: encoders by the name of their file.
        size: size of the study.
        folder: folder for an .npz file of each encoder. Encoders that have a file are skipped.
    """
    missing = {name: encoder for name, encoder in encoders.items() if not (folder / f"{name}.npz").exists()}
    if not missing:
        return
    test = clips(size).select(clips(size)["split"] == "test")
    embedded = {
        CLEAN: embed_models(missing, clips(size), size.view_seconds),
        NOTES: embed_models(missing, notes(size), size.view_seconds),
    }
    for name, transform in conditions(next(iter(missing.values())).sample_rate).items():
        print(f"corrupted: {name}", flush=True)
        embedded[name] = embed_models(missing, test, size.view_seconds, corruption=transform, seed=CORPUS_SEED)
    for name in missing:
        with atomic_path(folder / f"{name}.npz") as temporary, temporary.open("wb") as file:
            np.savez(file, **{condition: by_name[name] for condition, by_name in embedded.items()})


def measure(vectors: Mapping[str, np.ndarray], size: Size) -> dict[str, Any]:
    """Return all results of one encoder.

    Args:
        vectors: embeddings by condition, as `embed` stores them.
        size: size of the study.

    Returns:
        Provenance, probes by task and condition, mean average precision by label, geometry.
    """
    tracks, played = clips(size), notes(size)
    test = (tracks["split"] == "test").to_numpy()
    new = (tracks["timbre"] == "new").to_numpy()
    heard = {condition: part for condition, part in vectors.items() if condition != NOTES}
    probes: dict[str, dict[str, Any]] = {}
    for column in COLUMNS:
        fitted = fit_probe(vectors[CLEAN], tracks, column)
        subsets = {"family": ~new, "family, new timbres": new} if column == "family" else {column: None}
        for task, subset in subsets.items():
            probes[task] = score_robustness(fitted, heard, tracks, test, subset)
    for column in NOTE_COLUMNS:
        fitted = fit_probe(vectors[NOTES], played, column)
        probes[f"notes: {column}"] = {CLEAN: record(fitted.score(vectors[NOTES], played))}
    asked = tracks.select(test)
    return {
        "provenance": provenance_of(tracks, window_seconds=size.view_seconds, seeds=[CORPUS_SEED]),
        "tracks": digest(tracks),
        "probes": probes,
        "retrieval": {column: found(vectors[CLEAN][test], asked, column) for column in RETRIEVED},
        "geometry": embedding_geometry(vectors[CLEAN][test]).to_json(),
    }


def found(embeddings: np.ndarray, asked: TrackTable, column: str) -> float:
    """Return the mean average precision on the test clips. Other clips of the query's tune are not ranked."""
    groups = asked["group"].to_numpy()
    score = retrieval(embeddings, encode_labels(asked, column), groups=groups, other_groups_only=True)
    return round(score.headline.value, 5)


def score_robustness(
    probe: Probe,
    vectors: Mapping[str, np.ndarray],
    tracks: TrackTable,
    test: np.ndarray,
    subset: np.ndarray | None,
) -> dict[str, dict[str, Any]]:
    """Return the scores of a probe, fitted on clean clips, in every condition.

    Args:
        probe: probe of one label.
        vectors: embeddings by condition, of all clips or of the test clips only.
        tracks: track table of all clips.
        test: (clips,) bool, the test clips.
        subset: (clips,) bool, the test clips that are scored; all if None.
    """
    scores = {}
    for condition, part in vectors.items():
        everywhere = expand_rows(part, test) if len(part) < len(tracks) else part
        scores[condition] = record(probe.score(everywhere, tracks, subset))
    return scores


def record(score: Score) -> dict[str, Any]:
    """Return a score as stored in the results, with one bit for each clip (1 if right), in hexadecimal."""
    assert score.correct is not None
    others = {name: round(value, 5) for name, value in score.others.items()}
    correct = np.packbits(score.correct.astype(bool)).tobytes().hex()
    return {"accuracy": round(score.headline.value, 5), **others, "clips": score.tracks, "correct": correct}


def tracks_of(size: Size) -> dict[str, Any]:
    """Return the tune of each test clip of each task, in the order of the clips in all results."""
    tracks = clips(size)
    test, new = tracks["split"] == "test", tracks["timbre"] == "new"
    asked = {column: test & tracks[column].notna() for column in COLUMNS}
    asked |= {"family": test & ~new, "family, new timbres": test & new}
    groups = {task: tracks.frame.loc[rows, "group"].tolist() for task, rows in asked.items()}
    played = notes(size)
    programs = played.frame.loc[played["split"] == "test", "program"].tolist()  # notes of one instrument are alike
    groups |= {f"notes: {column}": programs for column in NOTE_COLUMNS}
    return {"hash": digest(tracks), "groups": groups, "labels": {c: int(tracks[c].nunique()) for c in COLUMNS}}


def digest(tracks: TrackTable) -> str:
    """Return a hash of the table (data, labels and split) that does not depend on its folder."""
    text = tracks.assign(path=tracks["path"].map(lambda path: Path(path).name)).frame.to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
