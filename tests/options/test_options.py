"""What options accept, and that errors in them need no torch."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from ssc_toolkit.audio import Channel
from ssc_toolkit.augmentations import presets
from ssc_toolkit.cli import COMMANDS
from ssc_toolkit.data import RECIPES
from ssc_toolkit.encoders import ENCODERS
from ssc_toolkit.encoders.saving import CONFIG, WEIGHTS
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.probing.folds import LEAVE_ONE_OUT
from ssc_toolkit.evaluation.probing.heads import HEADS
from ssc_toolkit.files import write_checked_json
from ssc_toolkit.options import (
    CompareOptions,
    EmbedOptions,
    EncoderOptions,
    PrepareOptions,
    PretrainOptions,
    ProbeOptions,
    RetrievalOptions,
    RobustnessOptions,
    SweepOptions,
    TrackSource,
    TrainerOptions,
    names,
)
from ssc_toolkit.options.corpus import corpus_settings
from ssc_toolkit.options.run_settings import check_run_settings, select_settings
from ssc_toolkit.options.training import OptimizerOptions
from ssc_toolkit.training.fit import PRECISIONS
from ssc_toolkit.training.pretrain import OPTIMIZERS

ANSWERS = """
import contextlib, io, json, sys
from ssc_toolkit.cli import main

said = []
for arguments in json.loads(sys.argv[1]):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            status = main(arguments)
        except SystemExit as end:
            status = end.code
    said.append([status, out.getvalue(), errors.getvalue()])
heavy = {"torch", "pandas", "numpy.linalg", "pyarrow", "pytorch_lightning", "sklearn", "torchaudio"}
print(json.dumps({"said": said, "heavy": sorted((heavy - {"numpy.linalg"}) & set(sys.modules))}))
"""


def begun(folder: Path, **options: object) -> Path:
    """A folder with the settings and the checkpoint of an unfinished run on music/."""
    folder.mkdir()
    own = PretrainOptions(tracks="music", out=str(folder), **options)
    write_checked_json(folder / "settings.json", select_settings(own) | {"tracks_hash": "x", "version": "0"})
    (folder / "last.ckpt").touch()
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    (tmp_path / "my.csv").write_text("path\na.wav\n")
    begun(tmp_path / "run", temperature=0.1)
    (tmp_path / "study.yaml").write_text("base: base.yaml\nruns: {a: {temperature: 0.5}}\n")
    (tmp_path / "base.yaml").write_text("tracks: music\n")
    (tmp_path / "out").mkdir()
    begun(tmp_path / "out" / "a-seed-0", temperature=0.1)
    (tmp_path / "store").mkdir()
    write_checked_json(tmp_path / "store" / "store.json", {"sample_rate": 16000, "channel": "mean", "format": 2})
    (tmp_path / "corpus").mkdir()
    write_checked_json(tmp_path / "corpus" / "corpus.json", corpus_settings("scores", 40, 0))
    return tmp_path


def test_help_and_errors_in_options_need_no_torch(folder):
    questions = [
        (["--help"], 0, "pretrain"),
        (["--version"], 0, ""),
        *(([name, "--help"], 0, "options:") for name in COMMANDS),
        (["pretrain", "--tracks=music", "--out=a", "--print_config"], 0, "tracks: music"),
        (["pretrian"], 2, "did you mean pretrain?"),
        (["pretrain", "--stepz=3"], 2, "did you mean --steps?"),
        (["pretrain", "nowhere", "--out=a"], 2, "tracks: there is no file or folder nowhere"),
        (["pretrain", "my.csv", "--root=nowhere", "--out=a"], 2, "root: there is no folder nowhere"),
        (["pretrain", "gtzan", "--root=nowhere", "--out=a"], 2, "root: there is no folder nowhere"),
        (["pretrain", "music", "--out=a", "--unlabeled=nowhere"], 2, "unlabeled: there is no file or folder nowhere"),
        (["pretrain", "--config=nowhere.yaml"], 2, "config: there is no file nowhere.yaml"),
        (["pretrain", "music", "--out=run", "--temperature=0.2"], 2, "temperature was 0.1, is 0.2"),
        (["pretrain", "music", "--out=a", "--steps=0"], 2, "steps: expected an integer of at least 1"),
        (["pretrain", "music", "--out=a", "--encoder=Big"], 2, "encoder: expected MelCNN, SampleCNN"),
        (
            ["pretrain", "music", "--out=a", "--encoder=SampleCNN", "--encoder.max_hz=1"],
            2,
            "(sample_rate, strides), got",
        ),
        (["pretrain", "music", "--out=a", "--encoder.max_hz=-1"], 2, "encoder.max_hz: expected a positive number of"),
        (["pretrain", "music", "--out=run", "--encoder.max_hz=8000"], 2, "encoder.max_hz was None, is 8000.0"),
        (["sweep", "nowhere.yaml", "--out=a"], 2, "file: there is no file nowhere.yaml"),
        (["sweep", "study.yaml", "--out=out"], 2, "temperature was 0.1, is 0.5"),
        (["sweep", "study.yaml", "--out=new", "--options.stepz=3"], 2, "did you mean --options.steps?"),
        (["probe", "--encoder=nowhere", "--labels=key"], 2, "encoder: expected the folder of a saved encoder"),
        (["compare", "--encoders=music", "--labels=key", "--out=a"], 2, "encoders: expected the folder of a saved"),
        (["embed", "nowhere", "--encoder=a:b", "--out=a.npz"], 2, "tracks: there is no file or folder nowhere"),
        (["prepare", "nowhere"], 2, "tracks: there is no file or folder nowhere"),
        (["prepare", "music", "--out=store"], 2, "expected a store at 22050 Hz, got"),
        (["prepare", "music", "--out=store", "--sample_rate=16000", "--channel=left"], 2, "of channel 'left', got"),
        (["prepare", "music", "--out=run"], 2, "out: expected a store or an empty folder, got"),
        (["prepare", "--verify", "--out=run"], 2, "store: there is no store in run"),
        (["corpus", "--clips=50", "--folder=corpus"], 2, "contains a corpus with other settings"),
        (["corpus", "--clips=40", "--kind=notes", "--folder=corpus"], 2, "contains a corpus with other settings"),
        (["corpus", "--clips=40", "--folder=run"], 2, "is not empty and contains no corpus"),
    ]
    arguments = json.dumps([question for question, _, _ in questions])
    done = subprocess.run([sys.executable, "-c", ANSWERS, arguments], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    for (question, status, words), (got, out, errors) in zip(questions, found["said"], strict=True):
        assert got == status, (question, errors)
        assert words in (errors if status else out), question
        assert errors.count("\n") == (1 if status else 0), question
    assert found["heavy"] == []


def test_the_options_need_no_torch():
    code = "import sys, ssc_toolkit.options, ssc_toolkit.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "pyarrow", "pytorch_lightning", "sklearn"} & set(loaded)


def test_names_are_those_of_the_rooms():
    assert tuple(HEADS) == names.METHODS
    assert LEAVE_ONE_OUT == names.LEAVE_ONE_OUT
    assert tuple(RECIPES) == names.DATASETS
    assert (presets.STAGES, presets.CORRUPTIONS) == (names.STAGES, names.CORRUPTIONS)
    assert presets.MAX_SEVERITY == names.MAX_SEVERITY
    assert (CONFIG, WEIGHTS) == names.ENCODER_FILES
    assert get_type_hints(PrepareOptions)["channel"] == Channel
    arguments = {name: tuple(inspect.signature(kind).parameters) for name, kind in ENCODERS.items()}
    assert arguments == names.ENCODERS
    assert get_args(get_type_hints(EncoderOptions)["name"]) == tuple(ENCODERS)
    every = {name for accepted in arguments.values() for name in accepted}
    assert every | {"name", "start_from", "frozen_steps", "layer_decay"} == {
        field.name for field in fields(EncoderOptions)
    }
    assert EncoderOptions().name == PretrainOptions(tracks="a", out="b").encoder
    assert get_args(get_type_hints(OptimizerOptions)["name"]) == tuple(OPTIMIZERS)
    assert get_args(get_type_hints(TrainerOptions)["precision"]) == (*PRECISIONS, "auto")


PROBED = {"encoder": "a:b", "allow_code": True, "labels": ("key",)}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (TrackSource(tracks="nowhere"), "tracks: there is no file or folder nowhere"),
        (TrackSource(tracks="gtzan"), "root: expected the folder of the dataset gtzan, got none"),
        (TrackSource(tracks="music", variant="x"), "variant: "),
        (TrackSource(tracks="music", root="music"), "root: expected a dataset or a CSV file"),
        (TrackSource(tracks="scores", root="music"), "root: expected a dataset or a CSV file"),
        (TrackSource(tracks="file://other/a"), "tracks: expected a URL as file:///folder/name"),
        (PretrainOptions(tracks="music", out="a", severity=3), "severity: expected a number from 0 to 2.5"),
        (PretrainOptions(tracks="music", out="a", omit=("wobble",)), "omit: expected some of gain"),
        (PretrainOptions(tracks="music", out="a", max_unusable=2), "max_unusable: expected a fraction"),
        (PretrainOptions(tracks="music", out="a", labels=("x", "x")), "labels: expected different columns"),
        (PretrainOptions(tracks="music", out="a", encoder="Big"), "encoder: expected one of MelCNN"),  # type: ignore[arg-type]
        *(
            (PretrainOptions(tracks="music", out="a", encoder=EncoderOptions(**own)), words)  # type: ignore[arg-type]
            for own, words in (
                ({"n_mels": 96.5}, "encoder.n_mels: expected an integer of at least 1, got 96.5"),
                ({"sample_rate": 0}, "encoder.sample_rate: expected an integer of at least 1, got 0"),
                ({"max_hz": "high"}, "encoder.max_hz: expected a positive number of hertz, got 'high'"),
                ({"name": "SampleCNN", "strides": 3}, "encoder.strides: expected a list of integers, got 3"),
                ({"name": "SampleCNN", "strides": (3, 0)}, "encoder.strides: expected an integer of at least 1, got 0"),
                ({"name": "ShortChunkCNN", "residual": 1}, "encoder.residual: expected True or False, got 1"),
                ({"name": "TUNePlus", "residual": True}, r"of TUNePlus \(sample_rate, channels\), got residual"),
                ({"name": "Big"}, "encoder: expected one of MelCNN"),
            )
        ),
        (
            PretrainOptions(tracks="music", out="a", trainer=TrainerOptions(precision="fp16", accelerator="cpu")),
            "trainer.precision: expected bf16 or 32 on a CPU",
        ),
        (
            PretrainOptions(tracks="music", out="a", unlabeled=TrackSource(tracks="my.csv", root="nowhere")),
            "unlabeled.root: there is no folder nowhere",
        ),
        (
            PrepareOptions(tracks="music", out="a", sample_rate=768_001),
            "sample_rate: expected an integer from 1 to 768000",
        ),
        (ProbeOptions(**PROBED, methods=("forest",)), "methods: expected some of linear"),
        (ProbeOptions(**PROBED, numbers=("bpm",)), r"numbers: expected names from labels \(key\), got bpm"),
        (ProbeOptions(**PROBED, window_seconds=0), "window_seconds: expected a positive number of seconds"),
        (RobustnessOptions(**PROBED, corruptions=("wobble",)), "corruptions: expected some of chain"),
        (RobustnessOptions(**PROBED, severities=(0,)), "severities: expected at least one above 0"),
        (RetrievalOptions(**PROBED, database="nowhere"), "database: there is no file or folder nowhere"),
        (
            RetrievalOptions(**PROBED, database=TrackSource(tracks="scores", variant="small")),
            "database.variant: expected a dataset",
        ),
        (CompareOptions(encoders=("a:b",), labels=(), out="a"), "labels: expected at least one label column"),
        (EmbedOptions(encoder="a:b", tracks="music", out="a.txt"), "out: expected a file name ending in .npz"),
        (
            SweepOptions(file="study.yaml", out="x", options={"unlabeled": "nowhere"}),
            "run 'a' of .*: unlabeled: there is no",
        ),
        (SweepOptions(file="study.yaml", out="x", options={"steps": 0}), "run 'a' of .*: steps: expected an integer"),
    ],
    ids=lambda part: type(part).__name__ if not isinstance(part, str) else part[:30],
)
def test_check_finds_what_needs_no_audio(folder, options, words):
    with pytest.raises(InputError, match=words):
        options.check()


def test_what_is_right_passes(folder):
    (folder / "encoder").mkdir()
    for name in names.ENCODER_FILES:
        (folder / "encoder" / name).touch()
    for options in (
        TrackSource(tracks="scores"),
        TrackSource(tracks="my.csv", root="music"),
        TrackSource(tracks="https://example.org/store"),
        TrackSource(tracks="gtzan", root="music", variant="filtered"),
        PretrainOptions(tracks="music", out="run", temperature=0.1, workers=3),
        ProbeOptions(encoder="encoder", labels=("key",)),
        SweepOptions(file="study.yaml", out="new"),
    ):
        options.check()


def test_settings_of_earlier_versions_stay_valid(tmp_path):
    options = PretrainOptions(tracks="fma", root="/fma", out="x", unlabeled=TrackSource(tracks="gtzan", root="/gtzan"))
    (tmp_path / "last.ckpt").touch()
    kept = {name: value for name, value in select_settings(options).items() if not name.startswith("unlabeled")}
    del kept["memory"]  # an option that the earlier version did not have
    identity = {"tracks_hash": "a", "unlabeled_hash": "b", "version": "0.1"}
    earlier = {**kept, "unlabeled": "gtzan", "unlabeled_root": "/gtzan", "unlabeled_variant": None, **identity}
    write_checked_json(tmp_path / "settings.json", earlier)
    check_run_settings(tmp_path, options)
    check_run_settings(tmp_path, options, identity)
    with pytest.raises(InputError, match="the unlabeled tracks have changed"):
        check_run_settings(tmp_path, options, identity | {"unlabeled_hash": "c"})
    fraction, constant = OptimizerOptions(warmup=0.1), OptimizerOptions(schedule="constant")
    check_run_settings(tmp_path, PretrainOptions(**vars(options) | {"optimizer": fraction, "steps": 5000}))
    with pytest.raises(InputError, match=r"optimizer.warmup was 0\.1, is 0\.0"):
        check_run_settings(tmp_path, PretrainOptions(**vars(options) | {"optimizer": constant}))
    with pytest.raises(InputError, match=r"memory was 0, is 5"):
        check_run_settings(tmp_path, PretrainOptions(**vars(options) | {"memory": 5}))


def test_labels_may_be_text_or_a_list_of_one(tmp_path):
    (tmp_path / "last.ckpt").touch()
    one, many = (PretrainOptions(tracks="scores", out="x", labels=labels) for labels in ("key", ("key",)))
    write_checked_json(tmp_path / "settings.json", select_settings(one))
    assert select_settings(many) == select_settings(one)
    assert check_run_settings(tmp_path, many) is None


def test_arguments_of_the_encoder_identify_a_run(tmp_path):
    chosen = EncoderOptions(max_hz=8000.0)
    run = begun(tmp_path / "run", encoder=chosen)
    for encoder, differs in ((chosen, False), ("MelCNN", True), (EncoderOptions(max_hz=8000, n_mels=64), True)):
        options = PretrainOptions(tracks="music", out=str(run), encoder=encoder)
        if not differs:
            check_run_settings(run, options)
            continue
        with pytest.raises(InputError, match=r"encoder\.(max_hz|n_mels) was .*, is .*; choose another folder"):
            check_run_settings(run, options)


@pytest.mark.parametrize("encoder", ["SampleCNN", EncoderOptions(name="SampleCNN")])
def test_runs_without_encoder_arguments_resume(tmp_path, encoder):
    run = begun(tmp_path / "run", encoder="SampleCNN")
    settings = json.loads((run / "settings.json").read_text())
    assert settings["encoder"] == "SampleCNN"
    earlier = {name: value for name, value in settings.items() if not name.startswith(("encoder.", "checksum"))}
    write_checked_json(run / "settings.json", earlier)
    check_run_settings(run, PretrainOptions(tracks="music", out=str(run), encoder=encoder))
