"""Projectors in the folders of encoders: they load to the same projections, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ssc_toolkit.encoders import (
    ContrastiveModel,
    MelCNN,
    Projector,
    ProjectorHeads,
    load_encoder,
    load_model,
    load_projector,
    save_model,
)
from ssc_toolkit.encoders.projector import DenseProjector
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.projected import open_projected_model
from ssc_toolkit.files import write_checksums
from ssc_toolkit.losses import SemiSupConLoss, SeparateHeadsLoss

FILES = ("config.json", "model.safetensors", "projector.json", "projector.safetensors")


def projectors() -> list[Projector]:
    dense = DenseProjector(nn.Linear(256, 64), nn.BatchNorm1d(64), Projector(64, output_dim=8))
    return [
        Projector(256),
        Projector(256, 32, 16, depth=3, bias=True, norm="batch"),
        Projector(256, 32, 16, norm="layer"),
        Projector(256, depth=1),
        dense,
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_saved_model_gives_the_same_projections(tmp_path, number):
    torch.manual_seed(number)
    model = ContrastiveModel(MelCNN(n_mels=24), projectors()[number])
    model(torch.randn(4, 1, 8000))  # the statistics of batch norms are not those of a new model
    save_model(model.eval(), tmp_path)
    waveforms, loaded = torch.randn(3, 1, 8000), load_model(tmp_path)
    assert torch.equal(loaded(waveforms).projection, model(waveforms).projection)
    assert type(loaded.projector) is type(model.projector)
    assert not loaded.training
    assert all(weight.requires_grad for weight in loaded.projector.parameters())
    assert torch.equal(load_encoder(tmp_path)(waveforms), model(waveforms).representation)


def test_half_precision_is_kept(tmp_path):
    save_model(ContrastiveModel(MelCNN(n_mels=24), Projector(256, norm="batch").bfloat16()), tmp_path)
    assert {weight.dtype for weight in load_projector(tmp_path).parameters()} == {torch.bfloat16}


@pytest.fixture
def saved(tmp_path) -> Path:
    save_model(ContrastiveModel(MelCNN(n_mels=24), Projector(256, output_dim=4, depth=1)), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", FILES[2:])
def test_a_changed_byte_of_a_projector_is_named(saved, name):
    content = bytearray((saved / name).read_bytes())
    content[len(content) // 2] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name} is damaged"):
        load_projector(saved)
    assert load_encoder(saved).embedding_dim == 256


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"projector_class": "os.system"}, "expected one of Projector, DenseProjector as projector_class"),
        ({"projector_class": "Projector", "input_dim": 256, "colour": 1}, "colour"),
        ({"projector_class": "Projector", "input_dim": 10**9, "output_dim": 10**9, "depth": 1}, "do not match"),
        ({"projector_class": "Projector", "input_dim": -1}, "input_dim"),
        (
            {"projector_class": "Projector", "input_dim": 256, "depth": 10**9},
            "depth: expected an integer from 1 to 100",
        ),
        ({"projector_class": "DenseProjector", "dense_dim": 256, "input_dim": 9, "depth": 10**9}, "from 1 to 100"),
        ([1], "expected a JSON object"),
    ],
)
def test_a_config_of_somebody_else_is_checked(saved, config, words):
    (saved / "projector.json").write_text(json.dumps(config))
    write_checksums(saved, FILES)
    with pytest.raises(InputError, match=words):
        load_projector(saved)


def test_a_projector_of_another_encoder_is_an_error(tmp_path):
    other = tmp_path / "other"
    save_model(ContrastiveModel(MelCNN(n_mels=24), Projector(256, output_dim=4, depth=1)), other)
    projector = Projector(17, output_dim=4, depth=1)
    save_model(ContrastiveModel(Wide(), projector), tmp_path / "wide")
    for name in FILES[2:]:
        (other / name).write_bytes((tmp_path / "wide" / name).read_bytes())
    write_checksums(other, FILES)
    with pytest.raises(InputError, match="projector: expected an input_dim of 256"):
        load_model(other)


class Wide(MelCNN):
    """An encoder whose embedding has another width."""

    def __init__(self) -> None:
        super().__init__(n_mels=24)
        self.embedding_dim = 17


def test_saving_again_without_a_projector_removes_it(saved):
    save_model(ContrastiveModel(MelCNN(n_mels=24), nn.Identity()), saved)
    assert not list(saved.glob("projector.*"))
    with pytest.raises(InputError, match="expected a projector"):
        load_projector(saved)


def test_models_that_cannot_be_saved_are_errors(tmp_path):
    with pytest.raises(TypeError, match="expected a Projector as its projector, got Linear"):
        save_model(ContrastiveModel(MelCNN(n_mels=24), nn.Linear(256, 3)), tmp_path / "a")
    with pytest.raises(TypeError, match="expected an Encoder as its encoder, got Linear"):
        save_model(ContrastiveModel(nn.Linear(9, 256), Projector(256)), tmp_path / "a")
    model = ContrastiveModel(MelCNN(n_mels=24))
    nn.init.constant_(model.projector[0].weight, float("nan"))
    with pytest.raises(ValueError, match="expected finite weights"):
        save_model(model, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_both_projectors_of_separate_heads_are_saved(tmp_path):
    heads = ProjectorHeads(Projector(256, output_dim=8), Projector(256, output_dim=8))
    save_model(ContrastiveModel(MelCNN(), heads), tmp_path)
    representation = torch.randn(3, 256)
    both = heads(representation)
    assert torch.equal(load_projector(tmp_path)(representation), both[:, :8])
    assert torch.equal(load_projector(tmp_path, "labels")(representation), both[:, 8:])
    assert torch.equal(load_model(tmp_path).projector(representation), both)
    listed = json.loads((tmp_path / "checksums.json").read_text())
    assert {*FILES, "label_projector.json", "label_projector.safetensors"} <= set(str(listed).split("'"))
    save_model(ContrastiveModel(MelCNN(), heads.views), tmp_path)
    with pytest.raises(InputError, match=r"label_projector\.json .* got none; .* if projector\.heads is separate"):
        load_projector(tmp_path, "labels")
    with pytest.raises(InputError, match="head: expected one of views, labels, got 'both'"):
        load_projector(tmp_path, "both")  # type: ignore[arg-type]


@pytest.fixture
def separate(tmp_path) -> Path:
    """A saved model whose projectors for views and labels are of different classes."""
    dense = DenseProjector(nn.Linear(256, 64), nn.BatchNorm1d(64), Projector(64, output_dim=4))
    save_model(ContrastiveModel(MelCNN(n_mels=24), ProjectorHeads(Projector(256, output_dim=4), dense)), tmp_path)
    return tmp_path


def test_separate_projectors_train_on_after_loading(separate):
    waveforms, loaded = torch.randn(4, 2, 1, 8000), load_model(separate)
    assert isinstance(loaded.projector, ProjectorHeads)
    assert not loaded.projector.labels.training
    save_model(loaded, separate / "again")
    again = load_model(separate / "again")
    assert torch.equal(again(waveforms).projection, loaded(waveforms).projection)
    loss = SeparateHeadsLoss(SemiSupConLoss(), SemiSupConLoss())
    loss(loaded(waveforms).projection, torch.tensor([0, 0, 1, 1])).backward()
    assert all(weight.grad is not None for weight in loaded.projector.parameters())


def test_projections_of_separate_projectors_are_those_of_views(separate):
    waveforms, model = torch.randn(2, 1, 8000), load_model(separate)
    found = open_projected_model(str(separate))(waveforms)
    assert torch.equal(found, model.projector.select_views(model(waveforms).projection))


@pytest.mark.parametrize("names", [["json"], ["safetensors"], ["json", "safetensors"]])
def test_a_lost_projector_of_labels_is_an_error(separate, names):
    for name in names:
        (separate / f"label_projector.{name}").unlink()
    with pytest.raises(InputError, match=r"label_projector\.json"):
        load_model(separate)


def test_separate_projectors_of_other_widths_are_errors(separate, tmp_path):
    save_model(ContrastiveModel(MelCNN(n_mels=24), Projector(256, output_dim=5)), tmp_path / "other")
    for name in ("json", "safetensors"):
        (separate / f"label_projector.{name}").write_bytes((tmp_path / "other" / f"projector.{name}").read_bytes())
    write_checksums(separate, [*FILES, "label_projector.json", "label_projector.safetensors"])
    with pytest.raises(InputError, match=r"labels: expected input and output of widths \(256, 4\) like views"):
        load_model(separate)
    with pytest.raises(ValueError, match="projector: expected an input_dim of 256"):
        ContrastiveModel(MelCNN(n_mels=24), ProjectorHeads(Projector(17), Projector(17)))
