"""The examples, as one would run them, on a small scale."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ssc_toolkit.encoders import MelCNN, load_encoder

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("--steps=10", "--batch_size=8", "--clips=80")


@pytest.fixture
def run(small_corpus, tmp_path):
    """Runs a script in an empty folder, where the default corpus is in the cache already; what it printed."""

    def script(*command: object, **environment: str) -> str:
        variables = {**os.environ, "XDG_CACHE_HOME": str(small_corpus.parents[1]), "PYTHONPATH": str(EXAMPLES.parent)}
        result = subprocess.run(
            [sys.executable, *map(str, command)],
            env={**variables, **environment},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return script


def losses(printed: str) -> list[float]:
    return [float(value) for value in re.findall(r"loss (\d+\.\d+)", printed)]


def test_every_example_is_tested_and_documented():
    page = (EXAMPLES.parent / "docs" / "examples.md").read_text()
    this = Path(__file__).read_text()
    for script in EXAMPLES.glob("*.py"):
        assert f'EXAMPLES / "{script.name}"' in this
        assert script.name in page


@pytest.mark.slow
def test_plain_pytorch_learns_and_reports(run):
    printed = run(EXAMPLES / "plain_pytorch.py", "--steps=40", "--batch_size=12", "--clips=80")
    first, *_, last = losses(printed)
    assert last < first
    assert "key: accuracy 0." in printed
    assert "family: accuracy 0." in printed


@pytest.mark.slow
def test_a_few_labels_bring_timbres_together(run):
    printed = run(EXAMPLES / "loss_alone.py", "--steps=60")
    without, with_labels = (float(value) for value in re.findall(r"timbre (0\.\d+)", printed))
    assert with_labels > without + 0.05


@pytest.mark.slow
def test_your_own_lightning_module_learns(run):
    printed = run(EXAMPLES / "lightning_loop.py", "--steps=30", *SMALL[1:])
    first, _, last = losses(printed)
    # Means over ten steps: without learning they differ by 0.2 or so, with it by 0.8.
    assert last < first - 0.4
    assert "trained for 30 steps" in printed


@pytest.mark.slow
def test_several_signals_make_positives(run):
    printed = run(EXAMPLES / "several_signals.py", *SMALL)
    known = {name: int(count) for name, count in re.findall(r"(\w+): known for (\d+) of", printed)}
    assert set(known) == {"tags", "key", "tempo"}
    assert len(set(known.values())) == 3
    # One positive of an anchor is the other view of its item.
    assert float(re.findall(r"positives per anchor (\d+\.\d+)", printed)[-1]) > 1


@pytest.mark.slow
def test_similar_tracks_are_found(run, music, tmp_path):
    MelCNN().save_pretrained(tmp_path / "encoder")
    (music / "copy.wav").write_bytes((music / "0.wav").read_bytes())
    search = (EXAMPLES / "similarity_search.py", music, f"--encoder={tmp_path / 'encoder'}", "--window_seconds=1")
    printed = run(*search, "--neighbors=2").splitlines()
    assert len(printed) == len(list(music.iterdir()))
    assert "0.wav: copy.wav 1.000" in "\n".join(printed)
    (answer,) = run(*search, f"--query={music / '0.wav'}").splitlines()
    assert re.fullmatch(r"0\.wav: copy\.wav 1\.000(, [\w.]+ [01]\.\d+){2}", answer)


@pytest.mark.slow
def test_fine_tuning_is_compared_with_the_frozen_encoder(run, tmp_path):
    printed = run(EXAMPLES / "finetuning.py", "--labels=family", "--steps=3", "--batch_size=4", "--clips=80")
    assert len(re.findall(r"^(frozen|fine-tuned): +0\.\d+ \[", printed, flags=re.M)) == 2
    assert load_encoder(tmp_path / "finetuned").embedding_dim == 256


@pytest.mark.slow
def test_two_processes_have_the_loss_of_one(run):
    launch = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    small = ("--steps=6", "--batch_size=6")
    printed = run(*launch, EXAMPLES / "distributed.py", *small, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    whole, first, *_, last = losses(printed)
    assert first == pytest.approx(whole, abs=1e-3)
    assert last < first
    assert "over 12 items" in printed
