"""Evaluation of projections, the outputs of the projector that is saved next to an encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssc_toolkit.cli import main
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN, Projector, load_published_model, save_model
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import embed_tracks
from ssc_toolkit.evaluation.baselines import make_baselines, open_models
from ssc_toolkit.evaluation.embedding.files import read_metadata
from ssc_toolkit.evaluation.embedding.projected import open_projected_model
from ssc_toolkit.options import CompareOptions, ProbeOptions


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An encoder with a linear projector."""
    torch.manual_seed(0)
    encoder = MelCNN(n_mels=32)
    model = ContrastiveModel(encoder, Projector(encoder.embedding_dim, output_dim=5, depth=1))
    place = tmp_path_factory.mktemp("model") / "encoder"
    save_model(model, place)
    return place


@pytest.mark.slow
def test_embeddings_are_those_of_the_projector(music, folder, tmp_path):
    common = [f"--tracks={music / 'other.csv'}", f"--encoder={folder}", "--window_seconds=0.5"]
    assert main(["embed", *common, f"--out={tmp_path / 'p.npz'}", "--projections"]) == 0
    assert main(["embed", *common, f"--out={tmp_path / 'e.npz'}"]) == 0
    projections, embeddings = (np.load(tmp_path / f"{name}.npz")["embeddings"] for name in "pe")
    weight = open_projected_model(str(folder)).projector[0].weight.detach().numpy()
    np.testing.assert_allclose(projections, embeddings @ weight.T, atol=1e-4)
    assert read_metadata(tmp_path / "p.npz")["projections"] is True


@pytest.mark.slow
def test_prototypes_on_projections(music, folder, tmp_path):
    common = [f"--tracks={music / 'my.csv'}", f"--encoder={folder}", "--window_seconds=0.5", "--labels=pitch"]
    assert main(["probe", *common, "--methods=prototypes", f"--out={tmp_path}", "--projections"]) == 0
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["provenance"]["projections"] is True
    assert {"this encoder", "random encoder"} <= {record["model"] for record in content["records"]}


def test_a_published_projector_is_saved_and_evaluated(music, tmp_path):
    trained = ContrastiveModel(MelCNN(n_mels=32)).eval()
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "published.ckpt")
    save_model(load_published_model(tmp_path / "published.ckpt", MelCNN(n_mels=32)), tmp_path / "encoder")
    model = open_projected_model(str(tmp_path / "encoder"))
    found = embed_tracks(model, check_audio(load_tracks(music / "other.csv"), progress=False), 0.5, progress=False)
    waveform = torch.randn(3, 1, 8000)
    assert torch.equal(model(waveform), trained(waveform).projection)
    assert found.shape == (10, 128)


@pytest.mark.slow
def test_projections_are_compared(music, folder, tmp_path):
    options = ["--window_seconds=0.5", "--labels=pitch", "--severities=0", "--audio_clips=0", "--methods=prototypes"]
    common = [f"--tracks={music / 'my.csv'}", f"--encoders={folder}", f"--out={tmp_path}", *options]
    found = []
    for more in ([], ["--projections"]):  # one output folder, whose cache does not confuse the two
        assert main(["compare", *common, *more]) == 0
        found.append(json.loads((tmp_path / "report.json").read_text()))
    assert [content["provenance"]["projections"] for content in found] == [False, True]
    models = [content["provenance"]["models"] for content in found]
    assert models[0].keys() == models[1].keys()
    assert models[0]["random encoder"] != models[1]["random encoder"]


def test_compared_models_are_projected(folder):
    waveforms = torch.randn(2, 1, 8000)
    model = open_projected_model(str(folder))
    (opened,) = open_models([str(folder)], projections=True).values()
    assert torch.equal(opened(waveforms), model(waveforms))
    assert next(iter(open_models([str(folder)]).values()))(waveforms).shape[1] == MelCNN(n_mels=32).embedding_dim
    random = make_baselines({"one": opened}, 1)["random encoder"]
    assert random(waveforms).shape == (2, 5)
    assert not torch.equal(random(waveforms), opened(waveforms))


def test_readouts_do_not_multiply_the_baselines_of_projections(tmp_path):
    for number, frame_pooling in enumerate(("mean", "unit_mean_std")):
        encoder = MelCNN(n_mels=32)
        encoder.set_readout(frame_pooling, "all")
        save_model(ContrastiveModel(encoder, Projector(encoder.embedding_dim, output_dim=5)), tmp_path / str(number))
    folders = [str(tmp_path / "0"), str(tmp_path / "1")]
    projected = make_baselines(open_models(folders, projections=True), 0)
    assert list(projected) == ["random encoder", "MFCC statistics", "log-mel statistics"]
    read = make_baselines(open_models(folders), 0)  # the readout of an encoder changes its embeddings
    assert [name for name in read if name.startswith("random")] == [f"random encoder {n}, MelCNN" for n in (1, 2)]
    wider = ContrastiveModel(MelCNN(n_mels=32), Projector(MelCNN(n_mels=32).embedding_dim, output_dim=6))
    save_model(wider, tmp_path / "2")
    projected = make_baselines(open_models([*folders, str(tmp_path / "2")], projections=True), 0)
    assert len([name for name in projected if name.startswith("random")]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frame_pooling": "mean"}, "frame_pooling: expected no value with projections"),
        ({"layers": ("all",)}, "layers: expected no value with projections"),
        (
            {"methods": ("linear", "weighted_layers")},
            "methods: expected linear, mlp, knn or prototypes with projections",
        ),
    ],
)
def test_comparisons_without_projections_are_errors(music, folder, tmp_path, options, words):
    MelCNN(n_mels=32).save_pretrained(tmp_path / "saved")
    common = {"tracks": str(music / "my.csv"), "labels": ("pitch",), "out": str(tmp_path / "out"), "projections": True}
    with pytest.raises(InputError, match=words):
        CompareOptions(encoders=(str(folder),), **common, **options).check()
    with pytest.raises(InputError, match=r"projections: expected projector.json .* in .*saved, got none"):
        CompareOptions(encoders=(str(folder), str(tmp_path / "saved")), **common).check()
    with pytest.raises(InputError, match=r"projections: expected projector.json"):
        CompareOptions(encoders=("package.module:function",), allow_code=True, **common).check()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frame_pooling": "mean"}, "frame_pooling: expected no value with projections"),
        ({"layers": ("all",)}, "layers: expected no value with projections"),
        ({"methods": ("finetune",)}, "methods: expected linear, mlp, knn or prototypes with projections, got finetune"),
        ({"methods": ("weighted_layers",)}, "got weighted_layers"),
    ],
)
def test_readouts_and_methods_without_projections_are_errors(music, folder, options, words):
    with pytest.raises(InputError, match=words):
        ProbeOptions(
            tracks=str(music / "my.csv"), encoder=str(folder), labels=("pitch",), projections=True, **options
        ).check()


def test_an_encoder_without_a_projector_has_no_projections(music, tmp_path):
    options = {"tracks": str(music / "my.csv"), "labels": ("pitch",), "projections": True}
    MelCNN(n_mels=32).save_pretrained(tmp_path / "saved")
    save_model(ContrastiveModel(MelCNN(n_mels=32), nn.Identity()), tmp_path / "identity")
    for name in ("saved", "identity"):
        with pytest.raises(InputError, match=r"projections: expected projector.json and projector.safetensors"):
            ProbeOptions(encoder=str(tmp_path / name), **options).check()
