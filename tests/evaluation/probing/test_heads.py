"""Every head on problems with a known answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from points import labeled_points

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import embedding_geometry, few_label_curve, fit_probe, neighbor_agreement, probe, prototypes
from ssc_toolkit.evaluation.probing.heads import HEADS
from ssc_toolkit.evaluation.probing.probe import label_signal
from ssc_toolkit.evaluation.probing.training_rows import choose_training_rows
from ssc_toolkit.evaluation.retrieval.neighbors import normalize_rows


def one_layer(embeddings):
    """Layers for the head that takes several."""
    return {"layer_widths": {"last": embeddings.shape[1]}}


@pytest.fixture(scope="module")
def points():
    return labeled_points(count=300)


@pytest.mark.parametrize("method", HEADS)
def test_each_head_separates_what_can_be_separated(points, method):
    embeddings, tracks = points
    assert probe(embeddings, tracks, "label", method=method, **one_layer(embeddings)).headline.value > 0.95
    shuffled = tracks.assign(label=tracks["label"].sample(frac=1, random_state=0).to_numpy())
    assert probe(embeddings, shuffled, "label", method=method, **one_layer(embeddings)).headline.value < 0.6


@pytest.mark.parametrize("method", HEADS)
def test_no_head_reads_the_test_split(points, method):
    embeddings, tracks = points
    is_test = tracks["split"] == "test"
    # Other labels and other embeddings of the test tracks change nothing.
    spoiled = tracks.assign(label=tracks["label"].where(~is_test, "class 0"))
    noise = np.where(is_test.to_numpy()[:, None], -7 * embeddings, embeddings)
    expected = fit_probe(embeddings, tracks, "label", method, label_fraction=0.5, **one_layer(embeddings)).head
    found = fit_probe(noise, spoiled, "label", method, label_fraction=0.5, **one_layer(embeddings)).head
    assert np.array_equal(expected.predict(embeddings), found.predict(embeddings))
    assert expected.settings == found.settings


@pytest.mark.parametrize("method", HEADS)
def test_each_head_takes_several_labels(points, method):
    embeddings, tracks = points
    number = tracks["label"].str[-1].astype(int)
    tags = [f"a{n}|{'even' if n % 2 == 0 else 'odd'}" for n in number]
    score = probe(embeddings, tracks.assign(tags=tags), "tags", method=method, **one_layer(embeddings))
    assert score.others["roc_auc"] > 0.9


def test_an_mlp_fits_classes_that_are_not_linearly_separable():
    random = np.random.default_rng(0)
    embeddings = random.uniform(-1, 1, size=(600, 2)).astype(np.float32)
    label = np.where(embeddings.prod(axis=1) > 0, "same sign", "other sign")
    tracks = pd.DataFrame({"split": np.repeat(["train", "valid", "test"], 200), "label": label})
    line, bent = (probe(embeddings, tracks, "label", method=method).headline.value for method in ("linear", "mlp"))
    assert line < 0.7 < 0.85 < bent


@pytest.mark.parametrize("method", ["linear", "mlp", "knn"])
def test_numbers_are_predicted(method):
    random = np.random.default_rng(0)
    embeddings = random.normal(size=(200, 3)).astype(np.float32)
    tracks = pd.DataFrame({"split": np.repeat(["train", "valid", "test"], [120, 40, 40])})
    tracks["tempo"] = 120 + 30 * embeddings[:, 0]
    tracks["noise"] = random.normal(size=200)
    score = probe(embeddings, tracks, ["tempo", "noise"], method=method, kind="number")
    assert score.others["r2_tempo"] > 0.75
    assert score.others["r2_noise"] < 0.2
    assert score.headline.value == pytest.approx(np.mean([score.others["r2_tempo"], score.others["r2_noise"]]))


def test_prototypes_are_mean_directions():
    embeddings = np.array([[2.0, 0], [0, 4], [5, 5], [0, -1], [9, 1], [1, -9], [3, 3]], dtype=np.float32)
    tracks = pd.DataFrame({"split": ["train"] * 4 + ["valid"] * 2 + ["test"], "label": list("aaabaaa")})
    head = fit_probe(embeddings, tracks, "label", "prototypes").head
    mean = (np.array([1, 0]) + np.array([0, 1]) + np.array([1, 1]) / np.sqrt(2)) / 3
    expected = np.stack([normalize_rows(mean[None])[0], [0, -1]])
    np.testing.assert_allclose(head.predict(expected), expected @ expected.T, atol=1e-6)
    with pytest.raises(InputError, match="prototypes expected classes, got numbers"):
        fit_probe(embeddings, tracks.assign(x=range(7)), "x", "prototypes", kind="number")


def test_a_class_without_a_training_track_is_never_predicted(points):
    embeddings, tracks = points
    tracks = tracks.assign(label=tracks["label"].where(tracks.index < 290, "only in the test split"))
    for method in HEADS:
        fitted = fit_probe(embeddings, tracks, "label", method, **one_layer(embeddings))
        outputs = fitted.predict(embeddings, tracks).outputs
        assert outputs.shape == (60, 4)
        assert not (outputs.argmax(axis=1) == 3).any()


def test_probes_of_several_seeds_share_encoded_labels(encoded):
    embeddings, tracks = labeled_points(classes=3)
    few_label_curve(embeddings, tracks, "label", "prototypes", label_fractions=(0.5, 1.0), seeds=(0, 1))
    probe(embeddings, tracks, "label", method="prototypes", repeats=3)
    assert encoded == ["label", "label"]


def test_more_labels_help_and_fractions_are_nested():
    embeddings, tracks = labeled_points(classes=5, count=300, spread=3.0)
    curve = few_label_curve(
        embeddings, tracks, "label", "prototypes", label_fractions=(0.03, 0.2, 1.0), seeds=(0, 1, 2)
    )
    values = [score.headline.value for score in curve.values()]
    assert values[0] < values[-1]
    assert [score.seeds for score in curve.values()] == [3, 3, 3]
    assert curve[0.03].headline.high - curve[0.03].headline.low > curve[1.0].headline.high - curve[1.0].headline.low
    assert prototypes(embeddings, tracks, "label", label_fractions=(0.2,))[0.2].headline == curve[0.2].headline
    labels = label_signal(tracks, "label")
    rows = np.flatnonzero(tracks["split"] == "train")
    small, large = (set(choose_training_rows(rows, labels, share, seed=1)) for share in (0.03, 0.2))
    assert small < large < set(rows)
    assert tracks["label"][sorted(small)].nunique() == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "forest"}, "method: expected one of linear"),
        ({"label_fraction": 0.0}, "label_fraction: expected a fraction above 0 and up to 1, got 0"),
        ({"label_fraction": 0.001}, "label_fraction: expected at least two classes"),
        ({"kind": "numbers"}, "kind: expected one of"),
    ],
)
def test_invalid_probe_options_are_refused(points, options, words):
    embeddings, tracks = points
    with pytest.raises(InputError, match=words):
        fit_probe(embeddings, tracks, "label", **options)


def test_arrays_of_other_lengths_are_refused(points):
    embeddings, tracks = points
    fitted = fit_probe(embeddings, tracks, "label", "prototypes")
    few, rest = tracks[:50], "a row for each of the tracks, got"
    for attempt, words in (
        (lambda: probe(embeddings[:50], tracks, "label"), rf"embeddings: expected \(300, dim\), {rest} \(50, 8\)"),
        (lambda: probe(embeddings[:, 0], tracks, "label"), rf"embeddings: expected \(300, dim\), {rest} \(300,\)"),
        (lambda: fitted.score(embeddings[:50], tracks), r"embeddings: expected \(300, dim\)"),
        (lambda: fitted.score(embeddings[:50], few), "tracks: expected 300 rows, one for each label, got 50"),
        (lambda: fitted.score(embeddings, tracks, np.ones(9, dtype=bool)), "subset: expected 300"),
        (lambda: probe(embeddings, tracks.drop(columns="split"), "label"), "tracks: expected a column 'split'"),
        (
            lambda: prototypes(embeddings, tracks, "label", label_fractions=(0.5, 0)),
            "label_fractions: expected a fraction above 0 and up to 1",
        ),
        (
            lambda: few_label_curve(embeddings, tracks, "label", label_fractions=()),
            "label_fractions: expected a fraction above 0",
        ),
        (lambda: few_label_curve(embeddings, tracks, "label", seeds=()), "seeds: expected at least one"),
        (
            lambda: probe(embeddings, tracks.assign(n=0.1), "n", kind="number"),
            "labels: expected different numbers of column 'n'",
        ),
        (lambda: embedding_geometry(embeddings[:, 0]), "embeddings: expected"),
        (lambda: neighbor_agreement(embeddings[:50], fitted.labels), r"embeddings: expected \(300, dim\)"),
    ):
        with pytest.raises(InputError, match=words):
            attempt()
