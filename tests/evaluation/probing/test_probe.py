"""Linear probes on points whose classes are known."""

from __future__ import annotations

import numpy as np
import pytest
from points import labeled_points

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import fit_probe, probe


def test_a_probe_scores_high_only_on_informative_embeddings():
    embeddings, tracks = labeled_points()
    assert probe(embeddings, tracks, "label").headline.value > 0.95
    shuffled = tracks.assign(label=tracks["label"].sample(frac=1, random_state=0).to_numpy())
    assert probe(embeddings, shuffled, "label").headline.value < 0.6


def test_a_probe_does_not_see_the_test_split_or_unknown_labels():
    embeddings, tracks = labeled_points()
    fitted = fit_probe(embeddings, tracks, "label")
    other = embeddings.copy()
    other[tracks["split"] == "test"] *= -5
    assert np.array_equal(
        fit_probe(other, tracks, "label").head.predict(embeddings),
        fitted.head.predict(embeddings),
    )
    some = tracks.assign(label=tracks["label"].where(np.arange(300) % 2 == 0, None))
    assert probe(embeddings, some, "label").tracks == 30


def test_nan_embeddings_are_left_out():
    embeddings, tracks = labeled_points()
    embeddings[[0, 299]] = np.nan
    assert probe(embeddings, tracks, "label").tracks == 59


def test_a_subset_of_the_test_tracks():
    embeddings, tracks = labeled_points()
    fitted = fit_probe(embeddings, tracks, "label")
    subset = np.arange(300) >= 280
    score = fitted.score(embeddings, tracks, subset)
    assert score.rows.tolist() == list(range(280, 300))
    with pytest.raises(InputError, match="labels: expected test tracks"):
        fitted.score(embeddings, tracks, np.zeros(300, dtype=bool))


def test_several_labels_a_track():
    embeddings, tracks = labeled_points()
    number = tracks["label"].str[-1].astype(int)
    tags = [f"a{n}|{'even' if n % 2 == 0 else 'odd'}" for n in number]
    tags[-1] = "a0|never in training"
    score = probe(embeddings, tracks.assign(tags=tags), "tags")
    assert score.metric == "average precision"
    assert score.headline.value > 0.75
    assert score.others["roc_auc"] > 0.9
    everything = probe(embeddings, tracks.assign(tags=[f"{tag}|music" for tag in tags[:-1]] + ["a0|music"]), "tags")
    assert everything.undefined_classes == 1  # every track is music


def test_keys_get_the_weighted_score():
    embeddings, tracks = labeled_points(classes=3)
    names = {"class 0": "C major", "class 1": "G major", "class 2": "A minor"}
    score = probe(embeddings, tracks.assign(key=tracks["label"].map(names)), "key")
    assert score.headline.value <= score.others["weighted_key_score"] <= 1
    # A model that always answers C major: 1 for C, .5 or less for the others.
    constant = probe(np.zeros_like(embeddings), tracks.assign(key=tracks["label"].map(names)), "key")
    assert constant.others["weighted_key_score"] < 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(label=t["label"].where(t["split"] != "valid", None)), "labels: expected valid tracks"),
        (
            lambda t: t.assign(label=t["label"].where(t["split"] != "train", "one")),
            "labels: expected at least two classes",
        ),
        (lambda t: t.drop(columns="label"), "no column 'label'"),
    ],
)
def test_unusable_labels_are_refused(change, words):
    embeddings, tracks = labeled_points()
    with pytest.raises(InputError, match=words):
        fit_probe(embeddings, change(tracks), "label")
