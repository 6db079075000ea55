"""The published chains and the corruptions, at any severity."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import generator, noise
from transforms import RATE

from ssc_toolkit.augmentations import (
    PolarityInversion,
    clmr_chain,
    corruption,
    semisupcon_chain,
)
from ssc_toolkit.augmentations.presets import CORRUPTIONS


@given(
    samples=st.one_of(st.integers(1, 40), st.integers(1, 30000)),
    severity=st.floats(0, 2.5),
    sample_rate=st.sampled_from([8000, 16000, 22050, 44100, 48000]),
    name=st.sampled_from(["chain", *CORRUPTIONS]),
    silent=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_any_severity_stays_finite(samples, severity, sample_rate, name, silent, seed):
    make = semisupcon_chain(sample_rate, severity) if name == "chain" else corruption(name, sample_rate, severity)
    waveforms = noise(2, 1, samples, seed=seed) * (not silent)
    result = make(waveforms, generator=generator(seed))
    assert result.shape == waveforms.shape
    assert result.isfinite().all()
    if silent:
        assert (result == 0).all()


@pytest.mark.parametrize("severity", [0, 0.3, 0.5, 1, 1.5, 2, 2.5])
@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050, 44100])
def test_the_chain_is_legal_at_any_severity(severity, sample_rate):
    waveforms = noise(24, 2, 1, 2000)
    result = semisupcon_chain(sample_rate, severity)(waveforms, generator=generator())
    assert result.isfinite().all()
    assert torch.equal(result, waveforms) == (severity == 0)


def test_the_chain_at_severity_one_has_the_published_settings():
    chain = semisupcon_chain(22050)
    gain, polarity, colored, one_filter, pitch, delay = chain.transforms
    assert (chain.p, [t.p for t in chain.transforms]) == (0.8, [0.4, 0.6, 0.6, 0.3, 0.6, 0.6])
    assert (gain.gain_db, pitch.shift_semitones) == ((-15, 5), (-4, 4))
    assert (colored.snr_db, colored.spectral_decay) == ((3, 30), (-2, 2))
    assert isinstance(polarity, PolarityInversion)
    band_pass, band_stop, high_pass, low_pass = one_filter.transforms
    assert band_pass.center_hz == band_stop.center_hz == (200, 4000)
    assert band_pass.bandwidth_fraction == band_stop.bandwidth_fraction == (0.5, 1.99)
    assert (high_pass.cutoff_hz, low_pass.cutoff_hz) == ((200, 2400), (150, 7500))
    assert (delay.delay_ms, delay.volume, delay.repeats, delay.attenuation) == ((100, 500), 0.5, 2, 0.5)


def test_the_chain_of_clmr():
    chain = clmr_chain(22050)
    assert [t.p for t in chain.transforms] == [0.8, 0.01, 0.3, 0.8, 0.3, 0.6, 0.6]
    echo = chain.transforms[4](torch.eye(1, 22050)[None], generator=generator(5))[0, 0]
    late = [round(ms * 22.05) for ms in range(200, 451, 50)]
    if echo[1:].any():
        assert echo[1:].argmax() + 1 in late
    waveforms = noise(24, 2, 1, 22050)
    assert clmr_chain(22050)(waveforms, generator=generator()).isfinite().all()
    assert len(clmr_chain(8000, omit=("pitch_shift", "reverb")).transforms) == 5


@pytest.mark.parametrize(
    ("name", "severity", "settings"),
    [
        ("time_stretch", 1, {"rate": (0.7, 1.3)}),
        ("time_stretch", 2.5, {"rate": (0.4, 1.6)}),
        ("splice_out", 2, {"cuts": 8, "cut_ms": (0, 200)}),
        ("reverb", 1, {"rt60_seconds": (2.5, 2.5), "direct_to_reverberant_db": (0, 0)}),
        ("chorus", 0.5, {"rate_hz": (5, 5), "depth": (0.5, 0.5), "mix": 0.5}),
        ("chorus", 2, {"depth": (1, 1)}),
        ("distortion", 2, {"drive_db": (18, 18)}),
        (
            "compression",
            1,
            {"threshold_db": (-30, -30), "ratio": (5, 5), "attack_ms": (1, 1), "release_ms": (100, 100)},
        ),
        ("compression", 2.5, {"threshold_db": (-60, -60), "ratio": (11, 11)}),
        ("bitcrush", 0.5, {"bits": (8, 8)}),
        ("bitcrush", 2.5, {"bits": (2, 2)}),
        ("mp3", 0.5, {"bitrate_kbps": (64, 64), "implementation": "codec"}),
        ("mp3", 1, {"bitrate_kbps": (32, 32)}),
        ("mp3", 1.5, {"bitrate_kbps": (24, 24)}),
        ("mp3", 2, {"bitrate_kbps": (16, 16)}),
    ],
)
def test_the_law_of_the_unseen_corruptions(name, severity, settings):
    transform = corruption(name, 22050, severity)
    for setting, value in settings.items():
        assert getattr(transform, setting) == (pytest.approx(value) if setting != "implementation" else value)
    assert transform.p == 1


def test_the_chain_grows_with_severity():
    waveforms = noise(64, 1, 4000)
    distances = [
        (semisupcon_chain(RATE, severity)(waveforms, generator=generator()) - waveforms).square().mean().item()
        for severity in (0.25, 0.5, 1.0, 2.0)
    ]
    assert distances == sorted(distances)


def test_omit_leaves_stages_out():
    chain = semisupcon_chain(RATE, omit=("pitch_shift", "delay"))
    assert [type(t).__name__ for t in chain.transforms] == ["Gain", "PolarityInversion", "ColoredNoise", "OneOf"]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_touches_every_example(name):
    waveforms = noise(16, 1, RATE)
    changed = (corruption(name, RATE, 1.0)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    assert changed.all()
    assert torch.equal(corruption(name, RATE, 0.0)(waveforms), waveforms)
