"""Encoders written to a folder and read back."""

from __future__ import annotations

import json
import resource
import shutil

import pytest
import torch
from encoder_kinds import every_encoder
from folders import each_flip
from safetensors.torch import load_file, save_file

from ssc_toolkit.encoders import MelCNN, MusiCNN, SampleCNN, ShortChunkCNN, TUNePlus, load_encoder, make_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_checksums


@every_encoder
def test_saving_and_loading(make, tmp_path, capsys):
    torch.manual_seed(1)
    encoder = make().eval()
    encoder.save_pretrained(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    waveforms = torch.randn(1, encoder.min_samples)
    with torch.no_grad():
        assert torch.equal(loaded(waveforms), encoder(waveforms))
    assert not loaded.training
    assert capsys.readouterr().out == ""


def strict(folder, told, kind=MelCNN):
    """Both ways of loading name what is wrong, in one line."""
    for load in (load_encoder, kind.from_pretrained):
        with pytest.raises(InputError, match=told) as caught:
            load(folder)
        assert "\n" not in str(caught.value)


def test_bad_encoder_folders_are_errors_with_advice(tmp_path):
    strict(tmp_path, "expected the folder of a saved encoder")
    strict(tmp_path / "not" / "there", "expected the folder of a saved encoder")
    folder = tmp_path / "encoder"
    MelCNN(n_mels=48).save_pretrained(folder)
    (folder / "checksums.json").unlink()  # changed on purpose below
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_mels": 64}))
    strict(folder, "the weights in .* do not match this MelCNN")
    (folder / "config.json").write_text(json.dumps(config | {"sample_rate": "x"}))
    strict(
        folder,
        r"arguments of MelCNN in .*config\.json, got an error: sample_rate: expected an integer of at least 1, got 'x'",
    )
    (folder / "config.json").write_text(json.dumps(config)[:-5])
    strict(folder, r"config\.json is damaged")
    (folder / "config.json").write_text(json.dumps(config | {"encoder_class": "Perceptron"}))
    strict(folder, "Perceptron")
    (folder / "config.json").write_text("{}")
    strict(folder, "encoder_class")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    strict(folder, "do not match")
    (folder / "model.safetensors").unlink()
    strict(folder, "expected the folder of a saved encoder")
    with pytest.raises(InputError, match="MelCNN, SampleCNN"):
        make_encoder("Perceptron")


@pytest.mark.parametrize(
    "encoder",
    [SampleCNN(strides=[3] * 5 + [1] * 5), ShortChunkCNN(channels=4, residual=True), MelCNN(n_mels=40)],
    ids=lambda encoder: type(encoder).__name__,
)
def test_arguments_are_saved(encoder, tmp_path):
    encoder.eval().save_pretrained(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.min_samples == encoder.min_samples
    waveforms = torch.randn(2, encoder.min_samples + 100)
    assert torch.equal(loaded(waveforms), encoder(waveforms))


def test_a_fused_encoder_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="fused encoder cannot be saved"):
        MelCNN().fuse().save_pretrained(tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


@pytest.fixture
def saved(tmp_path):
    """A small encoder and the folder that it was saved to."""
    encoder = MelCNN(n_mels=24, channels=2, embedding_dim=4)
    encoder.save_pretrained(tmp_path / "encoder")
    return encoder, tmp_path / "encoder"


def test_another_class_is_refused(saved):
    with pytest.raises(InputError, match=r"expected a SampleCNN in .*, got a MelCNN"):
        SampleCNN.from_pretrained(saved[1])


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_missing_and_surplus_weights_are_errors(saved, change):
    weights = load_file(saved[1] / "model.safetensors")
    if change == "missing":
        del weights["temporal.3.weight"]
    else:
        weights["temporal.9.weight"] = torch.zeros(1)
    save_file(weights, saved[1] / "model.safetensors")
    (saved[1] / "checksums.json").unlink()
    strict(saved[1], r"do not match this MelCNN: .*temporal\.[39]\.weight")
    loaded = MelCNN.from_pretrained(saved[1], strict=False)
    assert torch.equal(loaded.temporal[0].weight, saved[0].temporal[0].weight)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(saved, tmp_path, value):
    encoder, folder = saved
    weights = load_file(folder / "model.safetensors")
    weights["temporal.3.weight"][0, 0] = value
    save_file(weights, folder / "model.safetensors")
    (folder / "checksums.json").unlink()
    strict(folder, r"expected finite weights .*temporal\.3\.weight")
    encoder.load_state_dict(weights, strict=False)
    with pytest.raises(ValueError, match=r"encoder: expected finite weights, got .* temporal\.3\.weight"):
        encoder.save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_extra_config_is_kept_and_a_contradiction_rejected(saved, tmp_path):
    encoder, _ = saved
    encoder.save_pretrained(tmp_path / "more", config={"corpus": "chorales", "n_mels": 24})
    assert json.loads((tmp_path / "more" / "config.json").read_text())["corpus"] == "chorales"
    with pytest.warns(UserWarning, match=r"ignoring corpus, .*MelCNN"):
        loaded = load_encoder(tmp_path / "more")
    assert torch.equal(loaded.temporal[0].weight, encoder.temporal[0].weight)
    with pytest.raises(ValueError, match=r"config: expected n_mels to be 24 .*, got 48"):
        encoder.save_pretrained(tmp_path / "other", config={"n_mels": 48})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_saved_dtypes_are_restored(saved, tmp_path, dtype):
    encoder = saved[0].to(dtype).eval()
    encoder.save_pretrained(tmp_path / "other")
    loaded = load_encoder(tmp_path / "other")
    own = encoder.state_dict()
    assert {name: value.dtype for name, value in loaded.state_dict().items()} == {key: own[key].dtype for key in own}
    assert torch.equal(loaded(torch.ones(1, 4000)), encoder(torch.ones(1, 4000)))


def test_a_hub_model_is_found_in_the_cache(saved, tmp_path):
    encoder, folder = saved
    model = tmp_path / "cache" / "models--someone--mel"
    shutil.copytree(folder, model / "snapshots" / "0123")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123")
    options = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    loaded = MelCNN.from_pretrained("someone/mel", **options)
    assert torch.equal(loaded.temporal[0].weight, encoder.temporal[0].weight)
    with pytest.raises(InputError, match=r"expected a folder or a model .*, got someone/else"):
        MelCNN.from_pretrained("someone/else", **options)


def test_the_readme_names_the_class_to_load(saved):
    text = (saved[1] / "README.md").read_text()
    code = "\n".join(line.strip() for line in text.splitlines() if line.startswith("    "))
    names = {}
    exec(code.replace("path/to/this/folder", str(saved[1])), names)
    assert torch.equal(names["encoder"].temporal[0].weight, saved[0].temporal[0].weight)


@pytest.mark.slow
def test_a_flip_of_any_byte_is_noticed_and_named(saved):
    for name in ("config.json", "model.safetensors", "checksums.json"):
        for _ in each_flip(saved[1] / name, bit=0x01):
            strict(saved[1], rf"encoder: .*{name} is damaged")
    assert load_encoder(saved[1]).embedding_dim == 4


def test_encoders_saved_without_checksums_still_load(saved):
    (saved[1] / "checksums.json").unlink()
    assert torch.equal(load_encoder(saved[1]).temporal[0].weight, saved[0].temporal[0].weight)


def test_saving_again_over_an_encoder_loads(saved):
    MelCNN(n_mels=32).save_pretrained(saved[1])
    assert load_encoder(saved[1]).log_mel.bands.shape[1] == 32


@pytest.mark.parametrize(
    ("encoder", "arguments", "words"),
    [
        (MelCNN(n_mels=48), {"channels": 20_000}, "do not match this MelCNN: spectral.0.weight: expected"),
        (MelCNN(n_mels=48), {"embedding_dim": 60_000}, "do not match this MelCNN"),
        (MelCNN(n_mels=48), {"n_fft": 2**22, "n_mels": 4096}, "n_fft: expected at most"),
        (ShortChunkCNN(channels=2), {"channels": 10_000}, "do not match this ShortChunkCNN"),
        (ShortChunkCNN(channels=2), {"sample_rate": 10**9}, "n_fft: expected at most"),
        (TUNePlus(channels=2), {"channels": 2_000}, "do not match this TUNePlus"),
        (SampleCNN(), {"strides": [10**8] + [1] * 9}, "do not match this SampleCNN"),
        (MusiCNN(["a"]), {"midend_channels": 40_000}, "do not match this MusiCNN"),
        (MusiCNN(["a"]), {"embedding_dim": 10**8}, "do not match this MusiCNN"),
    ],
)
def test_arguments_of_somebody_else_need_no_memory(tmp_path, encoder, arguments, words):
    encoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | arguments))
    write_checksums(tmp_path, ["config.json", "model.safetensors"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for load in (load_encoder, type(encoder).from_pretrained):
        with pytest.raises(InputError, match=words):
            load(tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kilobytes
