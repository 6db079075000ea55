"""Published checkpoints of other networks than SampleCNN, and projectors: found by their names, equal outputs."""

from __future__ import annotations

import logging
import re

import pytest
import torch
import torchaudio
from safetensors.torch import save_file
from seeded import generator, noise
from torch import nn

from ssc_toolkit.encoders import (
    ContrastiveModel,
    MelCNN,
    Projector,
    SampleCNN,
    SampleCNNXL,
    ShortChunkCNN,
    TUNePlus,
    load_published,
    load_published_model,
)
from ssc_toolkit.errors import InputError

RATE = 16000

pytestmark = pytest.mark.filterwarnings("ignore:At least one mel filterbank")  # of the published settings


class PlainLayer(nn.Module):
    def __init__(self, width_in, width_out):
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.bn = nn.BatchNorm2d(width_out)

    def forward(self, image):
        return nn.functional.max_pool2d(torch.relu(self.bn(self.conv(image))), 2)


class ResidualLayer(nn.Module):
    def __init__(self, width_in, width_out):
        super().__init__()
        self.conv_1 = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1)
        self.bn_1 = nn.BatchNorm2d(width_out)
        self.conv_2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(width_out)
        self.conv_3 = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1)
        self.bn_3 = nn.BatchNorm2d(width_out)

    def forward(self, image):
        straight = self.bn_2(self.conv_2(torch.relu(self.bn_1(self.conv_1(image)))))
        return torch.relu(straight + self.bn_3(self.conv_3(image)))


class PublishedShortChunk(nn.Module):
    """The published network, from the paper and the names in its checkpoints.

    `classifier` is the name of the last layer: "dense2" in sota-music-tagging-models, whose front end is part of the
    network; "fc" in CLMR, whose front end is not.
    """

    def __init__(self, residual, classifier="dense2", channels=16):
        super().__init__()
        self.front_end = (
            torchaudio.transforms.MelSpectrogram(RATE, n_fft=512, f_min=0.0, f_max=8000.0, n_mels=128),
            torchaudio.transforms.AmplitudeToDB(),
        )
        if classifier == "dense2":
            self.spec, self.to_db = self.front_end
        self.spec_bn = nn.BatchNorm2d(1)
        layer = ResidualLayer if residual else PlainLayer
        widths = [1, *(channels * factor for factor in (1, 1, 2, 2, 2, 2, 4))]
        for number in range(7):
            self.add_module(f"layer{number + 1}", layer(widths[number], widths[number + 1]))
        self.dense1 = nn.Linear(4 * channels, 4 * channels)
        self.bn = nn.BatchNorm1d(4 * channels)
        self.add_module(classifier, nn.Linear(4 * channels, 50))
        self.dropout = nn.Dropout(0.5)
        self.classifier = classifier

    def maximum(self, signals):
        spectrogram, decibels = self.front_end
        image = self.spec_bn(decibels(spectrogram(signals))[:, None])
        for number in range(7):
            image = self.get_submodule(f"layer{number + 1}")(image)
        return image.squeeze(2).amax(-1)

    def forward(self, signals):
        dense = self.dropout(torch.relu(self.bn(self.dense1(self.maximum(signals)))))
        return self.get_submodule(self.classifier)(dense)


class PublishedSimCLR(nn.Module):
    """The simclr package's model, which takes the classifier off its encoder."""

    def __init__(self, encoder, width):
        super().__init__()
        self.encoder = encoder
        if hasattr(encoder, "fc"):
            encoder.fc = nn.Identity()
        self.projector = nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU(), nn.Linear(width, 12, bias=False))

    def forward(self, signals):
        return self.projector(self.encoder(signals))


def trained(module):
    """The module in eval mode, with weights and statistics that are nobody's defaults."""
    for number, part in enumerate(module.modules()):
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            random = generator(number)
            part.running_mean.normal_(0, 0.3, generator=random)
            part.running_var.uniform_(0.5, 2, generator=random)
            part.weight.data.uniform_(0.5, 1.5, generator=random)
            part.bias.data.normal_(0, 0.3, generator=random)
        elif isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, generator=generator(number))
        if isinstance(part, nn.BatchNorm2d) and part.num_features == 1:  # of decibels
            part.running_mean.fill_(-40)
            part.running_var.fill_(900)
    return module.eval()


def save(module, path, prefix="", lightning=False):
    weights = {f"{prefix}{name}": weight for name, weight in module.state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 3} if lightning else weights, path)
    return path


@pytest.fixture(scope="module")
def signals():
    """Three seconds of decaying tones in noise."""
    seconds = torch.arange(3 * RATE) / RATE
    tones = torch.stack([torch.sin(440 * k * 6.283 * seconds) * torch.exp(-k * seconds % 1) for k in (1, 2, 5)])
    return 0.3 * tones + 0.01 * noise(3, 3 * RATE)


@pytest.mark.parametrize("classifier", ["dense2", "fc"])
@pytest.mark.parametrize("residual", [True, False])
def test_short_chunk_networks_are_found_and_compute_the_same(tmp_path, signals, residual, classifier, caplog):
    published = trained(PublishedShortChunk(residual, classifier))
    with caplog.at_level(logging.INFO, "ssc_toolkit.encoders.published"):
        loaded = load_published(save(published, tmp_path / "best_model.pth"))
    assert isinstance(loaded, ShortChunkCNN)
    assert loaded.sample_rate == RATE
    assert not loaded.training
    with torch.no_grad():
        expected = published.maximum(signals)
        assert expected.std(0).mean() > 0.01
        torch.testing.assert_close(loaded(signals), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(loaded.fuse()(signals), expected, atol=1e-3, rtol=1e-3)
    assert caplog.messages[0].endswith(f"ignored next to the encoder: dense1, bn, {classifier}")


def test_the_published_width_has_its_154_weights(tmp_path):
    published = trained(PublishedShortChunk(residual=True, channels=128))
    loaded = load_published(save(published, tmp_path / "full.pth"))
    assert sum(weight.numel() for weight in loaded.parameters()) == 11_814_914
    assert len(loaded.state_dict()) == 154
    assert torch.equal(loaded.layers[6].shortcut[0].weight, published.layer7.conv_3.weight)


PREFIXES = ("encoder.", "model.", "module.", "module.encoder.", "model.encoder.", "_orig_mod.", "backbone.")


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_short_chunk_network_is_found_below_wrappers(tmp_path, prefix):
    published = trained(PublishedShortChunk(residual=True))
    loaded = load_published(save(published, tmp_path / "last.ckpt", prefix, lightning=True))
    assert torch.equal(loaded.scale.running_mean, published.spec_bn.running_mean)


@pytest.mark.parametrize("entry", ["model_state_dict", "model", "state_dict"])
def test_weights_below_an_entry_of_a_training_program(tmp_path, entry):
    published = trained(PublishedShortChunk(residual=False))
    torch.save({"epoch": 7, entry: published.state_dict(), "optimizer": {"lr": 0.1}}, tmp_path / "last.pt")
    assert torch.equal(load_published(tmp_path / "last.pt").scale.bias, published.spec_bn.bias)


def test_safetensors_of_a_short_chunk_network(tmp_path):
    published = trained(PublishedShortChunk(residual=False))
    save_file(published.state_dict(), tmp_path / "model.safetensors")
    loaded = load_published(tmp_path / "model.safetensors")
    assert torch.equal(loaded.layers[3][0].weight, published.layer4.conv.weight)


@pytest.mark.parametrize(
    "make",
    [SampleCNNXL, TUNePlus, lambda: ShortChunkCNN(channels=4), lambda: ShortChunkCNN(channels=4, residual=True)],
)
def test_our_own_names_are_found_too(tmp_path, make):
    source = make()
    loaded = load_published(save(ContrastiveModel(source, nn.Identity()), tmp_path / "ours.pt"))
    assert type(loaded) is type(source)
    assert loaded.state_dict().keys() == source.state_dict().keys()
    assert all(torch.equal(weight, source.state_dict()[name]) for name, weight in loaded.state_dict().items())


def test_the_projection_is_that_of_clmr_with_its_dense_layer(tmp_path, signals):
    published = trained(PublishedSimCLR(PublishedShortChunk(residual=True, classifier="fc"), 64))
    lightning = nn.Module()
    lightning.encoder, lightning.model = published.encoder, published
    model = load_published_model(save(lightning, tmp_path / "clmr.ckpt", lightning=True))
    with torch.no_grad():
        views = torch.stack([signals, signals.flip(0)], 1)[:, :, None]
        output = model(views)
        torch.testing.assert_close(output.projection[:, 0], published(signals), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(output.projection[:, 1], published(signals.flip(0)), atol=1e-4, rtol=1e-4)
        dense = nn.Sequential(*list(model.projector)[:3])(output.representation[:, 0])
        torch.testing.assert_close(dense, published.encoder(signals), atol=1e-4, rtol=1e-4)
    assert not model.training


def test_a_kept_classifier_keeps_the_dense_layers_to_itself(tmp_path):
    published = PublishedSimCLR(PublishedShortChunk(residual=True, classifier="dense2"), 64)
    model = load_published_model(save(published, tmp_path / "old.pt"))
    assert isinstance(model.projector, Projector)
    assert len(model.projector) == 3


PROJECTORS = {
    "SimCLR": lambda: Projector(512),
    "with bias": lambda: Projector(512, 256, 64, bias=True),
    "deep, batch norm": lambda: Projector(512, 2048, 256, depth=3, norm="batch", bias=True),
    "layer norm": lambda: Projector(512, 64, 32, norm="layer"),
    "linear": lambda: Projector(512, depth=1, output_dim=16),
}


@pytest.mark.parametrize("make", PROJECTORS.values(), ids=PROJECTORS.keys())
@pytest.mark.parametrize("name", ["projector", "proj_head", "model.projector"])
def test_projectors_are_returned_as_they_were(tmp_path, make, name):
    source, projector = SampleCNN(), trained(make())
    weights = {f"encoder.{key}": weight for key, weight in source.state_dict().items()}
    weights |= {f"{name}.{key}": weight for key, weight in projector.state_dict().items()}
    torch.save(weights, tmp_path / "checkpoint.pt")
    loaded = load_published_model(tmp_path / "checkpoint.pt").projector
    representation = noise(4, 512)
    with torch.no_grad():
        assert torch.equal(loaded(representation), projector(representation))


def refused(tmp_path, change, told, load=load_published_model):
    weights = {f"encoder.{name}": weight for name, weight in SampleCNN().state_dict().items()}
    change(weights)
    torch.save(weights, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match=told) as caught:
        load(tmp_path / "checkpoint.pt")
    assert "checkpoint.pt" in str(caught.value)


def test_projectors_that_cannot_be_read_are_errors(tmp_path):
    refused(tmp_path, lambda weights: None, "expected a projector named proj_head, .* got none")
    refused(
        tmp_path,
        lambda weights: weights.update({"projector.layers.0.weight": torch.zeros(8, 512)}),
        r"expected linear layers .* in projector .* got layers\.0\.weight",
    )
    refused(
        tmp_path,
        lambda weights: weights.update(
            {"projector.0.weight": torch.zeros(8, 256), "projector.2.weight": torch.zeros(4, 8)}
        ),
        "expected projector .* 512 inputs, .* got 256",
    )
    refused(
        tmp_path,
        lambda weights: weights.update(
            {"projector.0.weight": torch.zeros(8, 512), "proj_head.0.weight": torch.ones(8, 512)}
        ),
        "expected one projector .* projector and proj_head",
    )
    refused(
        tmp_path,
        lambda weights: weights.update({"projector.0.weight": torch.zeros(1).expand(500_000, 4_000_000)}),
        "expected linear layers",
    )


def test_another_mel_filterbank_is_an_error_that_tells_it(tmp_path):
    published = PublishedShortChunk(residual=True)
    published.spec = torchaudio.transforms.MelSpectrogram(22050, n_fft=512, f_min=0.0, f_max=8000.0, n_mels=128)
    path = save(published, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"other\.pth .*mel filterbank .* 16000 Hz"):
        load_published(path)
    published.spec = torchaudio.transforms.MelSpectrogram(22050, n_fft=512, f_max=11025.0, n_mels=128)
    encoder = ShortChunkCNN(22050, channels=16, residual=True)
    assert load_published(save(published, path), encoder) is encoder
    published.spec = torchaudio.transforms.MelSpectrogram(RATE, n_fft=1024, n_mels=128)
    with pytest.raises(InputError, match=r"a window that differs .* \(its shape is \(1024,\)\)"):
        load_published(save(published, path))


def lose(weights):
    for name in ("layer2.conv_1.weight", "spec_bn.running_var"):
        del weights[name]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lose, r"ShortChunkCNN: 2 of 154 missing \(scale\.running_var, layers\.1\.straight\.0\.weight\)"),
        (
            lambda weights: weights.update({"layer8.conv_1.weight": torch.zeros(1)}),
            r"1 unexpected \(layer8\.conv_1\.weight\)",
        ),
        (
            lambda weights: weights.update({"layer1.bn_1.bias": torch.zeros(3)}),
            r"1 of another shape \(layers\.0\.straight\.1\.bias: expected \(16,\), got \(3,\)\)",
        ),
    ],
)
def test_weights_of_a_short_chunk_that_do_not_fit_are_named(tmp_path, change, told):
    weights = PublishedShortChunk(residual=True).state_dict()
    change(weights)
    torch.save(weights, tmp_path / "wrong.pth")
    with pytest.raises(InputError, match=told):
        load_published(tmp_path / "wrong.pth")


@pytest.mark.parametrize(
    "weights",
    [
        {"layer1.conv.weight": torch.zeros(64, 1, 3, 3), "dense.weight": torch.zeros(50, 64)},
        {"layer7.conv_1.weight": torch.zeros(256, 256, 3, 3)},
        {"layer7.conv.weight": torch.zeros(256, 256, 3)},
        {"layer7.conv_1.weight": torch.zeros(1).expand(4_000_000, 2_000_000, 3, 3)},
        {"conv1.layers.0.weight": torch.zeros(())},
        MelCNN().state_dict(),
    ],
    ids=["FCN", "CNNSA", "SampleCNN of tagging models", "expanded", "scalar", "MelCNN"],
)
def test_an_unknown_architecture_names_those_that_are_known(tmp_path, weights):
    torch.save(weights, tmp_path / "unknown.pth")
    known = re.escape("SampleCNN(), SampleCNNXL(), TUNePlus(), ShortChunkCNN(), ShortChunkCNN(residual=True)")
    with pytest.raises(InputError, match=rf"unknown\.pth .*77 of 77 missing .*{known}"):
        load_published(tmp_path / "unknown.pth")


def test_an_encoder_of_another_architecture_stays_as_it_was(tmp_path):
    path = save(PublishedShortChunk(residual=True), tmp_path / "residual.pth")
    encoder = ShortChunkCNN(channels=16)
    before = {name: weight.clone() for name, weight in encoder.state_dict().items()}
    with pytest.raises(InputError, match="missing"):
        load_published(path, encoder)
    assert all(torch.equal(weight, before[name]) for name, weight in encoder.state_dict().items())


def test_tune_plus_is_filled_from_its_published_names(tmp_path):
    torch.manual_seed(0)
    source = TUNePlus().eval()
    published = {}
    for name, weight in source.state_dict().items():
        part, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        first = {"down": 1, "upsample": 6, "up": 6, "tail": 1, "extra": 5}.get(part)
        layer = {"down": "conv", "up": "conv", "upsample": "transposedConv"}.get(part, "convDown")
        if part == "last":
            new = f"convDown9.layers.{number}.{rest}"
        elif part == "upsample":
            new = f"{layer}{int(number) + first}.{rest}"
        else:
            new = f"{layer}{int(number) + first}.layers.{rest}"
        published[f"encoder.{new}"] = weight
    torch.save({"state_dict": published}, tmp_path / "tune.ckpt")
    waveforms = 0.1 * torch.randn(1, 59049)
    with torch.no_grad():
        assert torch.equal(load_published(tmp_path / "tune.ckpt")(waveforms), source(waveforms))
        assert torch.equal(load_published(tmp_path / "tune.ckpt", TUNePlus())(waveforms), source(waveforms))
    with pytest.raises(InputError, match="missing"):
        load_published(tmp_path / "tune.ckpt", SampleCNN())
