"""The probe of a learned weighted sum of layers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model, few_label_curve, fit_probe, layer_widths, probe
from ssc_toolkit.evaluation.probing.heads.weighted_layers import WeightedLayerSum

METHOD = "weighted_layers"


@pytest.fixture(scope="module")
def tracks():
    split = np.repeat(["train", "valid", "test"], [120, 60, 60])
    return pd.DataFrame({"split": split, "genre": ["jazz", "rock"] * 120, "tempo": np.arange(240) % 7 * 10.0})


def layers(tracks, widths, informative, scale=1.0):
    """Concatenated layers of noise; one of them contains the label, at a scale of its own."""
    random = np.random.default_rng(0)
    parts = {name: random.normal(size=(len(tracks), width)) for name, width in widths.items()}
    parts[informative][:, 0] += np.where(tracks["genre"] == "jazz", 4, -4)
    parts[informative] *= scale
    return np.hstack(list(parts.values())).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e4])
def test_the_layer_with_the_label_gets_the_weight_at_any_scale(tracks, scale):
    widths = {"first": 12, "second": 12, "third": 12}
    fitted = fit_probe(layers(tracks, widths, "second", scale), tracks, "genre", METHOD, layer_widths=widths)
    weights = fitted.head.settings["layer_weights"]
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert weights["second"] > 0.6
    assert fitted.score(layers(tracks, widths, "second", scale), tracks).headline.value > 0.9


def test_layers_of_unequal_width_are_projected(tracks):
    widths = {"first": 5, "second": 20}
    embeddings = layers(tracks, widths, "first")
    assert probe(embeddings, tracks, "genre", method=METHOD, layer_widths=widths).headline.value > 0.9
    curve = few_label_curve(
        embeddings, tracks, "genre", METHOD, layer_widths=widths, label_fractions=(0.5,), seeds=(0,)
    )
    assert curve[0.5].headline.value > 0.8
    assert fit_probe(embeddings, tracks, "tempo", METHOD, kind="number", layer_widths=widths).labels.kind == "number"


def test_the_weighted_sum_equals_its_equation():
    torch.manual_seed(0)
    layer, embeddings = WeightedLayerSum([2, 3]), torch.randn(4, 5)
    layer.scores.data = torch.tensor([0.3, -1.0])
    weights = np.exp([0.3, -1.0]) / np.exp([0.3, -1.0]).sum()
    first, second = (projection.weight for projection in layer.projections)
    expected = weights[0] * embeddings[:, :2] @ first.T + weights[1] * embeddings[:, 2:] @ second.T
    torch.testing.assert_close(layer(embeddings), expected.float())


def test_widths_that_do_not_fit_are_errors(tracks):
    embeddings = layers(tracks, {"first": 5, "second": 20}, "first")
    with pytest.raises(
        InputError, match="layer_widths: expected the widths of the layers for weighted_layers, got None"
    ):
        fit_probe(embeddings, tracks, "genre", METHOD)
    for score in (probe, few_label_curve):
        with pytest.raises(InputError, match="layer_widths: expected the widths"):
            score(embeddings, tracks, "genre", method=METHOD)
    with pytest.raises(InputError, match="layer_widths: expected widths that sum to the 25 columns"):
        fit_probe(embeddings, tracks, "genre", METHOD, layer_widths={"first": 5})


def test_widths_of_the_layers_of_an_encoder():
    encoder = MelCNN(n_mels=16).set_readout("mean_std", "all").train()
    assert list(layer_widths(encoder).values()) == [32, 64, 64, 512, 512]
    assert layer_widths(encoder, "max", ["last"]) == {"temporal.5": 256}
    assert encoder.training
    with pytest.raises(InputError, match="model: expected an Encoder that gives frames, got WrappedModel"):
        layer_widths(as_model(lambda x: x, 8000))


@pytest.mark.parametrize("method", ["linear", METHOD])
def test_probes_standardize_layers_of_different_scale(tracks, method):
    """A layer with the label that is far smaller than a layer of noise is used all the same."""
    widths = {"loud": 12, "soft": 12}
    embeddings = layers(tracks, widths, "soft", scale=1e-3)
    embeddings[:, :12] *= 1e3
    assert probe(embeddings, tracks, "genre", method=method, layer_widths=widths).headline.value > 0.9
