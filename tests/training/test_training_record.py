"""A run records the tracks that its encoder was trained on."""

from __future__ import annotations

import pytest
from training_runs import TINY, pretrain_on

from ssc_toolkit.evaluation.leaks import TRAINING_TRACKS, load_record, save_record


@pytest.mark.slow
def test_a_run_records_its_training_tracks(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path / "run", **TINY)
    record = load_record(tmp_path / "run" / TRAINING_TRACKS)
    assert record is not None
    names = {str(name).split(".")[0] for name in record.names}
    assert names == {f"{number:02d}" for number in range(24) if number % 4 != 3}  # the others are in "valid"
    assert all(record.hashes)


@pytest.mark.slow
def test_a_record_of_an_earlier_version_is_replaced(music, tmp_path, monkeypatch):
    pretrain_on(music / "my.csv", tmp_path, **TINY)
    path = tmp_path / TRAINING_TRACKS
    record = load_record(path)
    assert record is not None
    monkeypatch.setattr("ssc_toolkit.evaluation.leaks.record.RULE", "landmarks 1")
    save_record(record, path)
    monkeypatch.undo()
    old = load_record(path)
    assert old is not None
    assert not old.is_complete
    pretrain_on(music / "my.csv", tmp_path, **TINY | {"steps": 3})
    again = load_record(path)
    assert again is not None
    assert again.is_complete
    assert again.hashes.tolist() == record.hashes.tolist()


@pytest.mark.slow
def test_unlabeled_tracks_are_recorded_too(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path / "run", unlabeled=str(music), labels=("note",), **TINY)
    record = load_record(tmp_path / "run" / TRAINING_TRACKS)
    assert record is not None
    assert len(record) == 18 + 24
