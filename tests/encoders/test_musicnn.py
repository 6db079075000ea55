"""musiCNN: layers by NumPy, published weights in the package `musicnn`, and its name in place of a folder."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch
from audio_files import write_tones
from command_calls import call
from numpy.lib.stride_tricks import sliding_window_view
from seeded import noise
from tensor_bundles import write_bundle
from torch import nn

from ssc_toolkit.encoders import MelCNN, MusiCNN, load_encoder, load_published, load_published_model
from ssc_toolkit.encoders.musicnn_files import MODELS
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import open_model
from ssc_toolkit.evaluation.baselines import make_random_twin
from ssc_toolkit.options import names

TAGS = [f"tag {number}" for number in range(50)]
KERNELS = [(7, 38, 1, 204), (7, 67, 1, 204), *((frames, 1, 1, 51) for frames in (128, 64, 32))]
KERNELS += [(7, 561, 1, 64), (7, 64, 1, 64), (7, 64, 1, 64)]
NORMS = [1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200]


def numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def random_variables() -> dict[str, np.ndarray]:
    """Variables with the names and shapes of the published checkpoints."""
    random, found = np.random.default_rng(0), {}
    for kind, shapes in (("conv2d", KERNELS), ("dense", [(1506, 200), (200, 50)])):
        for number, shape in enumerate(shapes):
            scale = np.prod(shape[:-1]) ** -0.5
            found[f"{numbered(kind, number)}/kernel"] = scale * random.standard_normal(shape)
            found[f"{numbered(kind, number)}/bias"] = 0.1 * random.standard_normal(shape[-1])
    for number, width in enumerate(NORMS):
        name = numbered("batch_normalization", number)
        found[f"{name}/gamma"] = random.uniform(-0.5, 1.5, width)
        for value in ("beta", "moving_mean"):
            found[f"{name}/{value}"] = 0.1 * random.standard_normal(width)
        found[f"{name}/moving_variance"] = random.uniform(0.01, 2, width)
    found["conv2d/kernel/Adam"] = np.zeros(3)
    return {name: array.astype(np.float32) for name, array in found.items()}


@pytest.fixture(scope="module")
def variables() -> dict[str, np.ndarray]:
    return random_variables()


@pytest.fixture(scope="module")
def package(variables, tmp_path_factory):
    """A package as on the package index, with other weights. It cannot be imported."""
    folder = tmp_path_factory.mktemp("site") / "musicnn"
    write_bundle(folder / "MTT_musicnn", variables)
    write_bundle(folder / "MSD_musicnn", variables)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "configuration.py").write_text(
        f"raise RuntimeError('run')\nSR = 16000\nMTT_LABELS = {TAGS}\nMSD_LABELS = {TAGS[::-1]}"
    )
    return folder


@pytest.fixture
def installed(package, monkeypatch):
    monkeypatch.syspath_prepend(str(package.parent))
    return package


class Image(nn.Module):
    """A front end that returns one spectrogram, whatever the signals are."""

    def __init__(self, image: torch.Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, signals: torch.Tensor) -> torch.Tensor:
        return self.image


def tf_layers(variables, image):
    """Layers (frames, channels), penultimate features and probabilities for a spectrogram (frames, bands)."""

    def norm(values, number):
        gamma, beta, mean, variance = (
            variables[f"{numbered('batch_normalization', number)}/{name}"].astype(np.float64)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return (values - mean) / np.sqrt(variance + 0.001) * gamma + beta

    def conv(values, number):
        """Frames padded to the same number, as TensorFlow does; bands not padded."""
        kernel = variables[f"{numbered('conv2d', number)}/kernel"][:, :, 0].astype(np.float64)
        before = (len(kernel) - 1) // 2
        padded = np.pad(values, ((before, len(kernel) - 1 - before), (0, 0)))
        patches = sliding_window_view(padded, kernel.shape[:2])
        output = np.tensordot(patches, kernel, axes=([2, 3], [0, 1])) + variables[f"{numbered('conv2d', number)}/bias"]
        return norm(np.maximum(output, 0), number + 1)  # (frames, bands, filters)

    def dense(values, number):
        name = numbered("dense", number)
        return values @ variables[f"{name}/kernel"].astype(np.float64) + variables[f"{name}/bias"]

    image = norm(image[..., None], 0)[..., 0]
    front = [conv(image, number).max(axis=1) for number in range(5)]
    found = {"timbral": np.hstack(front[:2]), "temporal": np.hstack(front[2:])}
    found["cnn1"] = conv(np.hstack(front), 5)[:, 0]
    found["cnn2"] = conv(found["cnn1"], 6)[:, 0] + found["cnn1"]
    found["cnn3"] = conv(found["cnn2"], 7)[:, 0] + found["cnn2"]
    features = np.hstack([*front, found["cnn1"], found["cnn2"], found["cnn3"]])
    pooled = np.stack([features.max(axis=0), features.mean(axis=0)], axis=1).ravel()
    found["penultimate"] = norm(np.maximum(dense(norm(pooled, 9), 0), 0), 10)[None]
    return found, 1 / (1 + np.exp(-dense(found["penultimate"][0], 1)))


def test_layers_and_tags_equal_those_of_numpy(package, variables):
    encoder = load_published("MTT_musicnn", package=package)
    waveforms = noise(1, 1, 2900)
    image = encoder.log_mel(waveforms[:, 0])[0].T.numpy().astype(np.float64) / np.log(10)
    assert image.shape == (12, 96)
    layers, probabilities = tf_layers(variables, image)
    with torch.no_grad():
        found = encoder.layer_frames(waveforms)
        assert tuple(found) == encoder.layer_names == tuple(layers)
        for name, expected in layers.items():
            np.testing.assert_allclose(found[name][0], expected, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(encoder(waveforms)[0], layers["penultimate"][0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(encoder.taggram(waveforms)[0, 0], probabilities, rtol=1e-3, atol=1e-5)
    assert list(encoder.tags) == TAGS
    assert not encoder.training


def test_the_front_end_equals_that_of_librosa():
    librosa = pytest.importorskip("librosa")
    waveform = noise(1, 16000)
    mel = librosa.feature.melspectrogram(
        y=waveform[0].numpy(), sr=16000, n_fft=512, hop_length=256, n_mels=96, pad_mode="reflect"
    )
    found = MusiCNN(TAGS).log_mel(waveform)[0] / np.log(10)
    np.testing.assert_allclose(found, np.log10(10000 * mel + 1), rtol=1e-3, atol=1e-4)


def test_each_patch_of_187_frames_is_computed_alone(package):
    encoder = load_published("MTT_musicnn", package=package)
    images = noise(1, 96, 2 * 187 + 60).abs()

    def frames_of(image):
        encoder.log_mel = Image(image)
        with torch.no_grad():
            return encoder.layer_frames(torch.zeros(len(image), 1, 48000))

    whole = frames_of(images)
    parts = [frames_of(images[..., begin : begin + 187]) for begin in (0, 187)]
    for name, frames in whole.items():
        expected = torch.cat([part[name] for part in parts], dim=1)
        torch.testing.assert_close(frames, expected, rtol=1e-4, atol=1e-5)


def test_views_have_embeddings_of_their_own(package):
    encoder = load_published("MTT_musicnn", package=package)
    waveforms = noise(2, 3, 1, 4000)
    with torch.no_grad():
        assert encoder.taggram(waveforms).shape == (2, 3, 1, 50)
        embeddings = encoder(waveforms)
        torch.testing.assert_close(embeddings[1, 2], encoder(waveforms[1, 2][None])[0])
        assert encoder(waveforms[:0]).shape == (0, 3, 200)
    assert torch.equal(encoder.embed_waveforms(waveforms[0]), encoder(waveforms[0]))


def test_a_wheel_gives_the_same_encoder(package, tmp_path):
    wheel = tmp_path / "musicnn-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in package.rglob("*"):
            archive.write(path, path.relative_to(package.parent))
    waveforms = noise(1, 1, 4000)
    encoders = [load_published("MSD_musicnn", package=place) for place in (wheel, str(package))]
    assert torch.equal(encoders[0](waveforms), encoders[1](waveforms))
    assert encoders[0].tags == tuple(TAGS[::-1])


def test_saved_weights_load_as_any_encoder(package, tmp_path):
    encoder = load_published("MTT_musicnn", package=package)
    encoder.save_pretrained(tmp_path / "saved")
    again = load_encoder(tmp_path / "saved")
    waveforms = noise(1, 1, 4000)
    assert torch.equal(again.taggram(waveforms), encoder.taggram(waveforms))
    assert list(again.tags) == TAGS


def test_the_installed_package_is_not_imported(installed):
    encoder = load_published("MTT_musicnn")
    assert list(encoder.tags) == TAGS
    assert "musicnn" not in sys.modules
    assert isinstance(open_model("MSD_musicnn"), MusiCNN)


def test_a_random_twin_has_other_weights(installed):
    encoder = open_model("MTT_musicnn")
    waveforms = noise(1, 1, 4000)
    one, same, other = (make_random_twin(encoder, seed)(waveforms) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, encoder(waveforms))


def test_a_missing_package_is_an_error_with_the_command(monkeypatch, music):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "musicnn" else find(name, *more)
    )
    with pytest.raises(
        InputError, match=r"encoder: expected the package musicnn.*pip install --no-deps musicnn==0.1.0"
    ):
        load_published("MTT_musicnn")
    result = call("embed", "--encoder=MTT_musicnn", f"--tracks={music}", f"--out={music / 'out.npz'}")
    assert result.returncode == 2
    assert "pip install --no-deps musicnn==0.1.0" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (music / "out.npz").exists()


def test_a_file_with_the_name_of_a_model_is_preferred(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder": 1}, "MTT_musicnn")
    with pytest.raises(InputError, match=r"got no weights in .*MTT_musicnn"):
        load_published("MTT_musicnn")


def truncate_data(folder):
    path = folder / "MTT_musicnn" / ".data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-1])


def change_variable(folder, name, value):
    """Write the checkpoint again with another value of a variable."""
    shutil.rmtree(folder / "MTT_musicnn")
    write_bundle(folder / "MTT_musicnn", random_variables() | {name: value.astype(np.float32)})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (truncate_data, "MTT_musicnn is damaged .*ends at byte.*install it again"),
        (lambda folder: (folder / "MTT_musicnn" / ".index").unlink(), "expected the file .*index, got none"),
        (lambda folder: (folder / "MTT_musicnn" / ".index").write_bytes(b"x" * 99), "not the index of a TensorFlow"),
        (lambda folder: (folder / "configuration.py").write_text("SR = 1"), "no list MTT_LABELS"),
        (lambda folder: (folder / "configuration.py").write_text("MTT_LABELS = open('x')"), "is damaged"),
        (lambda folder: (folder / "configuration.py").write_text("MTT_LABELS = ['a']"), r"expected \(1, 200\)"),
        (lambda folder: (folder / "configuration.py").write_text("MTT_LABELS = ['a', 'a']"), "different names"),
        (lambda folder: change_variable(folder, "dense_1/bias", np.zeros(49)), r"expected \(50,\), got \(49,\)"),
        (lambda folder: change_variable(folder, "dense/bias", np.full(200, np.nan)), "NaN or infinity in penultimate"),
        (lambda folder: change_variable(folder, "dense/kernel", np.zeros(200)), "dense/kernel: expected 2 dimensions"),
        (lambda folder: change_variable(folder, "conv2d_6/kernel", np.zeros((7, 64, 2, 64))), "one input channel"),
    ],
)
def test_a_damaged_package_is_an_error(package, tmp_path, change, words):
    folder = tmp_path / "musicnn"
    (folder / "MTT_musicnn").mkdir(parents=True)
    for path in ("configuration.py", "MTT_musicnn/.index", "MTT_musicnn/.data-00000-of-00001"):
        (folder / path).write_bytes((package / path).read_bytes())
    change(folder)
    with pytest.raises(InputError, match=words):
        load_published("MTT_musicnn", package=folder)


def test_arguments_that_do_not_apply_are_errors(package, tmp_path):
    with pytest.raises(InputError, match="encoder: expected None with the name of a model, MTT_musicnn, got MelCNN"):
        load_published("MTT_musicnn", MelCNN())
    with pytest.raises(InputError, match="package: expected None with a checkpoint"):
        load_published(tmp_path / "x.ckpt", package=package)
    with pytest.raises(InputError, match=r"got MTT_musicnn, which has none; use load_published"):
        load_published_model("MTT_musicnn")
    with pytest.raises(InputError, match=r"package: .*is damaged.*pip download --no-deps musicnn==0.1.0"):
        load_published("MTT_musicnn", package=package / "configuration.py")
    with pytest.raises(InputError, match="package: there is no file"):
        load_published("MTT_musicnn", package=tmp_path / "missing.whl")
    for tags in ([], ["a", "a"], "piano", [1]):
        with pytest.raises(InputError, match="tags: expected a list of different names"):
            MusiCNN(tags)


def test_the_commands_know_the_names_of_the_models():
    assert tuple(MODELS) == names.PUBLISHED_MODELS


@pytest.mark.slow
def test_embed_writes_the_penultimate_features(installed, music, tmp_path):
    out = tmp_path / "embeddings.npz"
    result = call("embed", "--encoder=MTT_musicnn", f"--tracks={music}", f"--out={out}")
    assert result.returncode == 0, result.stderr
    assert np.load(out)["embeddings"].shape == (10, 200)


@pytest.mark.slow
def test_compare_lists_a_published_model_next_to_a_folder(installed, tmp_path):
    pitches = [150, 600] * 6
    paths = write_tones(tmp_path / "tones", pitches)
    rows = [
        f"{path},{pitch},{split}"
        for path, pitch, split in zip(paths, pitches, ["train", "valid", "test"] * 4, strict=True)
    ]
    (tmp_path / "tones" / "tones.csv").write_text("\n".join(["path,pitch,split", *rows]))
    MelCNN(n_mels=32).save_pretrained(tmp_path / "own")
    result = call(
        *("compare", f"--encoders=MTT_musicnn,{tmp_path / 'own'}", f"--tracks={tmp_path / 'tones' / 'tones.csv'}"),
        *("--labels=pitch", "--severities=0", "--window_seconds=1", f"--out={tmp_path / 'out'}", "--audio_clips=0"),
    )
    assert result.returncode == 0, result.stderr
    assert "MTT_musicnn" in json.dumps(json.loads((tmp_path / "out" / "report.json").read_text()))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("musicnn") is None, reason="needs the weights of the package musicnn")
def test_notes_of_instruments_have_their_tags():
    pytest.importorskip("midirenderer")
    from torchaudio.functional import resample

    from ssc_toolkit.data.corpus.synthesis import RENDER_RATE, read_sound_font, render_notes

    programs = {"piano": 0, "violin": 40, "choir": 52, "flute": 73, "sitar": 104}
    encoder, font, rows = load_published("MTT_musicnn"), read_sound_font(), []
    for program in programs.values():
        notes = render_notes(font, program, np.array([48, 52, 55, 60, 64, 67, 72]), np.full(7, 90), 2.5, 3.0)
        with torch.no_grad():
            taggram = encoder.taggram(resample(torch.from_numpy(notes), RENDER_RATE, 16000))
        rows.append(taggram.mean(dim=(0, 1))[[encoder.tags.index(tag) for tag in programs]])
    probabilities = torch.stack(rows)  # (instruments, tags)
    assert probabilities.argmax(dim=1).tolist() == list(range(5))
    assert probabilities.argmax(dim=0).tolist() == list(range(5))


def test_every_trainable_parameter_has_a_gradient():
    encoder = MusiCNN(TAGS[:3]).train()
    encoder(torch.randn(4, 1, 16000)).square().sum().backward()
    trained = {name for name, weight in encoder.named_parameters() if weight.requires_grad}
    assert {name for name, weight in encoder.named_parameters() if weight.grad is not None} == trained
    assert {name for name, _ in encoder.named_parameters()} - trained == {"classifier.1.weight", "classifier.1.bias"}
    encoder.classifier.requires_grad_()
    encoder.taggram(torch.randn(4, 1, 16000)).sum().backward()
    assert encoder.classifier[1].weight.grad is not None
