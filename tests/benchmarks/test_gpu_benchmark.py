"""The GPU benchmark: a trial on the CPU, kills, time budgets, failures, and what its figures are made of."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from seeded import noise
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import gpu  # noqa: E402
import gpu_encoders  # noqa: E402
import gpu_losses  # noqa: E402
import gpu_training_step  # noqa: E402
import loss_peers  # noqa: E402
from encoders import make_step  # noqa: E402
from losses import contenders, make_batch, measure_size  # noqa: E402
from results import DOES_NOT_FIT, MEASURED, NOT_MEASURED, Results, is_error  # noqa: E402
from roofline import Layer, Rates, arithmetic_seconds, list_layers, roofline_seconds  # noqa: E402
from timing import Deadline, Failure, attempt, precision, take_turns  # noqa: E402
from training_step import PARTS  # noqa: E402

from ssc_toolkit.encoders import MelCNN  # noqa: E402


def command(out: Path, *options: str) -> list[str]:
    return [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", f"--out={out}", *options]


def rows_of(out: Path, part: str) -> list[dict]:
    return json.loads((out / f"{part}-tiny.json").read_text())["rows"]


def run_part(out: Path, part: str) -> list[dict]:
    """Rows of a part that ran with tiny sizes, and with more time than it needs on a busy machine."""
    ended = subprocess.run(command(out, f"--parts={part}", "--minutes=60"), capture_output=True, text=True, timeout=580)
    assert ended.returncode == 0, ended.stderr
    assert "trial with tiny sizes" in (out / f"{part}-tiny.md").read_text()
    return rows_of(out, part)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["losses", "augmentations", "encoders"])
def test_every_part_runs_with_tiny_sizes(tmp_path, part):
    rows = run_part(tmp_path, part)
    assert len(rows) >= 5
    assert {row["state"] for row in rows} == {MEASURED}
    assert all(row["milliseconds"] > 0 for row in rows)


@pytest.mark.slow
def test_the_parts_of_a_step_sum_up_to_the_step(tmp_path):
    for row in run_part(tmp_path, "training-step"):
        assert row["state"] == MEASURED
        assert list(row["parts"]) == list(PARTS)
        assert sum(row["parts"].values()) == pytest.approx(row["milliseconds"])
        assert row["loop_milliseconds"] > 0
        assert row["loaded_milliseconds"] > 0


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpu_tests_without_a_gpu_are_not_measured(tmp_path):
    rows = run_part(tmp_path, "tests")
    assert len(rows) > 100
    assert {row["state"] for row in rows} == {NOT_MEASURED}
    assert f"| {NOT_MEASURED} |" in (tmp_path / "tests-tiny.md").read_text()


@pytest.mark.slow
def test_a_killed_command_keeps_earlier_results(tmp_path):
    started = subprocess.Popen(command(tmp_path, "--parts=losses"), stdout=subprocess.PIPE, start_new_session=True)
    try:
        for line in started.stdout:
            if b"'measured'" in line:
                break
        # The line is printed before the files are written.
        for _ in range(200):
            if any(row["state"] == MEASURED for row in rows_of(tmp_path, "losses")):
                break
            time.sleep(0.05)
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
        started.stdout.close()
    states = {row["state"] for row in rows_of(tmp_path, "losses")}
    assert states == {MEASURED, NOT_MEASURED}
    assert "ssc_toolkit, tiled | **1.00 x**" in (tmp_path / "losses-tiny.md").read_text()


@pytest.mark.slow
def test_parts_without_time_say_not_measured(tmp_path):
    ended = subprocess.run(command(tmp_path, "--minutes=0"), capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    for part in gpu.PARTS:
        assert NOT_MEASURED in (tmp_path / f"{part}-tiny.md").read_text()


def test_a_part_that_exceeds_its_time_is_stopped(tmp_path, capsys):
    begin = time.monotonic()
    options = argparse.Namespace(out=tmp_path, tiny=True)
    assert gpu.run_in_process("encoders", 0.3, options) is False
    assert time.monotonic() - begin < 20
    assert "encoders: stopped" in capsys.readouterr().out


@pytest.mark.slow
def test_outcomes_of_tests_are_written(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "tests" / "test_gpu.py").write_text(
        "import pytest\n"
        "def test_passes(): pass\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_fails(n): assert n == 2, 'one is not two'\n"
        "def test_skips(): pytest.skip()\n"
    )
    code = (
        "import sys, pathlib, gpu_tests, timing, results\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "gpu_tests.ROOT = folder\n"
        "made = results.Results('tests-tiny', [], gpu_tests.tables, folder, gpu_tests.KEYS)\n"
        "gpu_tests.measure(made, timing.Deadline(), True, 'cpu')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=BENCHMARKS, check=True, capture_output=True)
    text = (tmp_path / "tests-tiny.md").read_text()
    assert "| test_passes | 1 | 0 | 0 |" in text
    assert "| test_fails | 1 | 1 | 0 |" in text
    assert "| test_skips | 0 | 0 | 1 |" in text
    assert "test_fails[1]: failed" in text


def no_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory")


def states_of(**losses) -> dict[str, str]:
    return {row["name"]: row["state"] for row in measure_size("classes", losses, 8, "cpu", budget=0.0)}


@pytest.fixture
def ours():
    return contenders()["classes"]["ssc_toolkit, tiled"]


def test_a_loss_without_enough_memory_does_not_fit(ours):
    states = states_of(ours=ours, theirs=no_memory, last=ours)
    assert states == {"ours": MEASURED, "theirs": DOES_NOT_FIT, "last": MEASURED}


def test_a_failing_loss_is_an_error_of_its_row(ours):
    def fails(*_):
        raise ValueError("no kernel")

    states = states_of(ours=ours, theirs=fails, last=ours)
    assert states == {"ours": MEASURED, "theirs": "failed: ValueError: no kernel", "last": MEASURED}


@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_a_loss_with_another_value_is_not_timed(ours, factor):
    rows = measure_size("classes", {"ours": ours, "theirs": lambda *batch: factor * ours(*batch)}, 8, "cpu", budget=0)
    assert "not the same work" in rows[1]["state"]
    assert "milliseconds" not in rows[1]


def test_after_the_deadline_losses_are_not_measured(ours):
    rows = measure_size("classes", {"ours": ours}, 8, "cpu", until=Deadline(time.time() - 1))
    assert rows == [{"task": "classes", "size": 8, "name": "ours", "state": NOT_MEASURED}]


@pytest.mark.parametrize("text", ["cuFFT error: CUFFT_ALLOC_FAILED", "CUDA error: out of memory"])
def test_other_errors_about_memory_do_not_fit(text):
    def fails():
        raise RuntimeError(text)

    assert attempt(fails, "cpu") == Failure(DOES_NOT_FIT)


@pytest.mark.parametrize("task", gpu_losses.TASKS)
def test_losses_of_large_batches_have_equal_gradients(task, monkeypatch):
    monkeypatch.setattr(loss_peers, "CHUNK_ROWS", 5)
    gradients = {}
    for name, loss in loss_peers.contenders_of_large_batches("cpu")[task].items():
        embeddings, tags, classes = make_batch(32, "cpu")
        leaf = embeddings.clone().requires_grad_()
        loss(leaf, tags, classes).backward()
        gradients[name] = leaf.grad
    expected = gradients["ssc_toolkit, tiled"]
    assert len(gradients) >= 3
    for name, gradient in gradients.items():
        if "published" not in name:  # it adds a constant within the logarithm
            torch.testing.assert_close(gradient, expected, msg=name)


def test_two_ways_is_the_loss_of_clip():
    embeddings, tags, classes = make_batch(24, "cpu")
    first, second = (F.normalize(view, dim=1) for view in embeddings.unbind(1))
    logits = first @ second.T / loss_peers.TEMPERATURE
    matches = torch.arange(len(logits))
    expected = (F.cross_entropy(logits, matches) + F.cross_entropy(logits.T, matches)) / 2
    for loss in loss_peers.contenders_of_large_batches("cpu")[loss_peers.TWO_WAYS].values():
        torch.testing.assert_close(loss(embeddings, tags, classes), expected)


def test_layers_have_the_operations_of_the_flop_counter():
    encoder = MelCNN()
    step = make_step(encoder, noise(2, 1, 16_000), encoder)
    with FlopCounterMode(display=False) as counter:
        step()
    layers = list_layers(step)
    assert sum(layer.operations for layer in layers) == counter.get_total_flops() > 0
    assert {layer.convolves for layer in layers} == {True, False}


def test_layers_count_each_input_and_output_once():
    left, right = torch.randn(3, 5), torch.randn(5, 7)
    assert list_layers(lambda: left @ right) == [Layer(2 * 3 * 5 * 7, 4 * (15 + 35 + 21), torch.float32, False)]


def test_the_roofline_takes_the_slower_of_both_for_each_layer():
    rates = Rates(float32=100.0, tf32=200.0, bfloat16=400.0, copy=10.0)
    product, half = Layer(1000, 10, torch.float32, False), Layer(1000, 100, torch.bfloat16, True)
    convolution = Layer(1000, 10, torch.float32, True)
    with precision(True, False):
        assert arithmetic_seconds([product, half, convolution], rates) == 10 + 2.5 + 5
        assert roofline_seconds([product, half, convolution], rates) == 10 + 10 + 5
    with precision(False, True):
        assert arithmetic_seconds([product, half, convolution], rates) == 5 + 2.5 + 10


def test_precision_is_restored_after_an_error():
    def settings() -> tuple[bool, ...]:
        return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark

    def fails() -> None:
        assert settings() == (False, True, True)
        raise KeyError

    before = settings()
    with pytest.raises(KeyError), precision(False, True, True):
        fails()
    assert settings() == before


def test_turns_end_after_the_deadline():
    times = take_turns({"a": lambda: 1.0, "b": lambda: 2.0}, 50, Deadline(time.time() - 1), least=2)
    assert times == {"a": [1.0] * 2, "b": [2.0] * 2}


def test_parts_in_which_the_host_waits_are_named(monkeypatch):
    mode = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", mode.append)

    def waits():
        if mode and mode[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    parts = {part: waits if part in ("loss", "optimizer") else (lambda: None) for part in PARTS}
    found = gpu_training_step.find_waits(SimpleNamespace(parts=lambda batch, seed: parts), {})
    assert list(found) == ["loss", "optimizer"]
    assert found["loss"].startswith("test_gpu_benchmark.py:")
    assert mode[-1] == "default"


def test_another_error_in_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", lambda mode: None)
    with pytest.raises(torch.OutOfMemoryError):
        gpu_training_step.find_waits(SimpleNamespace(parts=lambda batch, seed: dict.fromkeys(PARTS, no_memory)), {})


def test_a_failing_measurement_keeps_the_earlier_ones(monkeypatch):
    figures = {"parts": dict.fromkeys(PARTS, 1.0), "milliseconds": 6.0, "megabytes": 1.0}
    monkeypatch.setattr(gpu_training_step, "make_case", lambda *case: None)
    monkeypatch.setattr(gpu_training_step, "measure_parts", lambda *given: figures)
    monkeypatch.setattr(gpu_training_step, "measure_waits", lambda *given: {"waits": {"loss": "a.py:1"}})
    monkeypatch.setattr(gpu_training_step, "measure_loop", no_memory)
    monkeypatch.setattr(gpu_training_step, "measure_loader", lambda *given: {"loader_milliseconds": 2.0})
    planned = gpu_training_step.plan(True, "cpu")
    results = Results("training-step-tiny", planned, gpu_training_step.tables, None, gpu_training_step.KEYS)
    gpu_training_step.measure(results, Deadline(), True, "cpu")
    assert is_error(results.rows[0])
    assert "| 6 ms | 0.001 GB | not measured | not measured | not measured | 2 ms | loss (a.py:1) does not fit |" in (
        results.text()
    )


@pytest.mark.parametrize(("milliseconds", "reached"), [(249.0, "yes"), (251.0, "no"), (None, "")])
def test_targets_stand_next_to_the_measured_values(milliseconds, reached):
    row = {"task": "classes", "size": 65536, "name": "ssc_toolkit, tiled", "state": NOT_MEASURED}
    if milliseconds:
        row |= {"state": MEASURED, "milliseconds": milliseconds, "ratio": 1.0, "megabytes": 900.0}
    text = gpu_losses.tables([row], "header")
    shown = f"{milliseconds:.0f} ms, 0.90 GB" if milliseconds else NOT_MEASURED
    assert f"| 65,536 rows, classes: under 250 ms and 4 GB | {shown} | {reached} |".replace("|  |", "| |") in text


def test_the_best_mode_of_an_encoder_is_compared_with_the_target():
    figures = {"clips_per_second": 1, "speedup": 1, "teraflops_per_second": 1, "of_the_arithmetic": 0.1}
    figures |= {"gigaflops_a_clip": 1, "megabytes": 1, "encoder": "SampleCNN", "state": MEASURED}
    rows = [
        figures | {"contender": gpu_encoders.DEFAULT, "of_the_roofline": 0.4},
        figures | {"contender": "compiled", "of_the_roofline": 0.6},
    ]
    text = gpu_encoders.tables(rows, "")
    assert "| SampleCNN: 50% of the roofline, PyTorch's default | 40% (PyTorch's default) | no |" in text
    assert "| SampleCNN: 50% of the roofline, best mode | 60% (compiled) | yes |" in text


def test_results_replace_planned_rows_and_files_are_whole(tmp_path):
    planned = [{"name": name, "state": NOT_MEASURED} for name in "ab"]
    results = Results("x-gpu", planned, lambda rows, header: header + str(rows), tmp_path, ("name",))
    results.put({"name": "b", "state": MEASURED}, {"name": "c", "state": MEASURED})
    rows = json.loads((tmp_path / "x-gpu.json").read_text())["rows"]
    assert [(row["name"], row["state"]) for row in rows] == [("a", NOT_MEASURED), ("b", MEASURED), ("c", MEASURED)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x-gpu.json", "x-gpu.md"]
