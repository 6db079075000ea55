"""Views of a training: from which tracks they come, and where in them."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import yaml
from seeded import generator
from training_runs import TINY, losses, pretrain_on

from ssc_toolkit.cli import main
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.training import SegmentOptions
from ssc_toolkit.training.dataset_factory import make_training_dataset, select_training_rows
from ssc_toolkit.training.view_samplers import make_part_sampler

RATE = 16000
BY_NOTE = {"sampler": "same_label", "column": "note"}


@pytest.fixture(scope="module")
def table(music):
    return select_training_rows(check_audio(load_tracks(music / "my.csv"), 0.5))


def views(table, items=None, length=20000, **segments):
    """Views of some items, several times, in tracks of one length."""
    options = SegmentOptions(**segments)
    options.check()
    sampler = make_part_sampler(table, options, RATE)
    rows = torch.arange(len(table)).repeat(50) if items is None else items
    return rows, sampler.views_of(rows, torch.full((len(table),), length), 8000, 3, generator())


def test_views_come_from_tracks_of_the_same_label(table):
    rows, found = views(table, **BY_NOTE)
    notes = table["note"].fillna("").to_numpy()
    assert torch.equal(found.tracks[:, 0], rows)
    for row, others in zip(rows.tolist(), found.tracks[:, 1:].tolist(), strict=True):
        if notes[row]:
            assert {notes[other] for other in others} == {notes[row]}
            assert row not in others
        else:
            assert set(others) == {row}  # a track without a label gives all views itself
    assert len(found.starts.unique()) > 100


def test_a_mixture_uses_each_sampler_by_its_weight(table):
    labeled = torch.tensor((~table["note"].isna()).to_numpy()).nonzero()[:, 0].repeat(400)
    parts = ({"sampler": "same", "weight": 3}, {**BY_NOTE, "weight": 1})
    _, found = views(table, labeled, mixture=parts)
    same = ((found.starts == found.starts[:, :1]) & (found.tracks == found.tracks[:, :1])).all(1)
    other = (found.tracks[:, 1:] != found.tracks[:, :1]).all(1)
    assert (same | other).all()
    assert other.float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_overlap_limits_how_far_views_overlap(table):
    _, found = views(table, sampler="random", overlap=0.25)
    gaps = found.starts.sort(1).values.diff()
    assert 6000 <= gaps.min() < 6500
    _, free = views(table, sampler="random")
    assert free.starts.sort(1).values.diff().min() < 2000


def test_unlabeled_tracks_without_the_column_use_their_own_views(table):
    plain = table.select(torch.ones(len(table), dtype=torch.bool))
    del plain.frame["note"]
    dataset = make_training_dataset([table, plain], None, RATE, 0.5, 2, 0.1, SegmentOptions(**BY_NOTE))
    for part, crosses in zip(dataset.datasets, (True, False), strict=True):
        found = part.view_sampler.views_of(torch.arange(len(table)), part.lengths, 8000, 2, generator())
        assert bool((found.tracks[:, 0] != found.tracks[:, 1]).any()) == crosses


@pytest.mark.slow
def test_a_run_sees_the_views_of_its_config(music, tmp_path):
    segments = {"mixture": [{"sampler": "adjacent"}, {**BY_NOTE, "weight": 2}]}
    config = tmp_path / "views.yaml"
    options = {"tracks": str(music / "my.csv"), "out": str(tmp_path / "run"), "segments": segments, **TINY}
    config.write_text(yaml.safe_dump(options))
    assert main(["pretrain", f"--config={config}"]) == 0
    pretrain_on(music / "my.csv", tmp_path / "plain", **TINY)
    assert losses(tmp_path / "run") != losses(tmp_path / "plain")
    own = SegmentOptions(mixture=({"sampler": "adjacent"}, {**BY_NOTE, "weight": 2}))
    pretrain_on(music / "my.csv", tmp_path / "run", segments=own, **TINY)  # the same settings
    with pytest.raises(InputError, match=r"segments.mixture was \[\{.*, is \[\]"):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sampler": "same_label"}, "segments.column: expected the name of a column with segments.sampler=same_label"),
        ({"column": "note"}, "segments.column: expected segments.sampler=same_label, got adjacent"),
        ({"overlap": 0.5}, "segments.overlap: expected segments.sampler=random, got adjacent"),
        ({"sampler": "random", "overlap": 2}, "segments.overlap: expected a fraction"),
        ({"sampler": "random", "overlap": 0.5, "min_gap_seconds": 1}, "segments.overlap: expected no segments.min_gap"),
        ({"sampler": "same_label", "column": "artist"}, "segments.column: there is no column 'artist' among 'path'"),
        ({"sampler": "same_label", "column": "path"}, "segments.column: expected a label that several training tracks"),
        ({"mixture": ({"sampler": "some"},)}, "segments.mixture: part 1: sampler: expected one of adjacent, same"),
        ({"mixture": ({}, {"sampler": "same_label"})}, "segments.mixture: part 2: column: expected the name"),
        ({"mixture": ({"weigth": 1},)}, "segments.mixture: part 1: expected .* got 'weigth'; did you mean weight?"),
        ({"mixture": ({"mixture": ()},)}, "segments.mixture: part 1: expected sampler, .* got 'mixture'"),
        ({"mixture": ({"weight": -1},)}, "segments.mixture: part 1: weight: expected a number of at least 0"),
        ({"mixture": ({"weight": 0},)}, "segments.mixture: expected weights with a positive sum"),
        ({"mixture": ("same",)}, "segments.mixture: part 1: expected options by name, got 'same'"),
        ({"mixture": ({},), "sampler": "same"}, "segments.sampler: expected no value with segments.mixture"),
    ],
    ids=str,
)
def test_views_that_cannot_work_stop_before_work(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", segments=SegmentOptions(**options), **TINY)
    assert not list(tmp_path.glob("run/*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": 1, "labels": "note", "labeled_fraction": 1.0}, "views: expected at least 2 with views from tracks"),
        (
            {"labels": "note", "label_budget": 0.5},
            "segments.column: expected a column that is not in labels with label",
        ),
    ],
)
def test_labels_outside_of_the_budget_give_no_views(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", segments=SegmentOptions(**BY_NOTE), **TINY | options)


def test_a_column_of_single_labels_is_an_error(music, tmp_path):
    table = pd.read_csv(music / "my.csv").assign(artist=[f"artist {number}" for number in range(24)])
    table.to_csv(tmp_path / "my.csv", index=False)
    options = {"segments": SegmentOptions(sampler="same_label", column="artist"), "root": str(music), **TINY}
    with pytest.raises(InputError, match="expected a label that several training tracks have in column 'artist'"):
        pretrain_on(tmp_path / "my.csv", tmp_path / "run", **options)
