"""Layers of encoders, the pooling of their frames, and the readout that an encoder is saved with."""

from __future__ import annotations

import json
import types

import pytest
import torch
from encoder_kinds import every_small_encoder, lived_in
from seeded import noise
from torch import Tensor, nn

from ssc_toolkit.encoders import Encoder, EncoderAdapter, MelCNN, Readout, ShortChunkCNN, load_encoder, reinitialize
from ssc_toolkit.encoders.readout import FRAME_POOLINGS
from ssc_toolkit.errors import InputError


def waveforms(encoder: Encoder, clips: int = 2) -> Tensor:
    return noise(clips, 1, encoder.min_samples + 300)


def hooked(encoder: Encoder, name: str, batch: Tensor) -> Tensor:
    """Output of a submodule in an ordinary call, as frames (N, frames, width)."""
    outputs: list[Tensor] = []
    handle = encoder.get_submodule(name).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.no_grad():
        encoder(batch)
    handle.remove()
    (output,) = outputs
    return (output.mean(2) if output.dim() == 4 else output).transpose(1, 2)


@every_small_encoder
def test_frames_of_a_layer_equal_those_of_a_hook(make):
    encoder = lived_in(make())
    batch = waveforms(encoder)
    with torch.no_grad():
        found = encoder.layer_frames(batch)
    assert tuple(found) == encoder.layer_names
    for name, frames in found.items():
        torch.testing.assert_close(frames, hooked(encoder, name, batch))
    assert not any(module._forward_hooks for module in encoder.modules())


@every_small_encoder
def test_the_last_layer_is_the_output_of_the_encoder(make):
    encoder = lived_in(make())
    batch = waveforms(encoder)
    with torch.no_grad():
        (frames,) = encoder.layer_frames(batch, "last").values()
        torch.testing.assert_close(frames, encoder(batch, frames=True))
        torch.testing.assert_close(encoder.embed_waveforms(batch), encoder(batch))
        torch.testing.assert_close(encoder.embed_waveforms(batch, layers=[encoder.layer_names[-1]]), encoder(batch))


READOUT = {"frame_pooling": "mean_std", "layers": "all"}


@every_small_encoder
def test_a_fused_encoder_gives_the_same_readout(make):
    encoder = lived_in(make())
    batch = waveforms(encoder, clips=9)  # more than a fused encoder embeds at once
    with torch.no_grad():
        found, fused = encoder.embed_waveforms(batch, **READOUT), encoder.fuse().embed_waveforms(batch, **READOUT)
    torch.testing.assert_close(found, fused, atol=1e-3, rtol=1e-3)


def test_the_readout_of_a_clip_does_not_depend_on_the_batch():
    encoder = lived_in(MelCNN())
    batch = noise(35, 1, 9000)
    with torch.no_grad():
        one_by_one = torch.cat([encoder.embed_waveforms(clip[None], **READOUT) for clip in batch])
        torch.testing.assert_close(encoder.embed_waveforms(batch, **READOUT), one_by_one, atol=1e-4, rtol=1e-3)
        assert encoder.embed_waveforms(batch[:0], **READOUT).shape == (0, one_by_one.shape[1])


def test_poolings_equal_those_of_the_frames():
    encoder = lived_in(MelCNN())
    batch = noise(2, 3, 1, 20000)
    with torch.no_grad():
        frames = encoder.layer_frames(batch, ["log_mel", "last"])
        mean, spread, unit, scaled, highest = (
            encoder.embed_waveforms(batch, pooling, ["log_mel", "last"]) for pooling in FRAME_POOLINGS
        )
    parts = [frames["log_mel"], frames["temporal.5"]]
    assert [part.shape[-1] for part in parts] == [96, 256]
    torch.testing.assert_close(mean, torch.cat([part.mean(-2) for part in parts], -1))
    torch.testing.assert_close(highest, torch.cat([part.amax(-2) for part in parts], -1))
    statistics = [statistic for part in parts for statistic in (part.mean(-2), part.std(-2, correction=0))]
    torch.testing.assert_close(spread, torch.cat(statistics, -1))
    parts_by_width = [part / part.norm(dim=-1, keepdim=True) / part.shape[-1] ** 0.5 for part in statistics]
    torch.testing.assert_close(scaled, torch.cat(parts_by_width, -1))
    torch.testing.assert_close(unit, torch.cat([part / part.norm(dim=-1, keepdim=True) for part in statistics], -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_constant_frames_have_a_deviation_of_zero(dtype):
    found = FRAME_POOLINGS["unit_mean_std"](torch.tensor([[[2.0, 2.0], [0.0, 0.0]], [[0.0, 0.0]] * 2], dtype=dtype))
    assert found.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("pooling", ["mean_std", "unit_mean_std", "scaled_mean_std"])
def test_gradients_of_constant_frames_are_finite(pooling):
    frames = torch.tensor([[[1.0, 3.0], [2.0, 2.0]], [[0.0, 0.0]] * 2], requires_grad=True)
    FRAME_POOLINGS[pooling](frames).square().sum().backward()
    assert frames.grad.isfinite().all()


def test_the_default_pooling_is_that_of_the_encoder():
    encoder = lived_in(ShortChunkCNN(channels=8))
    batch = noise(2, 1, 70000)
    with torch.no_grad():
        found = encoder.embed_waveforms(batch, layers=["layers.5"])
        torch.testing.assert_close(found, encoder.layer_frames(batch, ["layers.5"])["layers.5"].amax(1))


def test_gradients_reach_the_layers_through_a_readout():
    encoder = MelCNN().gradient_checkpointing_()
    encoder.embed_waveforms(noise(4, 1, 16000), "mean_std", ["spectral.2"]).square().sum().backward()
    assert encoder.spectral[0].weight.grad.abs().sum() > 0
    assert encoder.temporal[0].weight.grad is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"frame_pooling": "mean+std"},
            "frame_pooling: expected one of default, mean, mean_std, unit_mean_std, scaled_mean_std, max, "
            "got 'mean\\+std'",
        ),
        (
            {"layers": ["temporal.3"]},
            r"layers: expected last, all or names of layers of MelCNN \(log_mel, .*temporal.3",
        ),
        ({"layers": "first"}, "layers: expected last, all or names"),
        ({"layers": []}, "layers: expected last, all or a list of names"),
        ({"layers": 3}, "layers: expected last, all or a list of names"),
        ({"layers": ["all", "log_mel"]}, "layers: expected all alone"),
        ({"layers": ["log_mel", "log_mel"]}, "each name once"),
        ({"layers": ["last", "temporal.5"]}, "layers: expected each layer once, but last is temporal.5"),
    ],
)
def test_invalid_readouts_are_errors(options, words):
    encoder = MelCNN()
    for function in (encoder.set_readout, lambda **given: encoder.embed_waveforms(noise(1, 1, 16000), **given)):
        with pytest.raises(InputError, match=words):
            function(**options)
    assert encoder.readout == Readout()


def test_a_readout_is_saved_with_the_encoder(tmp_path):
    encoder = lived_in(MelCNN()).set_readout("mean_std", ["log_mel", "last"])
    encoder.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["readout"] == {
        "frame_pooling": "mean_std",
        "layers": ["log_mel", "last"],
    }
    batch = noise(2, 1, 16000)
    with torch.no_grad():
        expected = encoder.embed_waveforms(batch)
        for loaded in (load_encoder(tmp_path), MelCNN.from_pretrained(tmp_path)):
            assert loaded.readout == encoder.readout
            assert torch.equal(loaded.embed_waveforms(batch), expected)
            assert loaded(batch).shape == (2, 256)
        assert expected.shape == (2, 2 * (96 + 256))
        assert loaded.embed_waveforms(batch, "mean", "last").shape == (2, 256)
        assert loaded.embed_waveforms(batch, "max").shape == (2, 96 + 256)
    assert reinitialize(loaded, 0).readout == loaded.fuse().readout == encoder.readout


def test_a_saved_readout_with_unknown_layers_is_an_error(tmp_path):
    MelCNN().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "readout" not in config
    (tmp_path / "checksums.json").unlink()
    for readout in ({"layers": ["conv9"]}, {"frame_pooling": "median"}, ["all"], {"pooling": "mean"}):
        (tmp_path / "config.json").write_text(json.dumps(config | {"readout": readout}))
        with pytest.raises(InputError, match="encoder: expected valid arguments of MelCNN in"):
            load_encoder(tmp_path)


class Own(Encoder):
    """An encoder of a user, whose layers are not listed unless `layers` is given."""

    def __init__(self, layers: tuple[str, ...] = ()) -> None:
        super().__init__(embedding_dim=8, sample_rate=8000, min_samples=100)
        self.net = nn.Sequential(nn.Conv1d(1, 4, 9, 4), nn.ReLU(), nn.Conv1d(4, 8, 3))
        self.unused = nn.Conv1d(1, 1, 1)
        self.listed = layers

    @property
    def layer_names(self) -> tuple[str, ...]:
        return tuple(self.listed) or super().layer_names

    def encode_frames(self, signals: Tensor) -> Tensor:
        return self.net(signals[:, None])


def test_layers_of_your_own_encoder(tmp_path):
    plain, listed = Own(), Own(("net.1", "net"))
    assert plain.layer_names == ("last",)
    assert {name: frames.shape[-1] for name, frames in listed.layer_frames(noise(2, 400)).items()} == {
        "net.1": 4,
        "net": 8,
    }
    with pytest.raises(InputError, match="layers: expected layers that Own calls, got unused"):
        Own(("unused", "net")).layer_frames(noise(2, 400))
    listed.set_readout("max", "all").save_pretrained(tmp_path)
    assert Own.from_pretrained(tmp_path).readout == Readout("max", "all")


class Speech(nn.Module):
    """A model with the interface of Hugging Face: it returns hidden states if it is asked for them."""

    def __init__(self) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(output_hidden_states=False)
        self.first = nn.Conv1d(1, 6, 20, 10)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))

    def forward(self, values: Tensor, output_hidden_states: bool = False) -> dict[str, object]:
        states = [self.first(values[:, None]).mT]
        for layer in self.layers:
            states.append(layer(states[-1]).tanh())
        return {"last_hidden_state": states[-1], **({"hidden_states": tuple(states)} if output_hidden_states else {})}


def test_an_adapter_gives_the_hidden_states_of_its_model():
    model = Speech().eval()
    encoder, third = (EncoderAdapter(model, 8000, layer=layer).eval() for layer in (-1, 2))
    batch = noise(2, 1, 8000)
    with torch.no_grad():
        states = model(batch[:, 0], output_hidden_states=True)["hidden_states"]
        found = encoder.layer_frames(batch)
        assert list(found) == ["layer_0", "layer_1", "layer_2", "layer_3"]
        for frames, state in zip(found.values(), states, strict=True):
            torch.testing.assert_close(frames, state)
        torch.testing.assert_close(third.embed_waveforms(batch, "mean", ["layer_1", "last"]),
                                   torch.cat([states[1].mean(1), states[2].mean(1)], 1))  # fmt: skip
    assert (encoder.output_layer, third.output_layer) == ("layer_3", "layer_2")
    with pytest.raises(InputError, match="layers: expected last, all or names of layers of EncoderAdapter"):
        encoder.set_readout(layers=["layer_4"])


def test_an_adapter_of_a_single_layer_has_one_name():
    encoder = EncoderAdapter(nn.Sequential(nn.Unflatten(1, (8, 1000)), nn.Linear(1000, 5)), 8000).eval()
    assert encoder.layer_names == ("last",)
    with torch.no_grad():
        assert encoder.embed_waveforms(noise(2, 1, 8000), "mean_std").shape == (2, 10)
