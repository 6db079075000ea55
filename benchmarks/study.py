"""Study of the effect of labels on the default corpus.

It takes hours on two cores and can be resumed.

    python benchmarks/study.py --out=study --results=docs/study

The script trains every run of `study_runs.py`, embeds clean and corrupted clips, evaluates the embeddings, and writes
one file of results for each run. A run that has results is skipped. The repository contains results, so the script runs
only the missing runs. `benchmarks/study_page.py` converts the results to tables and figures.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from study_runs import OMIT, QUICK, RANDOM, SEEDS, SETTINGS, Run, Size, blocks
from study_scores import corpus, embed, measure, tracks_of

from ssc_toolkit.encoders import Encoder, MelCNN, load_encoder, reinitialize
from ssc_toolkit.evaluation import LogMelStatistics
from ssc_toolkit.files import lock_folder, make_writable_folder, write_text
from ssc_toolkit.options import EncoderOptions
from ssc_toolkit.training import PretrainOptions, ReadoutOptions, ValidationOptions, pretrain

MAX_HZ = 5000.0
"""Upper edge of the highest mel band of encoder and log-mel statistics in hertz."""


def main() -> None:
    """Run the runs that have no results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and embeddings")
    parser.add_argument("--results", type=Path, required=True, help="folder for the results, with a file for each run")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, help="settings to run; all by default")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="number of seeds; all by default")
    parser.add_argument("--quick", action="store_true", help="a tiny size, to check that everything works")
    options = parser.parse_args()
    size = QUICK if options.quick else Size()
    folder, results = make_writable_folder(options.out, "out"), make_writable_folder(options.results, "results")
    with lock_folder(folder, "out"):
        claim(results, size)
        for number, block in enumerate(blocks(), start=1):
            wanted = [run for run in block if run.seed < options.seeds]
            if options.only:
                wanted = [run for run in wanted if run.setting.name in options.only]
            missing = [run for run in wanted if not (results / f"{run.name}.json").exists()]
            print(f"block {number} of {len(blocks())}: {len(missing)} of {len(wanted)} runs to do", flush=True)
            complete(missing, size, folder, results)


def claim(results: Path, size: Size) -> None:
    """Write the list of test clips of the results, or check that existing results have the same test clips."""
    path, text = results / "tracks.json", json.dumps(tracks_of(size)) + "\n"
    if not path.exists():
        write_text(path, text)
    elif path.read_text() != text:
        raise SystemExit(f"{results} has results of other clips; choose another folder")


def complete(runs: list[Run], size: Size, folder: Path, results: Path) -> None:
    """Train, embed and measure the runs, and skip steps that are done."""
    encoders = {run.name: encoder_of(run, size, folder) for run in runs}
    embed(encoders, size, make_writable_folder(folder / "embeddings", "out"))
    for run in runs:
        with np.load(folder / "embeddings" / f"{run.name}.npz") as vectors:
            found = measure(dict(vectors), size)
        content = {"setting": run.setting.name, "title": run.setting.title, "seed": run.seed, "size": vars(size)}
        write_text(results / f"{run.name}.json", json.dumps(content | found) + "\n")
        print(f"measured: {run.name}", flush=True)


def encoder_of(run: Run, size: Size, folder: Path) -> Encoder:
    """Return the encoder of a run, and train it first if needed."""
    if run.setting.arguments is None:
        some = MelCNN(max_hz=MAX_HZ)
        return (
            reinitialize(some, run.seed)
            if run.setting.name == RANDOM
            else LogMelStatistics(some.sample_rate, max_hz=MAX_HZ)
        )
    options = PretrainOptions(
        tracks=str(corpus(size)),
        out=str(folder / "runs" / run.name),
        view_seconds=size.view_seconds,
        batch_size=size.batch_size,
        steps=size.steps,
        omit=OMIT,
        validation=ValidationOptions(labels="key"),
        encoder=EncoderOptions(max_hz=MAX_HZ),
        readout=ReadoutOptions(frame_pooling="default", layers="last"),
        seed=run.seed,
        title=run.name,
        **run.setting.arguments,
    )
    return load_encoder(pretrain(options))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit("interrupted; rerun the same command to resume") from None
