"""Several models side by side, from the command to the numbers of the report."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from compared import (
    BASELINES,
    CONDITIONS,
    KEYS,
    MODELS,
    PITCHES,
    RATE,
    WINDOW,
    command,
    run,
    write_encoders,
    write_music,
)
from page_parts import Parts

import ssc_toolkit
from ssc_toolkit.cli import main
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.encoders import MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import (
    LogMelStatistics,
    Predictions,
    Task,
    as_model,
    compare_models,
    conditions_for,
    embed_tracks,
    fit_probe,
    measure,
    paired_difference,
)
from ssc_toolkit.evaluation.baselines import make_baselines, open_models
from ssc_toolkit.evaluation.conditions import name_condition

TASKS = ("key", "tags")
RESOURCES = Path(ssc_toolkit.__file__).parent / "reports" / "assets"


@pytest.fixture(scope="module")
def content(comparison) -> dict:
    return json.loads((comparison.folder / "report.json").read_text())


@pytest.fixture
def tracks(comparison) -> pd.DataFrame:
    return check_audio(load_tracks(comparison.table), progress=False)


def chosen(records: list[dict], **what: object) -> list[dict]:
    return [record for record in records if all(record[name] == value for name, value in what.items())]


@pytest.mark.slow
def test_all_models_and_baselines_are_scored_on_all_tasks(content):
    probed = chosen(content["records"], method="linear")
    asked = {(r["model"], r["task"], r["corruption"], r["severity"]) for r in probed}
    conditions = (("clean", 0.0), ("chain", 1.0), ("bitcrush", 1.0))
    everyone = (*MODELS, *BASELINES)
    assert asked == {(m, t, *c) for m, t, c in itertools.product(everyone, TASKS, conditions)}
    assert {(r["model"], r["task"]) for r in chosen(content["records"], method="retrieval")} == set(
        itertools.product(everyone, TASKS)
    )
    pairs = {(d["model"], d["less"]) for d in content["differences"]}
    assert pairs == {(MODELS[1], MODELS[0]), *itertools.product(MODELS, BASELINES)}
    drops = chosen(content["records"], metric="relative_drop")
    assert {name_condition(d["corruption"], d["severity"]) for d in content["differences"]} == set(CONDITIONS)
    assert {name_condition(d["corruption"], d["severity"]) for d in drops} == set(CONDITIONS[1:])


@pytest.mark.slow
def test_the_numbers_are_those_of_a_probe_by_hand(comparison, content, tracks):
    encoder = load_encoder(comparison.encoders[1])
    embeddings = embed_tracks(encoder, tracks, WINDOW, progress=False)
    for task, metric in (("key", "accuracy"), ("tags", "average precision")):
        score = fit_probe(embeddings, tracks, task).score(embeddings, tracks)
        (found,) = chosen(
            content["records"], model=MODELS[1], task=task, metric=metric, corruption="clean", method="linear"
        )
        assert (found["value"], found["low"]) == pytest.approx((score.headline.value, score.headline.low), abs=1e-6)
        (theirs,) = chosen(
            content["records"], model=MODELS[0], task=task, metric=metric, corruption="clean", method="linear"
        )
        (difference,) = chosen(content["differences"], model=MODELS[1], less=MODELS[0], task=task, corruption="clean")
        assert difference["value"] == pytest.approx(found["value"] - theirs["value"])


@pytest.mark.slow
def test_the_report_says_how_it_came_about(comparison, content):
    told = content["provenance"]
    assert told["omitted"] == ["pitch_shift"]  # one of the labels is a key
    assert told["windows"]["seconds"] == dict.fromkeys((*MODELS, *BASELINES), WINDOW)
    assert told["tracks"] == {"train": 30, "valid": 10, "test": 20}
    assert len(set(told["models"].values())) == 2 + len(BASELINES)
    assert told["encoders"] == {name: str(folder) for name, folder in zip(MODELS, comparison.encoders, strict=True)}
    text = (comparison.folder / "report.md").read_text()
    assert "Omitted from the chain: pitch_shift" in text
    assert comparison.printed.count("log-mel statistics") == 1
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.M):
        columns = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(columns) == 1  # a | in a name begins no column


@pytest.mark.slow
def test_a_killed_comparison_resumes_to_the_same_numbers(comparison, content, tmp_path):
    out = tmp_path / "killed"
    arguments = command(comparison.table, comparison.encoders, out)
    process = subprocess.Popen(arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 180
    # The fingerprints are written first. Then clean audio is embedded, and the first probe answers.
    while len(list(out.glob("cache/*.npz"))) < 2:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "report.html").exists()
    kept = {path: path.stat().st_ino for path in out.glob("cache/*.np[yz]")}
    assert len(kept) >= 5
    run(arguments)
    assert {path: path.stat().st_ino for path in kept} == kept
    assert json.loads((out / "report.json").read_text())["records"] == content["records"]


@pytest.mark.slow
def test_cached_results_are_not_computed_again(comparison, tracks, tmp_path):
    heard = []

    class Counting(torch.nn.Module):
        sample_rate = RATE

        def forward(self, waveforms: torch.Tensor) -> torch.Tensor:
            heard.append(len(waveforms))
            return torch.fft.rfft(waveforms[:, 0]).abs()[:, :64]

    def compare(*corruptions: str):
        conditions = conditions_for(corruptions, (1,), RATE)
        return compare_models(
            {"mine": Counting()}, tracks, [Task("key", "key")], conditions, tmp_path, window_seconds=0.5, progress=False
        ).results

    first = compare("bitcrush")
    assert sum(heard) == 2 * 60 + 2 * 20  # windows of all clean tracks, and of the corrupted test tracks
    second = compare("bitcrush", "reverse")
    assert sum(heard) == 2 * 60 + 2 * 2 * 20
    assert second.headlines["corruption"].tolist() == ["clean", "bitcrush", "reverse"]
    pd.testing.assert_frame_equal(second.select(corruption=["clean", "bitcrush"]).frame, first.frame)
    for damaged in tmp_path.glob("*.np[yz]"):
        damaged.write_bytes(damaged.read_bytes()[:100])
    pd.testing.assert_frame_equal(compare("bitcrush").frame, first.frame)


@pytest.mark.slow
def test_a_change_of_labels_or_method_is_computed_again(comparison, tracks, tmp_path):
    bins = [round(pitch * 0.5) for pitch in PITCHES]  # of half a second
    model = {"mine": as_model(lambda waveforms: torch.fft.rfft(waveforms).abs()[:, bins], RATE, identity="pitches")}

    def value(table: pd.DataFrame, **options) -> float:
        found = compare_models(
            model, table, [Task("key", "key")], conditions_for((), (), RATE), tmp_path, window_seconds=0.5,
            progress=False, **options,
        )  # fmt: skip
        return found.results.score().headline.value

    assert value(tracks) == value(tracks) == 1.0
    shuffled = tracks.assign(key=np.random.default_rng(0).permutation(tracks["key"]))
    assert value(shuffled) < 0.8
    assert value(tracks, methods=["prototypes"]) != value(shuffled, methods=["prototypes"])
    assert len(list(tmp_path.glob("*.npz"))) == 4


@pytest.mark.slow
def test_models_at_several_rates_hear_the_same_corrupted_audio(tracks, tmp_path):
    models = {"low": LogMelStatistics(RATE), "high": LogMelStatistics(2 * RATE, n_mels=48)}
    found = compare_models(
        models, tracks, [Task("key", "key")], conditions_for(("chain",), (2,), 2 * RATE), tmp_path,
        window_seconds=0.5, progress=False,
    )  # fmt: skip
    for model in models:
        clean, corrupted = (found.results.score(model=model, corruption=name) for name in ("clean", "chain"))
        assert clean.tracks == corrupted.tracks == 20
        assert clean.headline.value > 0.9


def predictions(outputs: np.ndarray, truth: np.ndarray, groups: np.ndarray) -> Predictions:
    return Predictions(outputs, truth, np.arange(len(truth)), groups, "class", ("a", "b"))


def test_paired_differences_are_sharper_than_two_intervals():
    random = np.random.default_rng(0)
    truth, groups = random.integers(2, size=400), np.arange(400) // 4
    hard = random.random(100)[groups] < 0.4  # both models fail on the same groups
    first = np.eye(2)[np.where(hard, 1 - truth, truth)]
    second = np.eye(2)[np.where(hard | (random.random(400) < 0.06), 1 - truth, truth)]
    one, other = (measure([predictions(outputs, truth, groups)]) for outputs in (first, second))
    difference = paired_difference(one, other)
    assert difference.value == pytest.approx(one.headline.value - other.headline.value)
    assert difference.low > 0
    assert one.headline.low < other.headline.high  # apart, the intervals overlap
    nothing = paired_difference(one, one)
    assert (nothing.value, nothing.low, nothing.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="same tracks"):
        paired_difference(one, measure([predictions(second[:40], truth[:40], groups[:40])]))


@pytest.mark.slow
def test_names_add_no_tag_attribute_or_script_to_the_page(comparison):
    page = Parts((comparison.folder / "report.html").read_text())
    tags = {tag for tag, _ in page.attributes}
    assert not tags & {"img", "iframe", "i", "b", "a", "object"} - {"a"}
    content, *scripts = page.scripts
    assert set(json.loads(content)) >= {"titles", "models"}
    assert scripts == [(RESOURCES / name).read_text() for name in ("page.js", "embedding_map.js")]
    assert not any(name.startswith("on") or "hacked" in value for name, value in page.active_values)
    assert "<i>loud</i>" in content.replace("\\u003c", "<").replace("\\u003e", ">")


@pytest.mark.slow
def test_names_come_from_the_folders(comparison):
    assert list(open_models([str(path) for path in comparison.encoders])) == ["one", "two"]


def test_each_architecture_has_a_random_encoder():
    models = {"a": MelCNN(sample_rate=RATE), "b": MelCNN(sample_rate=RATE), "c": MelCNN(sample_rate=RATE, n_mels=32)}
    function = as_model(lambda waveforms: waveforms[:, :4], 2 * RATE)
    found = make_baselines({**models, "d": function}, seed=0)
    assert list(found) == ["random encoder 1, MelCNN", "random encoder 2, MelCNN", *BASELINES[1:]]
    assert found["log-mel statistics"].sample_rate == 2 * RATE
    for alone in (models["a"], function):
        twins = [make_baselines({"a": alone}, seed=seed) for seed in (0, 1)]
        assert list(twins[0]) == list(BASELINES)
        pairs = zip(*(twin["random encoder"].parameters() for twin in twins), strict=True)
        assert not all(torch.equal(*weights) for weights in pairs)


@pytest.mark.slow
def test_numbers_are_regressed_and_not_retrieved(tracks, tmp_path):
    table = tracks.assign(pitch=tracks["key"].map(dict(zip(KEYS, PITCHES, strict=True))))
    found = compare_models(
        {"statistics": LogMelStatistics(RATE)}, table, [Task("pitch", "pitch")], conditions_for((), (), RATE),
        tmp_path, numbers=("pitch",), window_seconds=0.5, progress=False, methods=("linear", "retrieval"),
    )  # fmt: skip
    score = found.results.score()  # a single one
    assert score.metric == "r2"
    assert score.headline.value > 0.6


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return write_music(folder), write_encoders(folder)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--names=a"], "names: expected 2, one for each encoder, got 1"),
        (["--names=a,a"], "names: 'a' is already used"),
        (["--names=a,random encoder"], "names: 'random encoder' is already used"),
        (["--encoders=/nowhere"], "encoders: expected the folder of a saved encoder"),
        (["--labels=mood"], "labels: there is no column 'mood'"),
        (["--corruptions=hiss"], "corruptions: expected"),
        (["--corruptions=pitch_shift"], "corruptions: pitch_shift changes the key in the label 'key'"),
        (["--severities=1,9"], "severity: expected"),
        (["--omit=hiss"], "omit: expected some of"),
        (["--methods=magic"], "methods: expected some of linear"),
        (["--numbers=mood"], "numbers: expected names from labels (key), got mood"),
        (["--clips=3"], "did you mean --audio_clips?"),
        (["--audio_clips=-1"], "audio_clips: expected an integer of at least 0"),
        (["--repeats=0"], "repeats: expected an integer of at least 1"),
        (["--seed=-1"], "seed: expected an integer of at least 0"),
        (["--window_seconds=0.01"], "window_seconds: expected at least"),
        (["--out=tracks.csv"], "out: tracks.csv is a file"),
    ],
)
def test_invalid_arguments_give_one_line_errors_before_work(small, tmp_path, monkeypatch, capfd, options, words):
    table, encoders = small
    monkeypatch.chdir(table.parent)
    given = {
        "encoders": f"{encoders[0]},{encoders[1]}",
        "labels": "key",
        "tracks": table,
        "window_seconds": WINDOW,
        "out": tmp_path / "out",
    } | dict(option.removeprefix("--").split("=", 1) for option in options)
    assert main(["compare", *(f"--{name}={value}" for name, value in given.items())]) == 2
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("ssc-toolkit")]
    assert len(error) == 1
    assert words in error[0]
    assert not (tmp_path / "out" / "cache").exists()


def test_one_model_on_clean_audio_without_sound(small, tmp_path, capfd):
    table, encoders = small
    options = {
        "encoders": encoders[0],
        "labels": "key,key",
        "tracks": table,
        "window_seconds": WINDOW,
        "audio_clips": 0,
    }
    options |= {"severities": 0, "out": tmp_path}
    assert main(["compare", *(f"--{name}={value}" for name, value in options.items())]) == 0
    assert "| one " in capfd.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert "data:audio" not in page
    assert re.findall(r"<h2[^>]*>(.*?)</h2>", page) == [
        "Probes on clean audio (linear)",
        "Task: key",
        "Paired differences",
        "Retrieval",
        "Confusion matrix: key",
        "Leaks",
        "Map of the test clips",
    ]


def call(command: str, **options: object) -> int:
    return main([command, *(f"--{name}={value}" for name, value in options.items())])


@pytest.mark.slow
def test_compare_and_robustness_share_methods_seeds_and_draws(small, tmp_path, capfd):
    table, encoders = small
    shared = {"tracks": table, "labels": "key", "window_seconds": WINDOW, "severities": 1}
    methods = {"methods": "linear,prototypes", "corruptions": "gain,reverse"}
    out = tmp_path / "compare"
    assert call("compare", encoders=encoders[0], out=out, audio_clips=0, repeats=2, seed=3, **shared, **methods) == 0
    found = json.loads((out / "report.json").read_text())
    assert found["provenance"]["seeds"] == [3, 4]
    probed = [r for r in found["records"] if r["method"] != "retrieval" and r["metric"] == "accuracy"]
    asked = {(r["model"], r["method"], r["corruption"]) for r in probed}
    assert asked == set(itertools.product(("one", *BASELINES), ("linear", "prototypes"), ("clean", "gain", "reverse")))
    assert {r["seed"] for r in chosen(probed, model="one")} == {3}  # its result does not depend on the seed
    assert {r["seed"] for r in chosen(probed, model="random encoder")} == {None}
    assert {(d["method"], d["less"]) for d in found["differences"]} == set(
        itertools.product(("linear", "prototypes"), BASELINES)
    )
    text = (out / "report.md").read_text()
    for words in ("| method     | model", "## Robustness: key", "| corruption | method"):
        assert words in text

    draws = out / "draws"
    assert {path.name for path in draws.iterdir()} == {"gain-1.pt", "reverse-1.pt"}
    for seed in (3, 8):  # the stored corruptions are used, whatever the seed
        robust = tmp_path / f"robustness {seed}"
        assert call("robustness", encoder=encoders[0], out=robust, draws=draws, seed=seed, **shared, **methods) == 0
        again = chosen(json.loads((robust / "report.json").read_text())["records"], model="this encoder")
        values = [{(r["method"], r["corruption"]): r["value"] for r in rows if r["metric"] == "accuracy"}
                  for rows in (again, chosen(probed, model="one"))]  # fmt: skip
        assert values[0] == values[1]
    (draws / "gain-1.pt").replace(draws / "reverse-1.pt")
    capfd.readouterr()
    for name, given in (
        ("compare", {"encoders": encoders[0], "out": tmp_path / "x"}),
        ("robustness", {"encoder": encoders[0]}),
    ):
        assert call(name, draws=draws, **given, **shared, **methods) == 2
        assert "draws: expected Reverse, got Gain" in capfd.readouterr().err
    assert not list((tmp_path / "x").glob("cache/*"))  # before the work


def test_names_may_hold_any_bytes(small):
    name = os.fsdecode(b"caf\xe9")
    assert list(open_models([str(small[1][0])], [name])) == ["caf\\udce9"]


def test_no_name_is_empty():
    with pytest.raises(InputError, match="encoders: expected at least one"):
        open_models([])
    with pytest.raises(InputError, match="names: '' is empty"):
        open_models(["x"], [" "])


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_list_of_models_is_one_for_each_seed(tmp_path, count):
    models = {"own": [LogMelStatistics()] * count, "other": LogMelStatistics()}
    with pytest.raises(
        InputError, match=f"models: expected one model or one for each of the 3 seeds as 'own', got {count}"
    ):
        compare_models(models, tmp_path / "my.csv", [Task("key", "key")], seeds=(0, 1, 2), progress=False)
