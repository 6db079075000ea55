"""Baselines that need no training."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import LogMelStatistics, MFCCStatistics, as_model
from ssc_toolkit.evaluation.baselines import BASELINES, MFCC_STATISTICS, make_baselines

RATE = 8000


def music(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Return tones of changing level and noise, with silence at the end."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * f * time) / n for n, f in enumerate((220, 440, 1760, 3100), start=1))
    signal = 0.2 * tones * np.exp(-3 * (time % 0.5)) + 0.01 * random.standard_normal(len(time))
    signal[-len(signal) // 8 :] = 0
    return signal.astype(np.float32)


def mel_of(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + math.log(hertz / 1000) * 27 / math.log(6.4)


def hertz_of(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)


def slow_mfcc(signal: np.ndarray, rate: int, count: int) -> np.ndarray:
    """Return the MFCCs (count, frames) in float64, computed frame by frame and band by band."""
    padded = np.pad(signal.astype(np.float64), 1024)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    edges = [hertz_of(mel_of(rate / 2) * point / 129) for point in range(130)]
    frequencies = np.arange(1025) * rate / 2048
    decibels = np.empty((128, 1 + len(signal) // 512))
    for frame in range(decibels.shape[1]):
        power = np.abs(np.fft.rfft(window * padded[frame * 512 : frame * 512 + 2048])) ** 2
        for band, (low, center, high) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
            rising, falling = (frequencies - low) / (center - low), (high - frequencies) / (high - center)
            weights = np.clip(np.minimum(rising, falling), 0, None) * 2 / (high - low)
            decibels[band, frame] = 10 * math.log10(max(weights @ power, 1e-10))
    decibels = np.maximum(decibels, decibels.max() - 80)
    m = np.arange(128) + 0.5
    scale = [math.sqrt(1 / 128), *[math.sqrt(2 / 128)] * (count - 1)]
    return np.stack([scale[k] * np.cos(np.pi * k * m / 128) @ decibels for k in range(count)])


def statistics_of(coefficients: np.ndarray) -> np.ndarray:
    return np.concatenate([coefficients.mean(axis=1), coefficients.std(axis=1)])


@pytest.mark.parametrize(("rate", "count"), [(8000, 20), (16000, 20), (22050, 13), (44100, 40)])
def test_mfccs_equal_those_of_the_equation(rate, count):
    signal = music(1.0, rate)
    found = MFCCStatistics(rate, count)(torch.from_numpy(signal)[None, None])
    assert found.shape == (1, 2 * count)
    np.testing.assert_allclose(found[0], statistics_of(slow_mfcc(signal, rate, count)), rtol=1e-3, atol=5e-3)


@pytest.mark.parametrize("rate", [16000, 22050])
def test_mfccs_equal_those_of_librosa(rate):
    librosa = pytest.importorskip("librosa")
    signals = np.stack([music(2.0, rate), 0.01 * music(2.0, rate, seed=1), np.zeros(2 * rate, dtype=np.float32)])
    expected = [statistics_of(librosa.feature.mfcc(y=signal, sr=rate)) for signal in signals]
    found = MFCCStatistics(rate)(torch.from_numpy(signals)[:, None])
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-3, atol=5e-3)


def test_mfccs_of_a_clip_do_not_depend_on_its_batch():
    loud, soft = torch.from_numpy(music(1.0, RATE)), 1e-4 * torch.from_numpy(music(1.0, RATE, seed=1))
    model = MFCCStatistics(RATE)
    together = model(torch.stack([loud, soft])[:, None])
    torch.testing.assert_close(together[1], model(soft[None, None])[0])
    assert model(torch.zeros(1, 1, 1)).isfinite().all()


def test_mfccs_in_half_precision_are_those_of_float32():
    waveforms = torch.from_numpy(music(1.0, RATE))[None, None].to(torch.bfloat16)
    expected = MFCCStatistics(RATE)(waveforms.float())
    torch.testing.assert_close(MFCCStatistics(RATE)(waveforms), expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(MFCCStatistics(RATE)(waveforms.float()), expected)


def test_the_number_of_mfccs_is_checked():
    for count in (0, 129, 2.5):
        with pytest.raises(InputError, match="n_mfcc: expected an integer"):
            MFCCStatistics(RATE, count)


@pytest.mark.parametrize("kind", [LogMelStatistics, MFCCStatistics])
def test_statistics_do_not_depend_on_training(kind):
    statistics = kind(sample_rate=RATE)
    waveforms = torch.randn(2, 1, RATE)
    assert torch.equal(statistics(waveforms), kind(sample_rate=RATE)(waveforms))
    assert not list(statistics.parameters())


def test_baselines_have_the_windows_of_the_models():
    encoder = MelCNN(sample_rate=RATE)
    encoder.window_seconds = 7.0
    found = make_baselines({"mine": encoder}, seed=0)
    assert list(found) == list(BASELINES)
    assert [model.window_seconds for model in found.values()] == [7.0, 7.0, 7.0]
    function = as_model(lambda waveforms: waveforms[:, :4], 2 * RATE, window_seconds=9.0)
    found = make_baselines({"mine": encoder, "function": function}, seed=0)
    assert [model.window_seconds for model in found.values()] == [7.0, 9.0, 9.0]
    assert found[MFCC_STATISTICS].sample_rate == 2 * RATE


def test_models_with_other_windows_have_a_random_encoder_each():
    encoders = {seconds: MelCNN(sample_rate=RATE) for seconds in (3.0, 7.0)}
    for seconds, encoder in encoders.items():
        encoder.window_seconds = seconds
    found = make_baselines({f"{seconds}": encoder for seconds, encoder in encoders.items()}, seed=0)
    assert {name: model.window_seconds for name, model in found.items() if "random" in name} == {
        "random encoder 1, MelCNN": 3.0,
        "random encoder 2, MelCNN": 7.0,
    }


def test_windows_of_baselines_are_long_enough_for_them():
    function = as_model(lambda waveforms: waveforms[:, :4], RATE, window_seconds=0.01)
    for model in make_baselines({"function": function}, seed=0).values():
        samples = round(model.window_seconds * RATE)
        assert samples >= model.min_samples
        assert model(torch.randn(2, 1, samples)).isfinite().all()
