"""Published checkpoints: every layout gives the source's embeddings, and nothing in a file is run."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import types
import warnings
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from seeded import generator, noise
from torch import nn

from ssc_toolkit.encoders import ContrastiveModel, MelCNN, SampleCNN, load_published
from ssc_toolkit.errors import InputError


class SimCLR(nn.Module):
    """`encoder` without its last layer, and `projector`, as the simclr package names them."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Sequential(nn.Linear(512, 512, bias=False), nn.ReLU(), nn.Linear(512, 128, bias=False))


def with_classifier(encoder):
    """CLMR's SampleCNN itself: the convolutions and `fc`."""
    module = nn.Module()
    module.sequential = encoder.sequential
    module.fc = nn.Linear(512, 50)
    return module


def contrastive_learning(encoder):
    """CLMR's pretraining module, which registers the encoder as `encoder` and as `model.encoder`."""
    module = nn.Module()
    module.encoder = encoder
    module.model = SimCLR(encoder)
    return module


def linear_evaluation(encoder):
    """CLMR's probe: a classifier without a name under `model`."""
    module = nn.Module()
    module.encoder = encoder
    module.model = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 50))
    return module


def supervised_learning(encoder):
    """CLMR's supervised module: `model` is `encoder`, with its classifier."""
    module = nn.Module()
    module.encoder = with_classifier(encoder)
    module.model = module.encoder
    return module


def semi_sup_con(encoder):
    """SemiSupCon's pretraining module."""
    module = nn.Module()
    module.encoder = with_classifier(encoder)
    module.proj_head = SimCLR(encoder).projector
    return module


def finetuning(encoder):
    """SemiSupCon's finetuning module."""
    module = nn.Module()
    module.semisupcon = semi_sup_con(encoder)
    module.head = nn.Linear(512, 50, bias=False)
    return module


LAYOUTS = {
    "the encoder alone": (lambda encoder: encoder, []),
    "CLMR SampleCNN": (with_classifier, ["fc"]),
    "CLMR release": (SimCLR, ["projector"]),
    "CLMR pretraining": (contrastive_learning, ["model.projector"]),
    "CLMR linear evaluation": (linear_evaluation, ["model.0", "model.2"]),
    "CLMR supervised": (supervised_learning, ["encoder.fc", "model.fc"]),
    "SemiSupCon pretraining": (semi_sup_con, ["encoder.fc", "proj_head"]),
    "SemiSupCon finetuning": (finetuning, ["semisupcon.encoder.fc", "semisupcon.proj_head", "head"]),
    "ours": (ContrastiveModel, ["projector"]),
    "DataParallel": (lambda encoder: nn.DataParallel(SimCLR(encoder)), ["module.projector"]),
    "compiled in DataParallel": (
        lambda encoder: nn.DataParallel(torch.compile(with_classifier(encoder))),
        ["module._orig_mod.fc"],
    ),
}


@pytest.fixture(scope="module")
def trained():
    """A SampleCNN whose weights and statistics are nobody's defaults."""
    encoder = SampleCNN().eval()
    for number, module in enumerate(encoder.modules()):
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(generator=generator(number))
            module.running_var.uniform_(0.5, 2, generator=generator(number))
    return encoder


@pytest.fixture(scope="module")
def waveforms():
    return noise(1, 59049)


@pytest.fixture(scope="module")
def embeddings(trained, waveforms):
    with torch.no_grad():
        return trained(waveforms)


def renamed(encoder, change=None):
    """Weights as in CLMR's release, with a chance to change them."""
    weights = {f"encoder.{name}": weight.clone() for name, weight in encoder.state_dict().items()}
    if change is not None:
        change(weights)
    return weights


@pytest.mark.parametrize("lightning", [False, True], ids=["state_dict", "Lightning"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_embeddings_of_its_source(
    trained, waveforms, embeddings, tmp_path, caplog, layout, lightning
):
    build, heads = LAYOUTS[layout]
    content = build(trained).state_dict()
    if lightning:
        content = {
            "state_dict": content,
            "epoch": 7,
            "pytorch-lightning_version": "1.1.0",
            "hyper_parameters": {"temperature": 0.5, "optimizer": "Adam"},
        }
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with caplog.at_level(logging.INFO, "ssc_toolkit.encoders.published"):
        loaded = load_published(path)
    assert isinstance(loaded, SampleCNN)
    assert loaded.sample_rate == 22050
    assert not any(module.training for module in loaded.modules())
    with torch.no_grad():
        assert torch.equal(loaded(waveforms), embeddings)
    told = caplog.messages[0].rpartition(": ")[2].partition(";")[0].split(", ") if caplog.messages else []
    assert told == heads


def test_safetensors(trained, waveforms, embeddings, tmp_path):
    save_file(renamed(trained), tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(load_published(tmp_path / "model.safetensors")(waveforms), embeddings)


def test_the_format_of_torch_before_1_6(trained, waveforms, embeddings, tmp_path):
    path = tmp_path / "clmr_checkpoint_1550.pt"
    torch.save(renamed(trained), path, _use_new_zipfile_serialization=False)
    with torch.no_grad():
        assert torch.equal(load_published(path)(waveforms), embeddings)


def test_half_precision_weights_are_widened(trained, tmp_path):
    torch.save({name: weight.half() for name, weight in trained.state_dict().items()}, tmp_path / "half.pt")
    loaded = load_published(str(tmp_path / "half.pt"))
    assert loaded.sequential[0][0].weight.dtype == torch.float32


def test_the_given_encoder_is_filled_and_returned(tmp_path):
    source, encoder = MelCNN(n_mels=48), MelCNN(n_mels=48)
    torch.save({"state_dict": ContrastiveModel(source).state_dict()}, tmp_path / "mel.ckpt")
    assert load_published(tmp_path / "mel.ckpt", encoder) is encoder
    signals = noise(2, 16000)
    with torch.no_grad():
        assert torch.equal(encoder(signals), source.eval()(signals))


def test_a_checkpoint_of_our_lightning_module(tmp_path):
    from ssc_toolkit.augmentations import semisupcon_chain
    from ssc_toolkit.training import SemiSupConModule

    source = MelCNN()
    module = SemiSupConModule(ContrastiveModel(source), augment=semisupcon_chain(16000))
    torch.save({"state_dict": module.state_dict()}, tmp_path / "last.ckpt")
    loaded = load_published(tmp_path / "last.ckpt", MelCNN())
    assert torch.equal(loaded.temporal[0].weight, source.temporal[0].weight)


def lose(weights):
    for name in ("encoder.sequential.0.0.bias", "encoder.sequential.3.1.running_mean"):
        del weights[name]


def add(weights):
    weights["encoder.sequential.11.0.weight"] = torch.zeros(1)
    weights["mystery.weight"] = torch.zeros(1)


def reshape(weights):
    weights["encoder.sequential.10.0.weight"] = torch.zeros(512, 512, 5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose, ["2 of 77 missing", r"sequential\.0\.0\.bias, sequential\.3\.1\.running_mean"]),
        (add, ["2 unexpected", r"encoder\.sequential\.11\.0\.weight, mystery\.weight"]),
        (reshape, ["1 of another shape", r"sequential\.10\.0\.weight: expected \(512, 512, 3\), got \(512, 512, 5\)"]),
    ],
)
def test_mismatched_weights_are_named_and_change_nothing(trained, tmp_path, change, told):
    path = tmp_path / "checkpoint.pt"
    torch.save(renamed(trained, change), path)
    encoder = SampleCNN()
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    with pytest.raises(InputError, match=".*".join(told)):
        load_published(path, encoder)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.state_dict().items())


def test_an_error_lists_only_the_first_names(tmp_path):
    torch.save(MelCNN().state_dict(), tmp_path / "mel.pt")
    with pytest.raises(InputError, match=r"77 of 77 missing \(sequential\.0\.0\.weight, .*, \.\.\.\)") as caught:
        load_published(tmp_path / "mel.pt")
    assert str(caught.value).count("\n") == 0
    assert len(str(caught.value)) < 600


def test_two_different_encoders_are_an_error(trained, tmp_path):
    weights = renamed(trained)
    weights |= {f"model.{name}": weight + 1 for name, weight in weights.items()}
    torch.save(weights, tmp_path / "two.pt")
    with pytest.raises(InputError, match="expected one encoder"):
        load_published(tmp_path / "two.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_numbers_next_to_the_weights_are_ignored(trained, tmp_path, zipped):
    content = {
        "state_dict": renamed(trained),
        "best": np.float64(0.25),
        "callbacks": {"epochs": np.arange(3), "step": np.int32(7), "name": np.str_("a")},
    }
    path = tmp_path / "last.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert torch.equal(load_published(path).sequential[0][0].weight, trained.sequential[0][0].weight)


@pytest.mark.parametrize("zipped", [True, False])
def test_the_format_is_that_of_the_content_whatever_the_name(trained, tmp_path, zipped):
    save_file(renamed(trained), tmp_path / "named.ckpt")
    torch.save(renamed(trained), tmp_path / "named.safetensors", _use_new_zipfile_serialization=zipped)
    for name in ("named.ckpt", "named.safetensors"):
        assert torch.equal(load_published(tmp_path / name).sequential[0][0].weight, trained.sequential[0][0].weight)


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["weights", "settings"])
def test_a_file_that_would_run_code_is_refused_before_it_does(trained, tmp_path, place, zipped):
    target = tmp_path / "created"
    hostile = Hostile(target)
    content = {"state_dict": renamed(trained), "hyper_parameters": {}}
    if place == "weights":
        content["state_dict"]["encoder.sequential.0.0.bias"] = hostile
    else:
        content["hyper_parameters"]["temperature"] = hostile
    path = tmp_path / "checkpoint.ckpt"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"open.*can run code.*state_dict"):
        load_published(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()


def lightning_module(monkeypatch, name, **members):
    """A module that can be imported while the file is written, as in the program that wrote it."""
    module = types.ModuleType(name)
    for key, member in members.items():
        member.__module__, member.__qualname__ = name, key
        setattr(module, key, member)
    monkeypatch.setitem(sys.modules, name, module)


class Callback:
    pass


def default_of_gpus(value):
    raise AssertionError("called while reading")


def test_settings_saved_by_old_lightning_are_ignored(trained, waveforms, embeddings, tmp_path):
    """Before 1.5 classes of callbacks were keys, before 1.2.8 a function was an argument's default."""
    path = tmp_path / "epoch=1.ckpt"
    with pytest.MonkeyPatch.context() as monkeypatch:
        lightning_module(monkeypatch, "pytorch_lightning.callbacks.gone", Callback=Callback)
        lightning_module(monkeypatch, "pytorch_lightning.utilities.gone", default_of_gpus=default_of_gpus)
        content = {
            "state_dict": renamed(trained),
            "callbacks": {Callback: {"best_model_path": "somewhere"}},
            "hyper_parameters": {"gpus": default_of_gpus, "args": argparse.Namespace(batch_size=48)},
        }
        torch.save(content, path)
    with torch.no_grad():
        assert torch.equal(load_published(path)(waveforms), embeddings)


class Impostor:
    """Asks for a call of a function that goes by Lightning's name."""

    def __init__(self, function, target):
        self.function = function
        self.target = target

    def __reduce__(self):
        return self.function, (str(self.target),)


def create(target):
    open(target, "w").close()  # noqa: PTH123


def test_a_name_of_lightning_is_neither_imported_nor_called(trained, tmp_path, monkeypatch):
    target = tmp_path / "created"
    lightning_module(monkeypatch, "pytorch_lightning.gone", create=create)
    path = tmp_path / "checkpoint.ckpt"
    torch.save({"state_dict": renamed(trained), "callbacks": [Impostor(create, target)]}, path)
    load_published(path)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists()


def test_reading_does_not_change_the_allowed_globals(trained, tmp_path):
    content = {"state_dict": renamed(trained), "args": argparse.Namespace(epochs=1)}
    torch.save(content, tmp_path / "checkpoint.ckpt")
    before = set(torch.serialization.get_safe_globals())
    load_published(tmp_path / "checkpoint.ckpt")
    assert set(torch.serialization.get_safe_globals()) == before


def test_files_that_are_not_checkpoints_are_input_errors(trained, tmp_path):
    with pytest.raises(InputError, match="expected a file, got a missing file"):
        load_published(tmp_path / "nothing.pt")
    with pytest.raises(InputError, match="a folder"):
        load_published(tmp_path)
    path = tmp_path / "checkpoint.pt"
    for content in (b"", b"some text\n" * 9, b"hello\n", bytes(range(256))):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged"):
            load_published(path)
    path = tmp_path / "model.safetensors"
    for content in (b"", b"some text\n" * 9):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a safetensors file"):
            load_published(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("form", ["zip", "before PyTorch 1.6", "safetensors"])
def test_truncated_files_are_input_errors(trained, tmp_path, form, share):
    path = tmp_path / ("whole.safetensors" if form == "safetensors" else "whole.pt")
    if form == "safetensors":
        save_file(renamed(trained), path)
    else:
        torch.save(renamed(trained), path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="damaged"):
        load_published(path)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_flipped_bytes_give_weights_or_an_input_error(tmp_path, zipped):
    encoder = MelCNN(n_mels=4, n_fft=256, channels=1, embedding_dim=2)
    path = tmp_path / "checkpoint.pt"
    torch.save(encoder.state_dict(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    draws = generator()
    loaded = 0
    for _ in range(200):
        content = bytearray(whole)
        for place in torch.randint(len(whole), (2,), generator=draws).tolist():
            content[place] ^= 1 << int(torch.randint(8, (), generator=draws))
        path.write_bytes(content)
        filled = MelCNN(n_mels=4, n_fft=256, channels=1, embedding_dim=2)
        before = {name: weight.clone() for name, weight in filled.state_dict().items()}
        with warnings.catch_warnings(action="ignore"):
            try:
                assert load_published(path, filled) is filled
                loaded += 1
            except InputError:
                assert all(torch.equal(weight, before[name]) for name, weight in filled.state_dict().items())
    assert 0 < loaded < 200  # some flips are in the weights themselves, others in what describes them


def test_published_weights_that_are_not_finite_are_named(trained, tmp_path):
    weights = {name: weight.clone() for name, weight in renamed(trained).items()}
    name = next(name for name, weight in weights.items() if name.endswith("0.0.weight") and weight.is_floating_point())
    weights[name].view(-1)[0] = torch.inf
    torch.save(weights, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=r"expected finite weights .*0\.0\.weight"):
        load_published(tmp_path / "checkpoint.pt")


def test_a_downloaded_archive_must_be_unpacked(trained, tmp_path):
    torch.save(renamed(trained), tmp_path / "checkpoint.pt")
    with zipfile.ZipFile(tmp_path / "checkpoint.zip", "w") as archive:
        archive.write(tmp_path / "checkpoint.pt", "checkpoint.pt")
    with pytest.raises(InputError, match="unpack"):
        load_published(tmp_path / "checkpoint.zip")


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {}}, torch.zeros(3), None])
def test_checkpoints_without_weights(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="got no weights"):
        load_published(tmp_path / "checkpoint.pt")


@pytest.mark.slow
def test_loading_needs_no_lightning(trained, tmp_path):
    torch.save({"state_dict": renamed(trained)}, tmp_path / "checkpoint.ckpt")
    code = (
        "import sys; from ssc_toolkit.encoders import load_published; "
        f"load_published({str(tmp_path / 'checkpoint.ckpt')!r}); assert 'pytorch_lightning' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
