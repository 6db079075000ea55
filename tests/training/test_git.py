"""Git state of a run: read from plain files, and nothing of a repository runs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import ssc_toolkit
from ssc_toolkit.training.git import find_commit, is_changed
from ssc_toolkit.training.provenance import read_git_state

NOBODY = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *NOBODY, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path) -> Path:
    folder = tmp_path / "repository"
    (folder / "deep" / "er").mkdir(parents=True)
    git(tmp_path, "init", "-q", str(folder))
    (folder / "a.txt").write_text("a")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_commit_is_read_at_any_depth(repository):
    expected = git(repository, "rev-parse", "HEAD")
    assert find_commit(repository) == find_commit(repository / "deep" / "er") == expected
    git(repository, "checkout", "-q", "--detach")
    assert find_commit(repository) == expected


def test_commit_of_packed_references(repository):
    git(repository, "checkout", "-qb", "topic/long")
    git(repository, "pack-refs", "--all")
    assert not (repository / ".git/refs/heads/topic/long").exists()
    assert find_commit(repository) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("packed", [False, True])
def test_commit_of_a_worktree(repository, tmp_path, packed):
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    (tmp_path / "tree" / "b.txt").write_text("b")
    git(tmp_path / "tree", "add", ".")
    git(tmp_path / "tree", "commit", "-qm", "second")
    if packed:
        git(repository, "pack-refs", "--all")
    found = find_commit(tmp_path / "tree")
    assert found == git(tmp_path / "tree", "rev-parse", "HEAD") != find_commit(repository)


def test_no_commit_where_there_is_none(tmp_path):
    assert find_commit(tmp_path) is None
    git(tmp_path, "init", "-q", str(tmp_path / "empty"))
    assert find_commit(tmp_path / "empty") is None


@pytest.mark.parametrize(
    "head", [b"", b"ref: ../../secret\n", b"ref: refs/../../secret", b"\xff\xfe", b"ref: refs/heads/a", b"gitdir: /"]
)
def test_damaged_repositories_have_no_commit(tmp_path, head):
    (tmp_path / "secret").write_text("0" * 40)
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "refs" / "heads" / "a").write_text("ref: refs/heads/a")
    (tmp_path / ".git" / "HEAD").write_bytes(head)
    assert find_commit(tmp_path) is None
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / ".git").write_bytes(head)
    assert find_commit(tmp_path / "file") is None


def test_commit_needs_no_git(repository, monkeypatch):
    expected = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", "")
    assert find_commit(repository) == expected
    assert is_changed(repository) is None


def test_change_is_seen_without_monitor_or_hook(repository, tmp_path):
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    spy.chmod(0o755)
    git(repository, "config", "core.fsmonitor", str(spy))
    assert is_changed(repository) is False
    (repository / "a.txt").write_text("changed")
    assert is_changed(repository) is True
    assert not (tmp_path / "ran").exists()


def test_nothing_of_the_working_folder_runs(repository, tmp_path, monkeypatch):
    spy = tmp_path / "spy"
    spy.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    spy.chmod(0o755)
    (repository / ".gitattributes").write_text("* filter=spy diff=spy\n")
    for name in ("core.fsmonitor", "core.pager", "filter.spy.clean", "filter.spy.process", "diff.spy.textconv"):
        git(repository, "config", name, str(spy))
    (repository / "a.txt").write_text("changed, so that git would look into it")
    (repository / "git").write_text(spy.read_text())
    (repository / "git").chmod(0o755)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", os.pathsep.join([".", os.environ["PATH"]]))
    expected = find_commit(repository)
    (tmp_path / "ran").unlink(missing_ok=True)
    found = read_git_state()
    assert not (tmp_path / "ran").exists()
    assert found["working_directory"] == {"commit": expected}


def test_a_surrounding_repository_is_not_the_library(repository, monkeypatch):
    target = repository / "site-packages" / "ssc_toolkit"
    target.mkdir(parents=True)
    monkeypatch.setattr(ssc_toolkit, "__file__", str(target / "__init__.py"))
    assert read_git_state()["ssc_toolkit"] is None
