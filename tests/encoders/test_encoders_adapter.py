"""Modules of others as encoders."""

from __future__ import annotations

import dataclasses
import types
from collections import OrderedDict

import pytest
import torch
from encoder_kinds import lived_in
from seeded import noise
from torch import nn

from ssc_toolkit.encoders import ContrastiveModel, EncoderAdapter, LogMel
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model

SAMPLES = 4000


class Backbone(nn.Module):
    """An image backbone in small."""

    def __init__(self, channels: int = 3, flat: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 24, 3, stride=2), nn.BatchNorm2d(24), nn.ReLU())
        self.flat = flat

    def forward(self, image):
        features = self.features(image)
        return features.mean((2, 3)) if self.flat else features


def transformer() -> nn.Module:
    from torchaudio.models import wav2vec2_model

    return wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(16, 10, 5), (16, 8, 4)],
        extractor_conv_bias=False,
        encoder_embed_dim=20,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=4,
        encoder_pos_conv_groups=2,
        encoder_num_layers=3,
        encoder_num_heads=2,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=32,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_backbone_over_a_mel_spectrogram(channels):
    backbone, log_mel = Backbone(channels).eval(), LogMel(8000, 512, 256, 40)
    encoder = EncoderAdapter(backbone, 8000, log_mel=log_mel, image_channels=channels).eval()
    waveforms = noise(2, 2, 1, 9000)
    image = log_mel(waveforms.flatten(0, 2))[:, None].repeat(1, channels, 1, 1)
    assert encoder.embedding_dim == 24
    torch.testing.assert_close(encoder(waveforms), backbone(image).view(2, 2, 24))
    assert encoder(waveforms, frames=True).shape == (2, 2, 1, 24)


def test_a_feature_map_gives_frames():
    encoder = EncoderAdapter(Backbone(flat=False), 8000, log_mel=LogMel(8000), image_channels=3).eval()
    waveforms = noise(2, 20000)
    features = encoder(waveforms, frames=True)
    assert features.shape[1] > 2
    torch.testing.assert_close(features.mean(1), encoder(waveforms))


def test_a_torchaudio_model_and_its_layers():
    model = transformer().eval()
    waveforms = noise(2, 1, 6000)
    last = EncoderAdapter(model, 16000, min_samples=SAMPLES)
    assert last.embedding_dim == 20
    torch.testing.assert_close(last(waveforms), model(waveforms[:, 0])[0].mean(1))
    torch.testing.assert_close(last(waveforms, frames=True), model(waveforms[:, 0])[0])
    first = EncoderAdapter(model, 16000, method="extract_features", layer=0, min_samples=SAMPLES)
    torch.testing.assert_close(first(waveforms), model.extract_features(waveforms[:, 0])[0][0].mean(1))


def test_probing_the_width_changes_nothing():
    backbone = Backbone().train()
    backbone.features[1].eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    encoder = EncoderAdapter(backbone, 8000, log_mel=LogMel(8000), image_channels=3)
    assert encoder.training
    assert backbone.features[0].training
    assert not backbone.features[1].training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_it_trains_in_a_model_and_fuses():
    encoder = EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=3)
    model = ContrastiveModel(encoder)
    for _ in range(3):
        model(noise(4, 1, 9000)).projection.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    encoder.eval()
    fused = encoder.fuse()
    fused.module.features[1].register_forward_hook(lambda *arguments: pytest.fail("the batch norm was computed"))
    torch.testing.assert_close(fused(noise(3, 9000)), encoder(noise(3, 9000)), rtol=1e-4, atol=1e-5)


def test_saving_and_checkpointing_an_adapter_are_errors(tmp_path):
    encoder = EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=3)
    with pytest.raises(ValueError, match="cannot be saved"):
        encoder.save_pretrained(tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
    with pytest.raises(ValueError, match="enabled: expected False"):
        encoder.gradient_checkpointing_()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"image_channels": 2}, "image_channels: expected 1 or 3, got 2"),
        ({"image_channels": 3, "log_mel": None}, "image_channels: expected 1 without log_mel, got 3"),
        ({"image_channels": 1}, r"module: Backbone\.forward fails on silence of shape \(1, 1, 72, 11\), .*channels"),
        ({"sample_rate": 44100}, "log_mel: expected .* 44100 Hz, got 8000 Hz"),
        ({"sample_rate": "16k"}, "sample_rate: expected an integer of at least 1, got '16k'"),
        ({"sample_rate": 16000.0}, r"sample_rate: expected an integer of at least 1, got 16000\.0"),
        ({"min_samples": 0}, "min_samples: expected an integer of at least 1, got 0"),
        ({"min_samples": 100}, "signals: expected .* at least 1024 samples"),
        ({"embedding_dim": 25}, "embedding_dim: expected 25, got 24"),
        ({"embedding_dim": 0}, "embedding_dim: expected an integer of at least 1, got 0"),
        ({"log_mel": True}, "log_mel: expected a LogMel or None, got True"),
        ({"method": "nope"}, "method: expected .* Backbone, got 'nope'"),
        ({"module": lambda signals: signals}, "module: expected an nn.Module"),
        ({"module": nn.Flatten(0)}, "module: expected the output"),
    ],
)
def test_bad_arguments_are_named_and_modes_kept(arguments, told):
    backbone = Backbone().train()
    given = {"module": backbone, "sample_rate": 8000, "log_mel": LogMel(8000), "image_channels": 3, **arguments}
    with pytest.raises((ValueError, TypeError), match=f"^{told}"):
        EncoderAdapter(**given)
    assert all(part.training for part in backbone.modules())


def test_a_missing_layer_is_named():
    with pytest.raises(ValueError, match="layer: expected one of 3 layers, 0 for the first, got 99"):
        EncoderAdapter(transformer(), 16000, method="extract_features", layer=99, min_samples=SAMPLES)


class Answer(OrderedDict):
    """A model's output by name, as Hugging Face gives it."""


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 400, stride=200)

    def forward(self, signals):
        return Answer(logits=signals, last_hidden_state=self.conv(signals[:, None]).mT)


def test_an_output_by_name_and_another_precision():
    encoder = EncoderAdapter(Tokens(), 8000).eval()
    waveforms = noise(2, 8000)
    expected = encoder.module(waveforms)["last_hidden_state"]
    torch.testing.assert_close(encoder(waveforms.double(), frames=True), expected)
    assert encoder.bfloat16()(waveforms).dtype == torch.bfloat16


class BatchNormReLU(nn.BatchNorm2d):
    """A batch norm with its activation, as timm has."""

    def forward(self, image):
        return super().forward(image).relu()


class Tapping(nn.Module):
    """Calls its layers in every way that there is."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.BatchNorm2d(4)
        self.tapped = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
        self.named = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(4, 4, 3), norm=nn.BatchNorm2d(4), relu=nn.ReLU(), last=nn.Conv2d(4, 4, 3))
        )
        self.activated = nn.Sequential(nn.Conv2d(4, 4, 3), BatchNormReLU(4))
        self.batch = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
        self.one, self.other = (nn.Sequential(nn.Conv2d(4, 4, 3), shared) for _ in range(2))
        self.lines = nn.Sequential(nn.Conv1d(4, 4, 3), nn.BatchNorm1d(4), nn.MaxPool1d((3,)))
        self.pool = nn.Sequential(nn.MaxPool1d(2, return_indices=True))
        self.raised = nn.ModuleList([nn.ConvTranspose1d(4, 4, 2, stride=2)])

    def forward(self, image):
        kept = []
        for layer in self.tapped:
            image = layer(image)
            kept.append(image)
        image = self.tapped[1](self.tapped[:1](kept[4][:, :1]))
        image = self.named.last(self.named[2](self.named(image).relu()))
        image = self.batch(self.activated(image))
        image = self.other(self.one(image)).contiguous()
        line = self.lines(image.view(len(image), 4, -1))
        shorter = self.pool(line)[0]
        line = self.raised[0](shorter, output_size=[2 * shorter.shape[2] + 1])
        return torch.cat([line.view(len(image), -1).mean(1, keepdim=True), *(part.mean((2, 3)) for part in kept)], 1)


def test_a_module_that_takes_its_layers_one_by_one_fuses_exactly():
    encoder = lived_in(EncoderAdapter(Tapping(), 8000, log_mel=LogMel(8000, hop_length=160)))
    fused = encoder.fuse()
    waveforms = noise(3, 16000)
    torch.testing.assert_close(fused(waveforms), encoder(waveforms), rtol=1e-4, atol=1e-5)
    assert list(dict(fused.module.named.named_children())) == ["conv", "norm", "relu", "last"]
    assert type(fused.module.named).__name__ == "FoldedSequential"
    assert fused.double()(waveforms.double()).dtype == torch.float64


def test_weights_of_an_adapter_are_kept_as_its_state(tmp_path):
    make = lambda: EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=3).eval()  # noqa: E731
    encoder, other = make(), make()
    torch.save(encoder.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert torch.equal(other(noise(2, 9000)), encoder(noise(2, 9000)))


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, signals):
        return self.function(signals)


class Output(OrderedDict):
    """A ModelOutput: a dictionary whose entries are attributes too."""

    __getattr__ = OrderedDict.get


@dataclasses.dataclass
class DataOutput:
    last_hidden_state: torch.Tensor
    hidden_states: tuple | None = None


class TransformerLike(nn.Module):
    """Gives what a model of Hugging Face gives: hidden states of all layers where they are asked for."""

    def __init__(self, kind, config=None):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.kind = kind
        self.config = config

    def forward(self, signals, output_hidden_states=None):
        states = [signals.unflatten(-1, (-1, 8))]
        for layer in self.layers:
            states.append(layer(states[-1]))
        asked = self.config is None or output_hidden_states
        return self.kind(last_hidden_state=2 * states[-1], hidden_states=tuple(states) if asked else None)


@pytest.mark.parametrize("kind", [Output, DataOutput])
@pytest.mark.parametrize("config", [None, types.SimpleNamespace(output_hidden_states=False)])
def test_a_layer_of_a_model_output_is_its_hidden_state(kind, config):
    module = TransformerLike(kind, config).eval()
    signals = noise(2, 800)
    states = module(signals, output_hidden_states=True).hidden_states
    for layer in (0, 1, 2, 3, -2):
        found = EncoderAdapter(module, 800, layer=layer)(signals, frames=True)
        torch.testing.assert_close(found, states[layer])
    torch.testing.assert_close(EncoderAdapter(module, 800)(signals, frames=True), 2 * states[-1])
    with pytest.raises(ValueError, match="layer: expected one of 4 layers, 0 for the first, got 7"):
        EncoderAdapter(module, 800, layer=7)


@pytest.mark.parametrize(
    "module",
    [
        nn.Linear(800, 4),
        Calls(lambda signals: DataOutput(signals)),
        Calls(lambda signals: {"last_hidden_state": signals}),
        Calls(lambda signals: (signals, signals)),
    ],
)
def test_a_layer_of_a_module_without_layers_is_refused(module):
    with pytest.raises(ValueError, match=r"layer: expected -1, .* got"):
        EncoderAdapter(module, 800, layer=1)


@pytest.mark.parametrize("kind", [Output, DataOutput])
def test_a_model_with_a_model_output_is_an_error(kind):
    model = as_model(TransformerLike(kind), sample_rate=800)
    with pytest.raises(InputError, match="EncoderAdapter accepts the outputs of Hugging Face"):
        model(noise(2, 1, 800))


def test_a_wrapper_that_only_has_the_configuration_of_a_model():
    class Wrapper(nn.Module):
        config = types.SimpleNamespace(output_hidden_states=False)

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 8, stride=4)

        def forward(self, signals):
            return self.conv(signals[:, None]).transpose(1, 2)

    adapter = EncoderAdapter(Wrapper(), sample_rate=SAMPLES)
    assert adapter.choose_readout().layers == "last"
    assert adapter.layer_names == ("last",)
    assert adapter.embed_waveforms(noise(2, 1, SAMPLES), "mean_std").shape == (2, 8)
