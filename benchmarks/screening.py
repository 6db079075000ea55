"""Screening of settings of `pretrain` on real recordings, by validation scores only.

    python benchmarks/real_recordings.py get --out=real
    python benchmarks/screening.py --real=real --out=screening --results=docs/screening --seed=0

The script pretrains an encoder on the music of the development set for each setting of `screening_settings.py`, and
writes one file of results per run. A run that has results is skipped, so the script can be stopped and rerun. The seed
determines weights, batches and the fold of the scored tracks. The test tracks of the development set are not used.
Start it for several seeds at once to use several processor cores.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from screening_settings import BUDGET, SETTINGS

from ssc_toolkit.commands.prepare import prepare
from ssc_toolkit.data import TrackTable, load_tracks
from ssc_toolkit.encoders import Encoder, MelCNN, load_encoder, reinitialize
from ssc_toolkit.evaluation import LogMelStatistics, MFCCStatistics, embed_models, embed_tracks, layer_widths, probe
from ssc_toolkit.files import lock_folder, make_writable_folder, write_text
from ssc_toolkit.options import PrepareOptions, ValidationOptions
from ssc_toolkit.training import PretrainOptions, pretrain

FOLDS = 5
STEPS = 300
WINDOW_SECONDS = 3.0
BASELINES = {"random": "untrained encoder", "mfcc": "MFCC statistics", "log-mel": "log-mel statistics"}
LABEL = "game"
MUSIC_TASKS, NOTE_TASKS = ("game", "artist"), ("family", "instrument", "pitch")
METHODS = ("linear", "knn")
OWN = "own"
"""Name of the readout of handcrafted statistics, which cannot be changed."""
READOUTS = {
    "mean of the last layer": ("mean", "last"),
    "last layer": ("mean_std", "last"),
    "all layers": ("mean_std", "all"),
    "log-mel, middle and last layer": ("mean_std", ["log_mel", "temporal.2", "last"]),
    "all layers, unit length": ("unit_mean_std", "all"),
    "all layers, scaled": ("scaled_mean_std", "all"),
}


def main() -> None:
    """Run the settings that have no results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of the development set")
    parser.add_argument("--out", type=Path, required=True, help="folder for runs and stores")
    parser.add_argument("--results", type=Path, required=True, help="folder for the results, with a file for each run")
    parser.add_argument("--seed", type=int, default=0, help="seed, which also determines the fold")
    parser.add_argument("--only", nargs="*", choices=[*BASELINES, *SETTINGS], help="settings to run; all by default")
    parser.add_argument("--steps", type=int, default=STEPS, help="number of steps of a run")
    options = parser.parse_args()
    folder = make_writable_folder(options.out / f"seed-{options.seed}", "out").absolute()
    results = make_writable_folder(options.results, "results")
    with lock_folder(folder, "out"):
        store = make_fold(options.real.absolute(), folder / "music", options.seed % FOLDS)
        for name in options.only or [*BASELINES, *SETTINGS]:
            path = results / f"{name}-{options.steps}-{options.seed}.json"
            if path.exists() and is_complete(path):
                continue
            encoder = make_encoder(name, store, folder / f"{name}-{options.steps}", options.steps, options.seed)
            title = BASELINES[name] if name in BASELINES else SETTINGS[name].title
            content = {"setting": name, "title": title, "seed": options.seed, "steps": options.steps}
            content["scores"] = score(encoder, store, options.real / "notes", options.seed)
            write_text(path, json.dumps(content, indent=1) + "\n")
            print(f"scored: {path.name}", flush=True)


def is_complete(path: Path) -> bool:
    """Return whether a file of results contains the scores of each readout, or those of an encoder with its own."""
    found = json.loads(path.read_text(encoding="utf-8"))["scores"].keys()
    return found == {OWN} or found >= READOUTS.keys()


def make_fold(real: Path, store: Path, fold: int) -> Path:
    """Return a store of the training and validation music, in which a fold has the split "test".

    The next fold has the split "valid". The audio is linked to that of the development set, so it takes no space.

    Args:
        real: folder of the development set.
        store: folder of the new store.
        fold: number of the fold.
    """
    table = pd.read_csv(real / "music.csv")
    table = table[table["split"] != "test"]
    table["split"] = split_by_fold(table, fold)
    table["path"] = [str(real / path) for path in table["path"]]
    if not store.exists():
        shutil.copytree(real / "music", store, copy_function=os.link)
    path = store.with_suffix(".csv")
    table.to_csv(path, index=False)
    prepare(PrepareOptions(tracks=str(path), out=str(store), sample_rate=16000))
    return store


def split_by_fold(table: pd.DataFrame, fold: int) -> np.ndarray:
    """Return the split of each track. All tracks of a group, which have one game and artist, are in the same fold.

    Args:
        table: table with the columns `group`, `game` and `artist`.
        fold: number of the fold with the split "test".
    """
    classes = table["game"] + " " + table["artist"].fillna("")
    folds: dict[str, int] = {}
    for name in sorted(classes.unique()):
        groups = sorted(table.loc[classes == name, "group"].unique())
        order = np.random.default_rng(0).permutation(len(groups))
        for place in order:
            folds.setdefault(groups[place], len(folds) % FOLDS)
    distance = (table["group"].map(folds).to_numpy() - fold) % FOLDS
    return np.select([distance == 0, distance == 1], ["test", "valid"], "train")


def make_encoder(name: str, store: Path, folder: Path, steps: int, seed: int) -> Encoder:
    """Return the encoder of a setting or baseline, and train it first if needed.

    Args:
        name: name of a setting or baseline.
        store: folder of the store from `make_fold`.
        folder: folder of the run.
        steps: number of steps.
        seed: seed of the run.
    """
    if name in BASELINES:
        made = {
            "random": lambda: reinitialize(MelCNN(), seed),
            "mfcc": MFCCStatistics,
            "log-mel": LogMelStatistics,
        }
        return made[name]()
    setting = SETTINGS[name]
    labels = {"labels": LABEL, "label_budget": BUDGET} if setting.is_labeled else {}
    options = PretrainOptions(
        tracks=str(store),
        out=str(folder),
        steps=steps,
        seed=seed,
        title=name,
        validation=ValidationOptions(labels=LABEL),
        **labels,
        **setting.arguments,
    )
    return load_encoder(pretrain(options))


def score(encoder: Encoder, store: Path, notes: Path, seed: int) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the scores of an encoder by readout, method and task.

    The probes of the music are fitted to its training tracks and scored on the fold. The notes, which are not used in
    pretraining, are cross-validated in `FOLDS` folds.
    """
    tables = {"music": load_tracks(store), "notes": load_tracks(notes)}
    tables["notes"] = tables["notes"].select(tables["notes"]["split"] != "test")
    embedded = {name: embed_readouts(encoder, table) for name, table in tables.items()}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for readout in embedded["music"]:
        found[readout] = {}
        for method in METHODS:
            scores = {
                task: probe(embedded["music"][readout], tables["music"], task, seed, method=method)
                for task in MUSIC_TASKS
            }
            scores |= {
                task: probe(
                    embedded["notes"][readout],
                    tables["notes"],
                    task,
                    seed,
                    method=method,
                    kind="number" if task == "pitch" else None,
                    folds=FOLDS,
                    splits=("train", "valid"),
                )
                for task in NOTE_TASKS
                if method == "linear" or task != "pitch"
            }
            found[readout][method] = {task: record(one) for task, one in scores.items()}
    return found


def embed_readouts(encoder: Encoder, tracks: TrackTable) -> dict[str, np.ndarray]:
    """Return embeddings of tracks by readout. Most of them are columns of the embeddings of all layers."""
    if encoder.fixed_readout:
        return {OWN: embed_tracks(encoder, tracks, WINDOW_SECONDS)}
    poolings = ("mean_std", "unit_mean_std", "scaled_mean_std")
    models = {pooling: copy.deepcopy(encoder).set_readout(pooling, "all") for pooling in poolings}
    embedded = embed_models(models, tracks, WINDOW_SECONDS)
    widths = layer_widths(encoder, "mean_std", "all")
    starts = dict(zip(widths, np.cumsum([0, *widths.values()]), strict=False))
    readouts = {}
    for name, (pooling, layers) in READOUTS.items():
        columns = [
            np.arange(widths[layer] // (2 if pooling == "mean" else 1)) + starts[layer]
            for layer in encoder.select_layers(layers)
        ]
        readouts[name] = embedded["mean_std" if pooling == "mean" else pooling][:, np.concatenate(columns)]
    return readouts


def record(one: Any) -> dict[str, Any]:
    """Return a score as plain data, with one bit per track (1 if right) in hexadecimal for classifications."""
    content: dict[str, Any] = {one.metric: round(one.headline.value, 5), "tracks": one.tracks, "groups": one.groups}
    if one.correct is not None:
        content["correct"] = np.packbits(one.correct.astype(bool)).tobytes().hex()
    return content


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; rerun the same command to resume") from None
