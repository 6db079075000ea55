"""Nothing of the working folder runs in processes that a command starts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from training_runs import ONE_THREAD, SMALL

import ssc_toolkit

pytestmark = pytest.mark.slow


ROOT = str(Path(ssc_toolkit.__file__).parent.parent)


def make_hostile(folder: Path, *modules: str) -> None:
    """Write modules of the user that note in a file `ran` that they were run."""
    for module in modules:
        code = f"open({str(folder / 'ran')!r}, 'a').write(__name__)\nraise SystemExit(9)\n"
        (folder / f"{module}.py").write_text(code)


def started_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The result of Python with these arguments, started in a folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**ONE_THREAD, "PYTHONPATH": ROOT},
    )


def test_nothing_of_the_working_folder_runs_in_a_study(music, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    make_hostile(here, "yaml", "torch", "numpy", "sitecustomize", "pytorch_lightning", "random")
    study = {"runs": {"a": {"tracks": str(music / "my.csv"), **SMALL, "steps": 1}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    arguments = [f"--file={tmp_path / 'study.yaml'}", f"--out={tmp_path / 'out'}"]
    done = started_in(here, "-P", "-m", "ssc_toolkit.cli", "sweep", *arguments)
    assert done.returncode == 0, done.stderr
    assert not (here / "ran").exists()


def test_nothing_of_the_working_folder_runs_in_spawned_workers(music, tmp_path):
    make_hostile(tmp_path, "yaml", "torch", "numpy", "signal", "random", "multiprocessing", "pickle", "soundfile")
    arguments = {**SMALL, "steps": 2, "workers": 2, "logs.tensorboard": "false"}
    options = [f"--{name}={value}" for name, value in arguments.items()]
    script = "import multiprocessing, sys\nfrom ssc_toolkit.cli import main\nif __name__ == '__main__':\n"
    script += "    multiprocessing.set_start_method('spawn')\n"
    script += f"    sys.exit(main(['pretrain', {f'--tracks={music}'!r}, '--out=run', *{options}]))"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ssc-toolkit").write_text(script)
    for started in (["elsewhere/ssc-toolkit"], ["-P", "-c", script]):
        done = started_in(tmp_path, *started)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / "encoder").is_dir()
        assert not (tmp_path / "ran").exists()
        shutil.rmtree(tmp_path / "run")


def test_corpus_workers_run_nothing_of_the_working_folder(tmp_path):
    make_hostile(tmp_path, "numpy", "joblib", "pickle")
    work = "print(run_in_parallel(abs, [(-1,), (-2,)], 2, '', False))"
    code = f"from ssc_toolkit.data.corpus.build import run_in_parallel; {work}"
    done = started_in(tmp_path, "-P", "-c", code)
    assert done.stdout.strip() == "[1, 2]", done.stderr
    assert not (tmp_path / "ran").exists()
