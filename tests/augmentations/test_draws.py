"""Draws are indexed, moved, described; and what a draw that mixes examples can do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operations import CountOperations
from seeded import generator, noise
from transforms import RATE, TRANSFORMS

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


def tensors_of(draw: Draw) -> list[torch.Tensor]:
    children = [tensor for child in draw.children for tensor in tensors_of(child)]
    return [draw.applied, *draw.values.values(), *children]


@pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS)
def test_parts_of_two_processes_are_rows_of_the_draw_of_one(make):
    transform, views = make(0.6), 2
    whole = transform.draw(10 * views, generator(4), views=views)
    for rank in range(2):
        places = torch.arange(rank, 10, 2)
        part = transform.draw(5 * views, generator(4), views=views, places=places)
        rows = (places[:, None] * views + torch.arange(views)).flatten()
        for own, expected in zip(tensors_of(part), tensors_of(whole), strict=True):
            assert torch.equal(own, expected[rows])


@given(st.lists(st.integers(0, 2**40), max_size=8), st.integers(1, 3), st.integers(0, 2**32))
def test_a_draw_depends_on_the_places_alone(places, views, seed):
    chain = semisupcon_chain(RATE, as_published=True)
    draw = chain.draw(len(places) * views, generator(seed), views=views, places=places)
    for number, place in enumerate(places):
        alone = chain.draw(views, generator(seed), views=views, places=[place])
        for own, all_of_them in zip(tensors_of(alone), tensors_of(draw), strict=True):
            assert torch.equal(own, all_of_them[number * views : (number + 1) * views])


def test_a_draw_does_not_depend_on_the_size_of_the_batch():
    short, long = (semisupcon_chain(RATE).draw(count, generator()) for count in (3, 50))
    for own, all_of_them in zip(tensors_of(short), tensors_of(long), strict=True):
        assert torch.equal(own, all_of_them[:3])


def test_a_call_with_places_applies_the_rows_of_the_whole_batch():
    chain = Chain([Gain(), OneOf([PolarityInversion(), LowPass((200, 2000), sample_rate=RATE)])])
    waveforms = noise(6, 2, 1, 500)
    whole = chain(waveforms, generator=generator())
    torch.testing.assert_close(chain(waveforms[1::2], generator=generator(), places=[1, 3, 5]), whole[1::2])


def test_every_call_of_a_generator_draws_anew():
    for state in (generator(), None):
        first, second = (Gain().draw(50, state).values["gain_db"] for _ in range(2))
        assert (first != second).all()


def test_draws_that_mix_the_batch_can_be_made_by_parts():
    mix = Chain([BackgroundNoise(snr_db=0.0)])
    views, draw = mix(noise(3, 2, 1, 50), generator=generator(), places=[1, 4, 7], return_draw=True)
    partner = draw.children[0].values["partner"] // 2
    assert set(partner.tolist()) <= {0, 1, 2}
    assert (partner.view(3, 2) != torch.arange(3)[:, None]).all()
    assert views.isfinite().all()


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
