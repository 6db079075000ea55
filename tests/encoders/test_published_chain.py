"""The chain as the published code of SemiSupCon has it: what it draws, what views share, and what that does."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from seeded import generator, noise

from ssc_toolkit.augmentations import (
    Chain,
    ColoredNoise,
    Draw,
    Gain,
    HighPass,
    ItemChain,
    ItemOneOf,
    PublishedDelay,
    PublishedNoise,
    PublishedPitchShift,
    Reverb,
    from_config,
    semisupcon_chain,
)

RATE = 22050
ITEMS = 20_000
PROBABILITIES = {0.5: (0.2, 0.3, 0.3, 0.15, 0.3, 0.3), 1.0: (0.4, 0.6, 0.6, 0.3, 0.6, 0.6)}
PROBABILITIES[2.5] = (0.7, 0.8, 0.8, 0.6, 0.75, 0.6)


def drawn(severity=1.0, views=2, items=ITEMS, seed=0):
    chain = semisupcon_chain(RATE, severity, as_published=True)
    return chain.draw(items * views, generator(seed), views=views)


def close(value, expected, count):
    """Within four standard errors of a rate."""
    assert abs(float(value) - expected) <= 4 * math.sqrt(max(expected * (1 - expected), 1e-9) / count) + 1e-6


def at_items(tensor, views=2):
    return tensor.view(-1, views)


@pytest.mark.parametrize("severity", [0.5, 1.0, 2.5])
def test_one_gate_for_an_item_and_one_for_each_view_of_a_stage(severity):
    draw = drawn(severity)
    gate = at_items(draw.applied)
    assert torch.equal(gate[:, 0], gate[:, 1])
    close(gate[:, 0].double().mean(), min(1, 0.8 * severity), ITEMS)
    passed = gate[:, 0]
    for name, child, p in zip(
        ["gain", "polarity", "noise", "filter", "pitch", "delay"], draw.children, PROBABILITIES[severity], strict=True
    ):
        kinds = child.children
        met = at_items(torch.stack([kind.applied for kind in kinds]).any(0) if kinds else child.applied)
        assert not met[~passed].any(), name
        for view in met[passed].unbind(1):
            close(view.double().mean(), p, int(passed.sum()))
        close(met[passed].all(1).double().mean(), p * p, int(passed.sum()))


@pytest.mark.parametrize("views", [2, 4])
def test_views_share_the_kind_of_filter_but_not_its_cutoff(views):
    draw = drawn(views=views).children[3]
    picked = at_items(draw.values["picked"], views)
    assert (picked == picked[:, :1]).all()
    for kind in range(4):
        close((picked[:, 0] == kind).double().mean(), 0.25, ITEMS)
    cutoffs = at_items(draw.children[2].values["cutoff_hz"], views)
    assert torch.isclose(cutoffs[:, 0], cutoffs[:, 1]).float().mean() < 0.01
    assert cutoffs.min() >= 200
    assert cutoffs.max() <= 2400


def test_the_default_chain_draws_gates_and_kinds_for_each_view():
    draw = semisupcon_chain(RATE).draw(2 * ITEMS, generator(), views=2)
    gate, picked = at_items(draw.applied), at_items(draw.children[3].values["picked"])
    close(gate.all(1).double().mean(), 0.8**2, ITEMS)
    close((picked[:, 0] == picked[:, 1]).double().mean(), 0.25, ITEMS)


@pytest.mark.parametrize(
    ("severity", "volumes", "repeats", "attenuations"),
    [
        (0.25, (-0.075, 0.325), (0, 1), (-0.075, 0.325)),
        (0.75, (0.175, 0.575), (0, 2), (0.175, 0.575)),
        (1.0, (0.3, 0.7), (1, 3), (0.3, 0.7)),
        (2.5, (1.05, 1.45), (4, 6), (0.8, 1.2)),
    ],
)
def test_the_echo_has_two_volumes_counts_and_attenuations(severity, volumes, repeats, attenuations):
    values = drawn(severity).children[5].values
    count = 2 * ITEMS
    chosen = []
    for name, pair in (("volume", volumes), ("repeats", repeats), ("attenuation", attenuations)):
        is_high = torch.isclose(values[name].double(), torch.tensor(pair[1]).double(), atol=1e-6)
        assert torch.isclose(values[name][~is_high].double(), torch.tensor(pair[0]).double(), atol=1e-6).all()
        close(is_high.double().mean(), 0.5, count)
        chosen.append(is_high)
    close((chosen[0] & chosen[1] & chosen[2]).double().mean(), 0.125, count)
    delay = values["delay_samples"]
    shortest, longest = int(100 / severity * RATE / 1000), int(0.5 * RATE)
    assert (int(delay.min()), int(delay.max())) == (pytest.approx(shortest, abs=5), pytest.approx(longest, abs=5))
    assert delay.double().mean() == pytest.approx((shortest + longest) / 2, rel=0.02)
    at_view = at_items(delay)
    assert abs(float(torch.corrcoef(at_view.T.double())[0, 1])) < 0.03


def echoed(waveform, delay, volume, repeats, attenuation):
    """Sample by sample, from the description."""
    result = []
    for n in range(len(waveform)):
        echoes = sum(attenuation**i * waveform[n - i * delay] for i in range(repeats) if n - i * delay >= 0)
        result.append((waveform[n] + volume * echoes) / 2)
    return torch.tensor(result)


def test_the_echo_is_the_mean_with_an_undelayed_first_echo():
    waveforms = noise(24, 1, 300)
    delay = PublishedDelay((3, 40), sample_rate=1000)
    changed, draw = delay(waveforms, generator=generator(), return_draw=True)
    assert set(draw.values["repeats"].tolist()) == {1, 3}
    for clip, result, *values in zip(
        waveforms[:, 0].double(),
        changed[:, 0],
        *(draw.values[k].tolist() for k in ("delay_samples", "volume", "repeats", "attenuation")),
        strict=True,
    ):
        torch.testing.assert_close(result.double(), echoed(clip.tolist(), *values).double(), atol=1e-5, rtol=1e-5)


def test_half_of_the_echoes_are_only_a_gain():
    waveforms = noise(1, 1, 30_000).expand(2000, 1, -1)
    chain = semisupcon_chain(RATE, as_published=True)
    draw = chain.draw(2000, generator()).children[5]
    changed = chain.transforms[5].apply_draw(waveforms, draw)[draw.applied]
    ratio = (changed / waveforms[0])[:, 0]
    is_gain = (ratio - ratio.mean(1, keepdim=True)).abs().amax(1) < 1e-3
    close(is_gain.double().mean(), 0.5, len(changed))
    levels = (20 * ratio[is_gain].mean(1).abs().log10()).unique().round(decimals=1).unique()
    assert levels.tolist() == pytest.approx([-3.7, -1.4], abs=0.05)


def test_a_fused_echo_equals_one_after_the_other():
    chain = Chain([PublishedDelay((2, 90), sample_rate=RATE, p=0.7), Reverb(0.1, sample_rate=RATE), Gain()])
    waveforms = noise(12, 2, 3000)
    draw = chain.draw(12, generator())
    expected = waveforms
    for transform, child in zip(chain.transforms, draw.children, strict=True):
        expected = transform.apply_draw(expected, child)
    assert len(chain.stages(3000)) == 1
    torch.testing.assert_close(chain.apply_draw(waveforms, draw), expected, atol=1e-5, rtol=1e-5)


def test_pitch_takes_fourteen_ratios_up_to_316_cents():
    steps = drawn().children[4].values["shift_semitones"]
    found, counts = steps.unique(return_counts=True)
    assert len(found) == 14
    for count in counts.tolist():
        close(count / len(steps), 1 / 14, len(steps))
    assert found.abs().min() == pytest.approx(0.35, abs=0.01)
    assert found.max() == pytest.approx(3.16, abs=0.01)
    torch.testing.assert_close(found, -found.flip(0))
    ratios = {Fraction(2 ** (step / 12)).limit_denominator(100) for step in found.tolist()}
    assert ratios >= {Fraction(6, 5), Fraction(7, 6), Fraction(15, 14), Fraction(50, 49), Fraction(49, 50)}


@pytest.mark.parametrize("rate", [22050, 16000, 44100, 24000])
@pytest.mark.parametrize("severity", [0.5, 1.0, 2.5])
def test_the_ratios_are_those_of_torch_pitch_shift(rate, severity):
    theirs = pytest.importorskip("torch_pitch_shift")
    low, high = (theirs.semitones_to_ratio(sign * 4 * severity) for sign in (-1, 1))
    expected = theirs.get_fast_shifts(rate, lambda ratio: low <= ratio <= high and ratio != 1)
    steps = PublishedPitchShift((-4 * severity, 4 * severity), sample_rate=rate).steps
    assert steps == pytest.approx(sorted(12 * math.log2(ratio) for ratio in expected))


def test_a_rate_without_a_ratio_is_an_error():
    with pytest.raises(
        ValueError, match=r"sample_rate: expected one with a ratio of two divisors within -4 to 4 .* got 22051"
    ):
        semisupcon_chain(22051, as_published=True)
    semisupcon_chain(22051, omit=("pitch_shift",), as_published=True)


def test_noise_repeats_every_second_at_its_ratio():
    rate = 1000
    waveforms = noise(8, 1, 3400)
    transform = PublishedNoise((3, 30), (-2, 2), sample_rate=rate)
    changed, draw = transform(waveforms, generator=generator(), return_draw=True)
    added = changed - waveforms
    torch.testing.assert_close(added[..., :2400], added[..., rate:], atol=1e-5, rtol=1e-4)
    assert (added[..., :rate] - added[..., 100 : rate + 100]).abs().max() > 0.1
    ratio = 10 * (waveforms.square().sum((1, 2)) / added.square().sum((1, 2))).log10()
    torch.testing.assert_close(ratio, draw.values["snr_db"], atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("decay", [-2.0, 1.0, 2.0])
def test_noise_has_the_spectrum_of_torch_audiomentations(decay):
    peer = pytest.importorskip("torch_audiomentations")
    rate = 2000
    quiet = (1e-3 * noise(1, 1, rate)).expand(400, 1, rate)
    settings = {"min_snr_in_db": -60, "max_snr_in_db": -60, "min_f_decay": decay, "max_f_decay": decay}
    theirs = peer.AddColoredNoise(**settings, p=1.0, sample_rate=rate, output_type="dict")
    torch.manual_seed(0)
    expected = power_of(theirs(quiet).samples - quiet)
    ours = power_of(PublishedNoise(-60.0, decay, sample_rate=rate)(quiet, generator=generator()) - quiet)
    default = power_of(ColoredNoise(-60.0, decay, sample_rate=rate)(quiet, generator=generator()) - quiet)
    assert (ours / expected).log10().abs().max() < 0.2  # two means of 400 powers
    assert (default / expected).log10().abs().max() > 0.4


def power_of(added):
    """Mean power at each frequency, without offset."""
    return torch.fft.rfft(added[:, 0].double()).abs().square().mean(0)[1:-1]


def test_gain_is_drawn_for_each_view_from_the_papers_range():
    draw = drawn()
    gain = at_items(draw.children[0].values["gain_db"])
    assert gain.min() == pytest.approx(-15, abs=0.05)
    assert gain.max() == pytest.approx(5, abs=0.05)
    assert abs(float(torch.corrcoef(gain.T)[0, 1])) < 0.03


def test_the_published_chain_replays_is_stored_and_described():
    chain = semisupcon_chain(RATE, as_published=True)
    waveforms = 0.1 * noise(6, 2, 1, 8000)
    views, draw = chain(waveforms, generator=generator(), return_draw=True)
    assert views.isfinite().all()
    again = from_config(chain.to_config())
    assert isinstance(again, ItemChain)
    assert isinstance(again.transforms[3], ItemOneOf)
    assert again.to_config() == chain.to_config()
    assert torch.equal(again.apply_draw(waveforms, Draw.from_state_dict(draw.state_dict())), views)
    unchanged = (views == waveforms).all(-1).all(-1)
    assert torch.equal(unchanged | at_items(draw.applied), torch.ones_like(unchanged))
    with pytest.raises(ValueError, match="draw: expected a draw by Chain, got one by ItemChain"):
        semisupcon_chain(RATE).apply_draw(waveforms, draw)


def test_without_views_every_clip_is_an_item():
    draw = semisupcon_chain(RATE, as_published=True).draw(2 * ITEMS, generator())
    close(at_items(draw.applied).all(1).double().mean(), 0.8**2, ITEMS)


def test_severity_zero_and_omitted_stages():
    assert len(semisupcon_chain(RATE, 0, as_published=True).transforms) == 0
    chain = semisupcon_chain(RATE, omit=("pitch_shift", "delay"), as_published=True)
    assert [type(stage).__name__ for stage in chain.transforms] == [
        "Gain",
        "PolarityInversion",
        "PublishedNoise",
        "ItemOneOf",
    ]
    for severity in (0.1, 0.3, 1.7):
        views = semisupcon_chain(RATE, severity, omit=("pitch_shift",), as_published=True)(noise(8, 2, 1, 4000))
        assert views.isfinite().all()


def test_item_containers_gate_items_of_any_number_of_views():
    for views in (1, 3):
        draw = ItemChain([Gain()], p=0.5).draw(300, generator(), views=views)
        gate = draw.applied.view(-1, views)
        assert (gate == gate[:, :1]).all()
        assert 0 < gate[:, 0].sum() < len(gate)
        kinds = (
            ItemOneOf([Gain(), HighPass(900.0, sample_rate=RATE)]).draw(300, generator(), views=views).values["picked"]
        )
        assert (kinds.view(-1, views) == kinds.view(-1, views)[:, :1]).all()
    assert len(ItemChain([Gain()]).draw(0, generator(), views=2)) == 0
