"""The command line as a user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from command_calls import call

from ssc_toolkit.cli import COMMANDS
from ssc_toolkit.encoders import MelCNN


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "ssc_toolkit.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "encoder"
    MelCNN().save_pretrained(folder)
    return folder


def refused(*arguments: object, **environment: str) -> str:
    """Run a command that must fail for a reason the user can mend; the message."""
    result = run(*arguments, **environment) if environment else call(*arguments)
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_overview_and_version():
    for arguments in ((), ("--help",)):
        result = run(*arguments)
        assert result.returncode == 0
        assert all(name in result.stdout for name in COMMANDS)
    assert run("--version").stdout.startswith("ssc-toolkit 0.")
    assert "did you mean pretrain?" in refused("prettrain")
    assert "expected one of" in refused("wobble")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_explains_every_option(name):
    result = call(name, "--help")
    assert result.returncode == 0
    for line in result.stdout.splitlines():
        assert not line.rstrip().endswith(("default: None)",))
    if name == "pretrain":
        assert "fraction of labeled tracks in a batch" in " ".join(result.stdout.split())


@pytest.mark.slow
def test_print_config_can_be_run_again(music, tmp_path):
    options = [
        f"--tracks={music / 'my.csv'}",
        f"--out={tmp_path / 'run'}",
        "--labels=pitch",
        "--omit=pitch_shift,delay",
    ]
    printed = call("pretrain", *options, "--steps=3", "--batch_size=6", "--view_seconds=0.5", "--print_config")
    assert printed.returncode == 0
    config = yaml.safe_load(printed.stdout)
    assert config["omit"] == ["pitch_shift", "delay"]
    (tmp_path / "config.yaml").write_text(printed.stdout)
    result = call("pretrain", f"--config={tmp_path / 'config.yaml'}", "--seed=3")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "encoder" / "model.safetensors").exists()


def test_doctor():
    result = run("doctor")
    assert result.returncode == 0
    for word in ("torch", "torchaudio", "soundfile", "libsndfile", "MP3", "CPU", "no problem found"):
        assert word in result.stdout


@pytest.fixture
def broken_torchaudio(tmp_path) -> str:
    """A torchaudio that raises on import, as 2.11 does beside torch 2.15."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text('raise RuntimeError("CUDA 13.0 was wanted, 13.2 found")')
    return os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])


@pytest.mark.slow
def test_a_mismatch_of_torch_and_torchaudio_is_explained(broken_torchaudio, music, tmp_path):
    for arguments in (("doctor",), ("pretrain", f"--tracks={music / 'my.csv'}", f"--out={tmp_path / 'run'}")):
        result = run(*arguments, PYTHONPATH=broken_torchaudio)
        assert result.returncode == 2
        text = result.stdout + result.stderr
        assert "are not compatible" in text
        assert "pip install 'torch>=2.11,<2.15'" in text
        assert "Traceback" not in text
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_missing_extra_is_explained(tmp_path, music):
    (tmp_path / "pytorch_lightning.py").write_text("raise ModuleNotFoundError('gone', name='pytorch_lightning')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    message = refused("pretrain", f"--tracks={music}", f"--out={tmp_path / 'run'}", PYTHONPATH=path)
    assert "pip install 'ssc-toolkit[train]'" in message


@pytest.mark.slow
def test_the_loss_survives_a_broken_torchaudio(broken_torchaudio):
    code = "import torch; from ssc_toolkit.losses import NTXentLoss; print(NTXentLoss()(torch.randn(4, 2, 8)) > 0)"
    environment = {**os.environ, "PYTHONPATH": broken_torchaudio}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert "True" in result.stdout


def test_embed(music, encoder, tmp_path):
    result = run(
        "embed", f"--encoder={encoder}", f"--tracks={music}", f"--out={tmp_path / 'e.npz'}", "--window_seconds=0.5"
    )
    assert result.returncode == 0, result.stderr
    with np.load(tmp_path / "e.npz") as content:
        assert content["embeddings"].shape == (40, 256)
        assert content["paths"][3].endswith("03.wav")
        assert content["seconds"].tolist() == [1.0] * 40


def test_probe_and_robustness(music, encoder, tmp_path):
    shared = [f"--encoder={encoder}", f"--tracks={music / 'my.csv'}", "--labels=pitch", "--window_seconds=0.5"]
    result = call("probe", *shared, f"--out={tmp_path / 'p'}")
    assert result.returncode == 0, result.stderr
    for word in ("random encoder", "MFCC statistics", "log-mel statistics", "this encoder", "accuracy"):
        assert word in result.stdout
    assert {path.name for path in (tmp_path / "p").iterdir()} == {".lock", "report.json", "report.md", "report.html"}
    result = call(
        "robustness", *shared, "--corruptions=chain,colored_noise", "--severities=0,2", f"--out={tmp_path / 'r'}"
    )
    assert result.returncode == 0, result.stderr
    assert "colored_noise" in result.stdout
    assert "severity 2" in result.stdout
    assert (tmp_path / "r" / "report.html").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tracks": "nowhere"}, "there is no file or folder nowhere"),
        ({"tracks": "empty.csv"}, "is empty"),
        ({"tracks": "one.csv"}, "cannot be used"),
        ({"root": "nowhere"}, "no folder nowhere"),
        ({"labels": "genre"}, "no column 'genre'"),
        ({"labels": "nothing"}, "no row of column 'nothing'"),
        ({"validation.labels": "genre"}, "no column 'genre'"),
        ({"view_seconds": 60}, "expected at least 60.00 s, got"),
        ({"view_seconds": 0.01}, "view_seconds"),
        ({"out": "my.csv/x"}, "cannot write"),
        ({"steps": 0}, "steps"),
        ({"severity": 9}, "severity"),
        ({"omit": "wobble"}, "omit"),
        ({"temperature": -1}, "temperature"),
        ({"labels": "pitch", "labeled_fraction": 7, "view_seconds": 0.5}, "labeled_fraction"),
        ({"encoder": "Perceptron"}, "encoder"),
        ({"nonsense": 1}, "nonsense"),
        ({"steps": "ten"}, "steps: expected an integer written in digits, got ten"),
        ({"steps": "1e3"}, "steps: expected an integer written in digits, got 1000.0"),
        ({"trainer.chunk_size": "1e2"}, "trainer.chunk_size: expected an integer written in digits, got 100.0"),
        ({"out": ""}, "--out is empty"),
        ({"views": 1}, "views: expected an integer of at least 2"),
        ({"workers": -1}, "workers: expected an integer of at least 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0"),
        ({"label_budget": 0.5}, "label_budget"),
        ({"labels": "pitch", "label_budget": 0}, "label_budget"),
        ({"tracks": "00.wav"}, "is an audio file"),
        ({"tracks": "latin.csv"}, "UTF-8"),
        ({"tracks": "leak.csv"}, "more than one split"),
        ({"tracks": "short.csv", "view_seconds": 0.5}, "2 of 3 audio files"),
    ],
)
def test_invalid_arguments_give_one_line_errors_before_work(music, tmp_path, monkeypatch, change, words):
    monkeypatch.chdir(tmp_path)
    for name in ("my.csv", "00.wav"):
        (tmp_path / name).write_bytes((music / name).read_bytes())
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "one.csv").write_text("path\n00.wav\nbroken.wav\n")
    (tmp_path / "broken.wav").write_text("no audio")
    (tmp_path / "latin.csv").write_text("path,artist\n00.wav,Béla\n", encoding="latin-1")
    (tmp_path / "leak.csv").write_text("path,split\n00.wav,train\n00.wav,test\n")
    # Cut short: their headers promise a second that is not there.
    soundfile.write(tmp_path / "whole.flac", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    soundfile.write(tmp_path / "whole.mp3", 0.1 * np.random.default_rng(0).standard_normal(160000), 16000)
    for name in ("whole.flac", "whole.mp3"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut{Path(name).suffix}").write_bytes(content[: len(content) // 3])
    (tmp_path / "short.csv").write_text("path\n00.wav\ncut.flac\ncut.mp3\n")
    options = {"tracks": "my.csv", "root": music, "out": tmp_path / "run"} | change
    if options["tracks"] in ("one.csv", "short.csv"):
        del options["root"]
    assert words in refused("pretrain", *(f"--{name}={value}" for name, value in options.items()))
    assert {path.name for path in tmp_path.glob("run/*")} <= {".lock", "unusable.csv"}


def test_unusable_files_of_all_tracks_are_named(music, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{name}{number}.wav").write_text("no audio")
    message = refused(
        "pretrain", f"--tracks={tmp_path / 'one'}", f"--unlabeled={tmp_path / 'two'}", f"--out={tmp_path / 'run'}"
    )
    assert all(f"{name}{number}.wav" in message for name in ("one", "two") for number in range(3))
    assert "unlabeled: 3 of 3 audio files cannot be used" in message
    assert {path.name for path in tmp_path.glob("run/*.csv")} == {"unusable.csv", "unlabeled-unusable.csv"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "--encoder=nowhere", "--labels=pitch"], "expected the folder of a saved encoder"),
        (["probe", "--encoder={encoder}", "--labels=genre", "--tracks={music}/my.csv"], "no column 'genre'"),
        (["embed", "--encoder={encoder}", "--tracks={music}", "--out=e.csv"], ".npz"),
        (
            ["embed", "--encoder={encoder}", "--tracks={music}", "--out=e.npz", "--window_seconds=0.01"],
            "window_seconds",
        ),
        (["robustness", "--encoder={encoder}", "--labels=pitch", "--corruptions=wobble"], "corruptions"),
        (
            ["robustness", "--encoder={encoder}", "--labels=pitch", "--tracks={music}/my.csv", "--severities=7"],
            "severity",
        ),
        (["corpus", "--clips=3"], "at least 40"),
        (["demo", "--out={music}"], "not empty"),
    ],
)
def test_other_commands_refuse_too(music, encoder, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    before = sorted(music.iterdir())
    assert words in refused(*(argument.format(music=music, encoder=encoder) for argument in arguments))
    assert sorted(music.iterdir()) == before


@pytest.mark.slow
def test_a_store_is_prepared_verified_and_trained_from(music, tmp_path):
    store = tmp_path / "store"
    made = call("prepare", f"--tracks={music / 'my.csv'}", "--sample_rate=16000", f"--out={store}")
    assert made.returncode == 0, made
    assert "tracks at 16000 Hz" in made.stdout
    assert "the store is undamaged" in call("prepare", "--verify", f"--out={store}").stdout
    trained = call(
        "pretrain", f"--tracks={store}", "--labels=pitch", "--steps=2", "--batch_size=8", "--view_seconds=0.5",
        f"--out={tmp_path / 'run'}",
    )  # fmt: skip
    assert trained.returncode == 0, trained
    wrong = refused("pretrain", f"--tracks={store}", "--encoder=SampleCNN", f"--out={tmp_path / 'other'}")
    assert "store: expected 22050 Hz, got" in wrong
    shard = next((store / "shards").glob("*.pcm"))
    shard.write_bytes(shard.read_bytes()[:-2] + b"xx")
    assert f"{shard}. " in refused("prepare", "--verify", f"--out={store}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one of them"),
        (["--tracks=a.csv", "--dataset=gtzan"], "give one of them"),
        (["--dataset=gtzan"], "root: expected the folder of the dataset"),
        (["--dataset=nothing", "--root=."], "expected one of magnatagatune"),
        (["--dataset=gtzan", "--root=nowhere"], "there is no folder nowhere"),
        (["--dataset=fma", "--root=.", "--variant=tiny"], "expected one of small, medium, large"),
        (["--tracks=nowhere"], "there is no file or folder nowhere"),
        (["--verify", "--out=nowhere"], "there is no store in nowhere"),
        (["--tracks=scores", "--threads=0"], "threads: expected an integer of at least 1"),
    ],
)
def test_a_store_that_cannot_be_prepared(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in refused("prepare", *arguments)
    assert not list(tmp_path.iterdir())


def test_prepare_says_which_files_a_dataset_needs(tmp_path):
    message = call("prepare", "--dataset=magnatagatune", f"--root={tmp_path}").stderr
    assert "annotations_final.csv from https://" in message
    assert "0/ ... f/" in message
    described = call("prepare", "--describe").stdout
    for name in ("magnatagatune", "mtg_jamendo", "gtzan", "giantsteps", "nsynth", "vocalset", "medleydb", "fma"):
        assert f"{name}: variant" in described


@pytest.mark.parametrize(
    "content",
    [
        *(b"a: [1", b"seed: !!python/object/apply:os.getcwd []", b"\xf5\xff\x00", b"[" * 20000, b"a: &a [*a", b"\x00"),
        *(b"- a", b"text", b"3"),
    ],
)
def test_a_garbled_config_is_one_line(content, tmp_path):
    (tmp_path / "c.yaml").write_bytes(content)
    said = refused("embed", f"--config={tmp_path / 'c.yaml'}")
    assert said.startswith(f"ssc-toolkit embed: error: config: {tmp_path / 'c.yaml'}")
    assert "is damaged" in said or "is not a YAML file of plain values" in said or "expected options" in said
    assert len(said.strip().splitlines()) == 1


DECODES_FOR_EVER = """
import os, signal, sys
from pathlib import Path
import ssc_toolkit.commands.doctor as doctor
from ssc_toolkit.cli import main
from ssc_toolkit.decoding.sources import quiet
from ssc_toolkit.training import StopOnSignal

def show(_):
    stop = StopOnSignal(Path("last.ckpt"))
    stop.on_train_start(None, None)
    with quiet:
        os.write(2, b"a warning of the decoder")
        print("a message", file=sys.stderr)
        signal.raise_signal(signal.SIGINT)
    os.write(2, b"after the decoding")

doctor.doctor = show
sys.exit(main(["doctor"]))
"""


def test_only_the_warnings_of_the_decoder_are_discarded():
    done = subprocess.run([sys.executable, "-c", DECODES_FOR_EVER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "a message" in done.stderr
    assert "press it again to stop at once" in done.stderr
    assert "a warning" not in done.stderr
    assert done.stderr.endswith("after the decoding")
