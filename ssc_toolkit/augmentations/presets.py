"""The published chain at any severity, and its corruptions one at a time.

Guinot, Quinton and Fazekas, Semi-Supervised Contrastive Learning of Musical Representations, ISMIR
2024 (arXiv 2407.13840). Severity 1 is the chain of pretraining, 0 the identity.
"""

from __future__ import annotations

from collections.abc import Collection

from ssc_toolkit.augmentations.base import Augmentation
from ssc_toolkit.augmentations.containers import Chain, OneOf
from ssc_toolkit.augmentations.delay import Delay
from ssc_toolkit.augmentations.filters import BandPass, BandStop, HighPass, LowPass
from ssc_toolkit.augmentations.gain import Gain, PolarityInversion
from ssc_toolkit.augmentations.noise import ColoredNoise
from ssc_toolkit.augmentations.pitch import PitchShift

STAGES = ("gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay")
"""Stages of the chain, in order; also the names that `corruption` and `omit` take."""

HIGHEST_SEVERITY = 2.5


def semisupcon_chain(sample_rate: int, severity: float = 1.0, omit: Collection[str] = ()) -> Chain:
    """The augmentation chain of SemiSupCon.

    At severity s the whole chain is applied with p = min(1, .8 s), and its stages with

    | stage | range | p |
    |---|---|---|
    | gain | -15 s ... +5 s dB | min(.7, .4 s) |
    | polarity_inversion | | min(.8, .6 s) |
    | colored_noise | SNR 3/s ... 30/s dB, spectral decay -2 s ... 2 s | min(.8, .6 s) |
    | filter, one of four | as below | min(.6, .3 s) |
    | pitch_shift | -4 s ... 4 s semitones | min(.75, .6 s) |
    | delay | min(500, 100/s) ... 500 ms, volume and attenuation min(1, .5 s), round(2 s) echoes | min(.6, .6 s) |

    The filter is a band-pass or a band-stop (centre 200 ... 4000 Hz, bandwidth fraction .5 s ... 1.99), a
    high-pass (200 s ... 2400 s Hz) or a low-pass (max(75, 150/s) ... 7500/max(1, s) Hz). Every range is
    clamped to low <= high <= Nyquist.

    Args:
        sample_rate: hertz.
        severity: 0 (the identity) to 2.5.
        omit: stages to leave out. A transform that changes what a label says must not meet that
            label: omit "pitch_shift" wherever key or pitch is a supervision signal or a probed task.

    Raises:
        ValueError: for a severity out of range or an unknown stage in `omit`.

    Examples:
        >>> import torch
        >>> chain = semisupcon_chain(sample_rate=16000, omit=("pitch_shift",))
        >>> chain(torch.randn(4, 2, 1, 16000)).shape
        torch.Size([4, 2, 1, 16000])
    """
    _check_severity(severity)
    if isinstance(omit, str):
        raise TypeError(f"omit: expected a collection of stages, such as ({omit!r},), got a string")
    unknown = set(omit) - set(STAGES)
    if unknown:
        raise ValueError(f"omit: expected stages among {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    if severity == 0:
        return Chain([])
    stages = [
        _stage(name, sample_rate, severity, p) for name, p in _probabilities(severity).items() if name not in omit
    ]
    return Chain(stages, p=min(1.0, 0.8 * severity))


def corruption(name: str, sample_rate: int, severity: float = 1.0) -> Augmentation:
    """One corruption for a robustness test: a stage of the chain alone, on every example.

    Args:
        name: one of "gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay".
        sample_rate: hertz.
        severity: 0 (the identity) to 2.5; the ranges are those of `semisupcon_chain`.

    Raises:
        ValueError: for an unknown name or a severity out of range.

    Examples:
        >>> import torch
        >>> corruption("colored_noise", sample_rate=16000, severity=2.0)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """
    _check_severity(severity)
    if name not in STAGES:
        raise ValueError(f"name: expected one of {', '.join(STAGES)}, got {name!r}")
    return Chain([]) if severity == 0 else _stage(name, sample_rate, severity, p=1.0)


def _check_severity(severity: float) -> None:
    if not 0 <= severity <= HIGHEST_SEVERITY:
        raise ValueError(f"severity: expected 0 to {HIGHEST_SEVERITY}, got {severity}")


def _probabilities(s: float) -> dict[str, float]:
    return {
        "gain": min(0.7, 0.4 * s),
        "polarity_inversion": min(0.8, 0.6 * s),
        "colored_noise": min(0.8, 0.6 * s),
        "filter": min(0.6, 0.3 * s),
        "pitch_shift": min(0.75, 0.6 * s),
        "delay": min(0.6, 0.6 * s),
    }


def _stage(name: str, sample_rate: int, s: float, p: float) -> Augmentation:
    """One stage at severity s > 0."""
    match name:
        case "gain":
            return Gain((-15 * s, 5 * s), p=p)
        case "polarity_inversion":
            return PolarityInversion(p=p)
        case "colored_noise":
            return ColoredNoise((3 / s, 30 / s), (-2 * s, 2 * s), sample_rate=sample_rate, p=p)
        case "filter":
            return _one_filter(sample_rate, s, p)
        case "pitch_shift":
            return PitchShift((-4 * s, 4 * s), sample_rate=sample_rate, p=p)
        case _:
            return Delay(
                (min(500.0, 100 / s), 500.0),
                volume=min(1.0, 0.5 * s),
                repeats=max(1, round(2 * s)),
                attenuation=min(1.0, 0.5 * s),
                sample_rate=sample_rate,
                p=p,
            )


def _one_filter(sample_rate: int, s: float, p: float) -> OneOf:
    nyquist = sample_rate / 2
    center = _clamped(200, 4000, nyquist)
    bandwidth = _clamped(0.5 * s, 1.99, 1.99)
    return OneOf(
        [
            BandPass(center, bandwidth, sample_rate=sample_rate),
            BandStop(center, bandwidth, sample_rate=sample_rate),
            HighPass(_clamped(200 * s, 2400 * s, nyquist), sample_rate=sample_rate),
            LowPass(_clamped(max(75, 150 / s), 7500 / max(1, s), nyquist), sample_rate=sample_rate),
        ],
        p=p,
    )


def _clamped(low: float, high: float, highest: float) -> tuple[float, float]:
    high = min(high, highest)
    return min(low, high), high
