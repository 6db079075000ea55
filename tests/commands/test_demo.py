"""The demonstration from end to end, killed on the way and taken up again."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from training_runs import die_at_first_write

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.output_folder import check_note


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "ssc_toolkit.cli", "demo", "--quick", f"--out={out}"]


def cells(text: str) -> set[tuple[str, ...]]:
    """Return the rows of all Markdown tables in a text, with the escapes of Markdown removed."""
    lines = re.findall(r"^\|.*[^-|: ].*$", text, flags=re.M)
    return {tuple(cell.strip().replace("\\", "") for cell in line.split("|")) for line in lines}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory) -> tuple[Path, str]:
    """A demonstration that ran undisturbed, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "whole"
    result = subprocess.run(command(out), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return out, result.stdout


MODELS = ("random encoder", "MFCC statistics", "log-mel statistics", "self-supervised", "semi-supervised", "supervised")
TASKS = ("key", "family", "family, new timbres", "mode", "collection")


@pytest.mark.slow
def test_it_writes_reports_checkpoints_and_encoders(finished):
    out, printed = finished
    for run in ("self-supervised", "semi-supervised", "supervised"):
        for name in ("encoder/model.safetensors", "encoder/config.json", "last.ckpt", "history.csv", "settings.json"):
            assert (out / run / name).stat().st_size > 0
    content = json.loads((out / "report.json").read_text())
    probed = [record for record in content["records"] if record["method"] == "linear"]
    assert tuple(dict.fromkeys(record["model"] for record in probed)) == MODELS
    accuracies = [record for record in probed if record["metric"] == "accuracy"]
    asked = {(record["model"], record["task"], record["severity"]) for record in accuracies}
    assert asked == set(itertools.product(MODELS, TASKS, (0.0, 1.0, 2.0)))
    assert all(0 <= record["low"] <= record["value"] <= record["high"] <= 1 for record in accuracies)
    assert content["provenance"]["split_hash"]
    settings = {
        run: json.loads((out / run / "settings.json").read_text())
        for run in ("self-supervised", "semi-supervised", "supervised")
    }
    assert all("pitch_shift" in s["omit"] for s in settings.values())
    assert len({(s["batch_size"], s["seed"]) for s in settings.values()}) == 1
    assert settings["self-supervised"]["labels"] is None
    assert (settings["semi-supervised"]["label_budget"], settings["supervised"]["labeled_fraction"]) == (0.05, 1.0)
    text = (out / "report.md").read_text()
    assert len(cells(text)) > 10
    assert cells(text) <= cells(printed)


class Page(HTMLParser):
    """Collects what a page refers to, its headings and its figures."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href", "xlink:href") and value]


@pytest.mark.slow
def test_the_page_has_no_external_resources(finished):
    text = (finished[0] / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert page.tags.count("figure") == 5  # scores, severities of two tasks, training, matrices
    assert page.tags.count("svg") == 6  # and the map
    assert page.tags.count("select") == 3  # its model, layout and colors
    assert text.count("data:audio/mpeg") > 20
    assert page.tags.count("table") == 5  # scores, differences, severities of two tasks, retrieval
    for model in MODELS:
        assert model in text


@pytest.mark.slow
def test_a_killed_demonstration_resumes_to_the_same_numbers(finished, tmp_path):
    out = tmp_path / "killed"
    die_at_first_write(*command(out)[3:])
    assert list(out.glob(".demo.json.*.tmp"))
    for sign in ("semi-supervised/last.ckpt", "evaluation/*.npy"):
        process = subprocess.Popen(
            command(out), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 180
        while not list(out.glob(sign)):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / "report.html").exists()
    subprocess.run(command(out), check=True, capture_output=True)
    records = [json.loads((folder / "report.json").read_text())["records"] for folder in (finished[0], out)]
    assert records[0] == records[1]
    assert not list(out.glob(".*.tmp"))


@pytest.mark.slow
def test_a_folder_of_another_demonstration_is_not_changed(finished):
    out = finished[0]
    result = subprocess.run([*command(out), "--seed=1"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "other settings" in result.stderr


def test_leftovers_of_a_kill_do_not_count_as_other_content(tmp_path):
    for name in (f".demo.json.{'a' * 16}.tmp", ".lock"):
        (tmp_path / name).touch()
    check_note(tmp_path / "demo.json", {"quick": True}, "out", "demonstration")
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match=r"out: .* is not empty and contains no demonstration"):
        check_note(tmp_path / "demo.json", {"quick": True}, "out", "demonstration")
