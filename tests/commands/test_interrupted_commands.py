"""Commands of evaluation against second processes, kills, full disks and closed streams."""

from __future__ import annotations

import contextlib
import io
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from compared import RATE, WINDOW, write_encoders, write_music
from folders import contents
from training_runs import ONE_THREAD, begin, die_at_first_write, wait_until

from ssc_toolkit.cli import main

pytestmark = pytest.mark.slow


SLOW = f"""
import time
from pathlib import Path
from ssc_toolkit.evaluation import as_model

def features(waveforms):
    Path("begun").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return waveforms.unfold(-1, 400, 400).std(-1)[:, :8]

def make():
    return as_model(features, {RATE}, window_seconds={WINDOW}, identity="slow")
"""
COMMANDS = {
    "probe": ["--labels=key", "--out=out"],
    "robustness": ["--labels=key", "--severities=1", "--corruptions=bitcrush", "--out=out"],
    "retrieval": ["--labels=key", "--out=out"],
    "compare": ["--labels=key", "--severities=0", "--audio_clips=0", f"--window_seconds={WINDOW}", "--out=out"],
    "embed": ["--out=out/e.npz"],
}


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    return write_music(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def at_work(music, tmp_path_factory):
    """Every command at work, in a folder of its own; all of them end by themselves once they may go on."""
    processes = {}
    for name, options in COMMANDS.items():
        folder = tmp_path_factory.mktemp(name)
        (folder / "slow.py").write_text(SLOW)
        encoder = "--encoders=slow:make" if name == "compare" else "--encoder=slow:make"
        arguments = [name, encoder, "--allow_code", f"--tracks={music}", *options]
        process = begin(sys.executable, "-m", "ssc_toolkit.cli", *arguments, cwd=folder)
        processes[name] = (process, folder, arguments)
    yield processes
    for process, _, _ in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_command_leaves_the_first_untouched(at_work, name, monkeypatch):
    process, folder, arguments = at_work[name]
    wait_until((folder / "begun").exists, process)
    (folder / "out" / ".mine.2024.tmp").write_text("precious")
    before = contents(folder / "out")
    monkeypatch.chdir(folder)
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        assert main(arguments) == 2
    assert "out: another process is" in errors.getvalue()
    assert len([line for line in errors.getvalue().splitlines() if line.startswith("ssc-toolkit")]) == 1
    assert contents(folder / "out") == before
    (folder / "go").touch()
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert (folder / "out" / ("e.npz" if name == "embed" else "report.html")).exists()
    assert (folder / "out" / ".mine.2024.tmp").read_text() == "precious"


@pytest.fixture(scope="module")
def comparison(music, tmp_path_factory) -> list[str]:
    encoder, _ = write_encoders(tmp_path_factory.mktemp("encoders"))
    return [
        *("compare", f"--encoders={encoder}", f"--tracks={music}", f"--window_seconds={WINDOW}"),
        *("--labels=key", "--severities=0", "--audio_clips=0"),
    ]


def run(arguments: list[str], streams: str = "", **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f'exec "$@" {streams}', "bash", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=ONE_THREAD,
        **options,
    )


def test_compare_killed_at_first_write_and_closed_streams(comparison, tmp_path):
    arguments = [*comparison, f"--out={tmp_path / 'out'}"]
    die_at_first_write(*arguments)
    assert list((tmp_path / "out").rglob(".*.tmp"))
    for streams in (">&-", "2>&-", ">&- 2>&- <&-"):  # the later ones find what the first has computed
        done = run([sys.executable, "-m", "ssc_toolkit.cli", *arguments], streams)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert (tmp_path / "out" / "report.html").exists()
        for name in ("html", "md", "json"):
            (tmp_path / "out" / f"report.{name}").unlink()
    assert not list((tmp_path / "out").glob(".*.tmp"))


@pytest.mark.parametrize("limit", [300, 6000])
def test_a_full_disk_is_one_line_in_compare(comparison, tmp_path, limit):
    before = '{"environment": {"ssc_toolkit": "0.1.0"}}'
    (tmp_path / "report.json").write_text(before)
    done = run(
        [sys.executable, "-m", "ssc_toolkit.cli", *comparison, f"--out={tmp_path}"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ssc-toolkit")]
    assert f"cannot write {tmp_path / 'report'}." in line
    assert done.stderr.count("the work continues without the cache") <= 1
    assert "None" not in done.stderr
    assert not list(tmp_path.rglob(".*.tmp"))
    if limit == 300:
        assert (tmp_path / "report.json").read_text() == before
