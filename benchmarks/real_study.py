"""Study of the defaults of `pretrain` on real recordings that are not used in pretraining.

    python benchmarks/real_recordings.py get --out=real
    python benchmarks/real_study.py --real=real --out=screening --results=docs/real --seed=0

The script compares encoders without labels and with labels of 30 % of the training tracks, after 1 000 steps, with
handcrafted features and an untrained encoder. Training tracks, folds and runs are those of `screening.py`, with which
the settings were chosen. Scored are the music tracks of the fold and the test tracks, which were not used for any
choice, and the notes. The script writes the predictions of each track to one file per encoder. An encoder that has
results is skipped. `benchmarks/real_study_page.py` converts the results to tables and a figure.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from screening import FOLDS, METHODS, MUSIC_TASKS, NOTE_TASKS, WINDOW_SECONDS, make_encoder, make_fold, split_by_fold

from ssc_toolkit.augmentations import corruption
from ssc_toolkit.data import TrackTable, encode_labels, load_tracks
from ssc_toolkit.encoders import Encoder
from ssc_toolkit.evaluation import Predictions, embed_models, fit_probe
from ssc_toolkit.evaluation.probing.cross_validation import fit_folds
from ssc_toolkit.evaluation.probing.folds import CrossValidation, mark_cross_validated
from ssc_toolkit.files import lock_folder, make_writable_folder, write_text

STEPS = 1000
MODELS = ("mfcc", "log-mel", "random", "self-full-band", "semi-full-band-weight-0.2")
CLEAN = "clean"
CORRUPTIONS = ("colored_noise", "filter", "reverb", "mp3")
"""Two transforms of the augmentation chain, and two that are not in it."""
EVERY_SPLIT = ("train", "valid", "test")


def main() -> None:
    """Score the encoders that have no results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of the development set")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and stores, as for screening.py")
    parser.add_argument("--results", type=Path, required=True, help="folder for the results, with a file per encoder")
    parser.add_argument("--seed", type=int, default=0, help="seed, which also determines the fold")
    parser.add_argument("--steps", type=int, default=STEPS, help="number of steps of a run")
    options = parser.parse_args()
    folder = make_writable_folder(options.out / f"seed-{options.seed}", "out").absolute()
    results = make_writable_folder(options.results, "results")
    paths = {name: results / f"{name}-{options.seed}.json" for name in MODELS}
    wanted = [name for name in MODELS if not paths[name].exists()]
    write_tracks(options.real, results / "tracks.csv")
    with lock_folder(folder, "out"):
        store = make_fold(options.real.absolute(), folder / "music", options.seed % FOLDS)
        encoders = {
            name: make_encoder(name, store, folder / f"{name}-{options.steps}", options.steps, options.seed)
            for name in wanted
        }
        found = predict(encoders, options.real, options.seed)
    for name, predictions in found.items():
        content = {"model": name, "seed": options.seed, "steps": options.steps, "predictions": predictions}
        write_text(paths[name], json.dumps(content) + "\n")
        print(f"scored: {paths[name].name}", flush=True)


def write_tracks(real: Path, path: Path) -> None:
    """Write the set, group and split of each row of the results."""
    parts = [load_tracks(real / name).frame.assign(set=name) for name in ("music", "notes")]
    write_text(path, pd.concat(parts)[["set", "track_id", "group", "split"]].to_csv(index=False))


def predict(encoders: Mapping[str, Encoder], real: Path, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return the predictions of each encoder, as one record per task, method and condition.

    Args:
        encoders: encoders by name.
        real: folder of the development set.
        seed: seed of the probes and number of the fold.
    """
    music, notes = load_tracks(real / "music"), load_tracks(real / "notes")
    music = music.assign(chosen_by=music["split"], split=split_music(music, seed))
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in encoders}
    if not encoders:
        return found
    for tracks, tasks, is_scored in (
        (music, MUSIC_TASKS, (music["chosen_by"] == "test").to_numpy()),
        (notes, NOTE_TASKS, np.ones(len(notes), bool)),
    ):
        clean = embed_models(encoders, tracks, WINDOW_SECONDS)
        probes = {
            (name, task, method): make_probe(embeddings, tracks, task, method, seed)
            for name, embeddings in clean.items()
            for task in tasks
            for method in METHODS
            if (task, method) != ("pitch", "knn")
        }
        for condition in (CLEAN, *CORRUPTIONS):
            embeddings = clean if condition == CLEAN else embed_corrupted(encoders, tracks, is_scored, condition)
            for (name, task, method), one in probes.items():
                predictions = one(embeddings[name])
                found[name].append({"task": task, "method": method, "condition": condition, **as_record(predictions)})
            print(f"predicted: {', '.join(tasks)}, {condition}", flush=True)
    return found


def split_music(music: TrackTable, seed: int) -> np.ndarray:
    """Return the split of each track: "test" for the test tracks and the fold of the seed, as in `make_fold`."""
    splits = music["split"].to_numpy(dtype=object, copy=True)
    splits[splits != "test"] = split_by_fold(music.frame[splits != "test"], seed % FOLDS)
    return splits


def make_probe(embeddings: np.ndarray, tracks: TrackTable, task: str, method: str, seed: int) -> Any:
    """Return a function from embeddings to predictions, by a probe of the music or cross-validated probes of the notes.

    Args:
        embeddings: (tracks, dim) clean embeddings.
        tracks: the tracks.
        task: label column.
        method: method of the probe.
        seed: seed of the probe and of the folds of notes.
    """
    if task in MUSIC_TASKS:
        one = fit_probe(embeddings, tracks, task, method, seed=seed)
        return lambda vectors: one.predict(vectors, tracks)
    labels = encode_labels(tracks, task, kind="number" if task == "pitch" else "class")
    folds = CrossValidation(FOLDS).assign(mark_cross_validated(tracks, EVERY_SPLIT), labels, task, seed)
    return fit_folds(embeddings, labels, task, folds, method, seed=seed).predict


def embed_corrupted(
    encoders: Mapping[str, Encoder], tracks: TrackTable, is_scored: np.ndarray, name: str
) -> dict[str, np.ndarray]:
    """Return embeddings of corrupted tracks. Rows of tracks that are not scored are NaN."""
    sample_rate = next(iter(encoders.values())).sample_rate
    found = embed_models(encoders, tracks.select(is_scored), WINDOW_SECONDS, corruption=corruption(name, sample_rate))
    embeddings = {}
    for model, rows in found.items():
        embeddings[model] = np.full((len(tracks), rows.shape[1]), np.nan, np.float32)
        embeddings[model][is_scored] = rows
    return embeddings


def as_record(predictions: Predictions) -> dict[str, Any]:
    """Return the row of each track with whether its class is right, or with its number and prediction."""
    content: dict[str, Any] = {"rows": predictions.rows.tolist()}
    if predictions.kind == "number":
        numbers = predictions.outputs[:, 0], predictions.truth[:, 0]
        return content | dict(zip(("output", "truth"), (one.round(3).tolist() for one in numbers), strict=True))
    return content | {"correct": (predictions.outputs.argmax(axis=1) == predictions.truth).astype(int).tolist()}


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; rerun the same command to resume") from None
