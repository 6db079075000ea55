"""Draws are indexed, moved, described; and what a draw that mixes examples can do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from operations import CountOperations
from seeded import generator, noise
from transforms import RATE

from ssc_toolkit.augmentations import (
    BackgroundNoise,
    Chain,
    Draw,
    Gain,
    LowPass,
    OneOf,
    PolarityInversion,
    semisupcon_chain,
)
from ssc_toolkit.errors import InputError


@pytest.mark.parametrize("index", [3, -2, np.int64(3), torch.tensor(3), [1, 4], slice(1, 3), np.array([2])])
def test_a_draw_is_indexed_like_a_tensor(index):
    draw = semisupcon_chain(RATE).draw(6, generator())
    rows = torch.arange(6)[index].reshape(-1)
    assert torch.equal(draw[index].children[0].values["gain_db"], draw.children[0].values["gain_db"][rows])


@pytest.mark.parametrize("index", [6, -7, None, torch.tensor([[1, 2]])])
def test_a_bad_index_of_a_draw_is_rejected(index):
    with pytest.raises(IndexError):
        semisupcon_chain(RATE).draw(6, generator())[index]


def test_a_draw_moves_in_one_copy():
    chain = semisupcon_chain(RATE)
    draw = chain.draw(6, generator())

    class Transfers(CountOperations):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.aten._to_copy.default
            return func(*args, **(kwargs or {}))

    with Transfers() as transfers:
        moved = draw.to("meta")
    assert transfers.count == 1
    assert moved.device.type == "meta"
    assert [child.transform for child in moved.children] == [child.transform for child in draw.children]
    assert moved.children[0].values["gain_db"].shape == (6,)


def test_background_from_the_batch_takes_another_item():
    # Each item is a constant of its own, so what was added tells where it came from.
    items, views = 6, 3
    waveforms = (10.0 ** torch.arange(items))[:, None, None, None].expand(items, views, 1, 50).contiguous()
    waveforms = waveforms * torch.linspace(1, 2, 50)
    mix = BackgroundNoise(snr_db=0.0)
    result, draw = mix(waveforms, generator=generator(), return_draw=True)
    partner = draw.values["partner"].view(items, views) // views
    assert (partner != torch.arange(items)[:, None]).all()
    assert partner.unique().numel() == items
    torch.testing.assert_close(result, 2 * waveforms)
    assert torch.equal(mix.apply_draw(waveforms, draw), result)
    with pytest.raises(ValueError, match="cannot be indexed"):
        draw[3]


def test_background_from_the_batch_needs_a_second_item():
    chain = Chain([Gain((-6, 6)), BackgroundNoise(snr_db=3.0, p=0.5)])
    waveforms = noise(50, 1, 400)
    result, draw = chain(waveforms, generator=generator(), return_draw=True)
    assert torch.equal(chain.apply_draw(waveforms, draw), result)
    lone = noise(1, 4, 1, 400)
    assert torch.equal(BackgroundNoise(snr_db=3.0)(lone), lone)


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        (
            Chain([Gain((-12, -3))]),
            "by a Chain of Gain, got one of Gain, .*, Delay$",
        ),
        (Chain([]), "draw: expected a draw by a Chain of no members, got one of Gain, "),
        (semisupcon_chain(RATE, omit=("gain",)), "by a Chain of PolarityInversion, ColoredNoise"),
        (Chain(list(semisupcon_chain(RATE).transforms)[::-1]), "by a Chain of Delay, PitchShift"),
        (
            Chain([OneOf([Gain()]) if isinstance(one, OneOf) else one for one in semisupcon_chain(RATE).transforms]),
            "by a OneOf of Gain, got one of BandPass, BandStop, HighPass, LowPass$",
        ),
        (OneOf([Gain(), PolarityInversion()]), "draw: expected a draw by OneOf, got one by Chain"),
    ],
)
def test_a_draw_of_another_chain_is_refused(chain, words):
    waveforms = noise(4, 1, 2000)
    _, draw = semisupcon_chain(RATE)(waveforms, generator=generator(), return_draw=True)
    with pytest.raises(InputError, match=words):
        chain.apply_draw(waveforms, draw)


def test_a_draw_kept_on_disk_is_replayed_by_an_equal_chain(tmp_path):
    waveforms = noise(20, 1, 2000)
    views, draw = semisupcon_chain(RATE)(waveforms, generator=generator(), return_draw=True)
    torch.save(draw.state_dict(), tmp_path / "draw.pt")
    loaded = Draw.from_state_dict(torch.load(tmp_path / "draw.pt", weights_only=True))
    assert torch.equal(semisupcon_chain(RATE).apply_draw(waveforms, loaded), views)


def test_describe_names_what_touched_each_example():
    chain = Chain([Gain(-6.0), OneOf([PolarityInversion(), LowPass(1000.0, sample_rate=RATE)])])
    lines = chain.draw(50, generator()).describe()
    assert len(lines) == 50
    assert set(lines) == {"Gain(gain_db=-6); PolarityInversion()", "Gain(gain_db=-6); LowPass(cutoff_hz=1000)"}
    assert Gain(p=0.0).draw(1).describe() == ["unchanged"]
