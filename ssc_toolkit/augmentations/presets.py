"""Published chains, and corruptions by severity.

Guinot, Quinton and Fazekas, Semi-Supervised Contrastive Learning of Musical Representations, ISMIR
2024 (arXiv 2407.13840): severity 1 is the chain of pretraining, 0 the identity. Spijkervet and Burgoyne,
Contrastive Learning of Musical Representations, ISMIR 2021 (arXiv 2103.09410).
"""

from __future__ import annotations

from collections.abc import Collection

from ssc_toolkit.augmentations.base import Augmentation, need_sample_rate
from ssc_toolkit.augmentations.chorus import Chorus
from ssc_toolkit.augmentations.compression import Compression
from ssc_toolkit.augmentations.containers import Chain, ItemChain, ItemOneOf, OneOf
from ssc_toolkit.augmentations.delay import Delay
from ssc_toolkit.augmentations.distortion import BitCrush, Distortion
from ssc_toolkit.augmentations.filters import BandPass, BandStop, HighPass, LowPass
from ssc_toolkit.augmentations.gain import Gain, PolarityInversion
from ssc_toolkit.augmentations.mp3 import MP3, nearest_bit_rate
from ssc_toolkit.augmentations.noise import ColoredNoise
from ssc_toolkit.augmentations.pitch import PitchShift
from ssc_toolkit.augmentations.published import PublishedDelay, PublishedNoise, PublishedPitchShift
from ssc_toolkit.augmentations.reverb import Reverb
from ssc_toolkit.augmentations.stretch import TimeStretch
from ssc_toolkit.augmentations.timing import Reverse, SpliceOut
from ssc_toolkit.checks import check_number

STAGES = ("gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay")
"""Stages of the chain, in order: the names that `omit` takes."""

CORRUPTIONS = (
    *STAGES,
    "time_stretch",
    "splice_out",
    "reverb",
    "chorus",
    "distortion",
    "compression",
    "reverse",
    "bitcrush",
    "mp3",
)
"""Names that `corruption` takes: the stages of the chain, and what an encoder never met in pretraining."""

HIGHEST_SEVERITY = 2.5
_INAUDIBLE_DB = 200.0


def semisupcon_chain(
    sample_rate: int, severity: float = 1.0, omit: Collection[str] = (), *, as_published: bool = False
) -> Chain:
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

    With `as_published` it draws what the published code draws, which is not all in the paper: `PublishedDelay`
    (volume .5 s, attenuation min(1, .5 s) and int(2 s) echoes, each of them less or more by .2 or 1),
    `PublishedPitchShift`, `PublishedNoise`, and the gate of the whole chain and the kind of filter once for all views
    of an item. Views are only known as such in a batch of (items, views, channels, samples). Where the published code
    fails (echoes below severity .5), ranges are clamped as above, and there are at least 0 echoes.

    Args:
        sample_rate: hertz.
        severity: 0 (the identity) to 2.5.
        omit: stages to leave out. A transform that changes what a label says must not meet that
            label: omit "pitch_shift" wherever key or pitch is a supervision signal or a probed task.
        as_published: reproduce the published code.

    Raises:
        ValueError: for a severity out of range or an unknown stage in `omit`; with `as_published`, for a sample rate
            without a pitch ratio in the range.

    Examples:
        >>> import torch
        >>> chain = semisupcon_chain(sample_rate=16000, omit=("pitch_shift",))
        >>> chain(torch.randn(4, 2, 1, 16000)).shape
        torch.Size([4, 2, 1, 16000])
    """
    severity = check_number("severity", severity, 0, HIGHEST_SEVERITY)
    _check_omit(omit, STAGES)
    sample_rate = need_sample_rate(sample_rate)
    if severity == 0:
        return Chain([])
    make = _published_stage if as_published else _stage
    stages = [make(name, sample_rate, severity, p) for name, p in _probabilities(severity).items() if name not in omit]
    return (ItemChain if as_published else Chain)(stages, p=min(1.0, 0.8 * severity))


def clmr_chain(sample_rate: int, omit: Collection[str] = ()) -> Chain:
    """The augmentation chain of CLMR.

    | stage | range | p |
    |---|---|---|
    | polarity_inversion | | .8 |
    | colored_noise | white, .0001 ... .01 of the clip's standard deviation: SNR 80 ... 40 dB | .01 |
    | gain | -20 ... -1 dB | .3 |
    | filter, one of two | high-pass 200 ... 1200 Hz, low-pass 2200 ... 4000 Hz | .8 |
    | delay | 200 ... 450 ms in steps of 50, volume .5, mean with the dry signal | .3 |
    | pitch_shift | -7 ... 7 semitones | .6 |
    | reverb | RT60 .09 ... 6 s, direct-to-reverberant ratio 14 ... 27 dB, damping .44 ... .95 | .6 |

    The published reverb is that of SoX with reverberance, damping and room size uniform in 0 ... 100. Its eight
    feedback combs have delays of 31 ms on average at full room size and a feedback of .3 ... .98, from which
    the decay time follows, at low frequencies and, through the loss in each pass, at the highest one; the
    ratio follows from the energy of the combs. The ranges hold 90 % of what comes out (for the RT60, whose
    quartiles are .29, .8 and 2.1 s, as those of the range are .26, .73 and 2.1 s) or more.

    Args:
        sample_rate: hertz.
        omit: stages to leave out, as for `semisupcon_chain`.

    Raises:
        ValueError: for an unknown stage in `omit`.

    Examples:
        >>> import torch
        >>> clmr_chain(sample_rate=22050)(torch.randn(4, 1, 22050)).shape
        torch.Size([4, 1, 22050])
    """
    sample_rate = need_sample_rate(sample_rate)
    nyquist = sample_rate / 2
    half_db = -6.0206
    echoes = [Delay(ms, volume=0.5, repeats=1, sample_rate=sample_rate) for ms in range(200, 451, 50)]
    low_pass, high_pass = _clamped(2200, 4000, nyquist), _clamped(200, 1200, nyquist)
    stages: dict[str, Augmentation] = {
        "polarity_inversion": PolarityInversion(p=0.8),
        "colored_noise": ColoredNoise((40, 80), 0.0, sample_rate=sample_rate, p=0.01),
        "gain": Gain((-20, -1), p=0.3),
        "filter": OneOf(
            [HighPass(high_pass, sample_rate=sample_rate), LowPass(low_pass, sample_rate=sample_rate)], p=0.8
        ),
        "delay": Chain([OneOf(echoes), Gain(half_db)], p=0.3),
        "pitch_shift": PitchShift((-7, 7), sample_rate=sample_rate, p=0.6),
        "reverb": Reverb((0.09, 6.0), (14, 27), (0.44, 0.95), sample_rate=sample_rate, p=0.6),
    }
    _check_omit(omit, stages)
    return Chain([stage for name, stage in stages.items() if name not in omit])


def corruption(name: str, sample_rate: int, severity: float = 1.0) -> Augmentation:
    """One corruption for a robustness test, on every example.

    The stages of the chain ("gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay") have the
    ranges of `semisupcon_chain`. At severity s > 0 the others are

    | name | setting |
    |---|---|
    | time_stretch | rate in 1 ± min(.6, .3 s) |
    | splice_out | 8 cuts of up to 100 s ms |
    | reverb | RT60 2.5 s seconds, direct-to-reverberant ratio 0 dB |
    | chorus | 5 Hz, depth min(1, s), equal mix |
    | distortion | tanh, drive 9 s dB |
    | compression | threshold max(-60, -30 s) dB, ratio 1 + 4 s, attack 1 ms, release 100 ms |
    | reverse | the whole clip, whatever s |
    | bitcrush | round(4 / s) bits, 1 to 24 |
    | mp3 | the real codec at the bit rate that MP3 knows nearest to 32 / s kb/s |

    Args:
        name: one of the fifteen above (`CORRUPTIONS`).
        sample_rate: hertz.
        severity: 0 (the identity) to 2.5.

    Raises:
        ValueError: for an unknown name, a severity out of range, or "mp3" at a sample rate that MP3 does not know.

    Examples:
        >>> import torch
        >>> corruption("reverb", sample_rate=16000, severity=2.0)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """
    severity = check_number("severity", severity, 0, HIGHEST_SEVERITY)
    if name not in CORRUPTIONS:
        raise ValueError(f"name: expected one of {', '.join(CORRUPTIONS)}, got {name!r}")
    sample_rate = need_sample_rate(sample_rate)
    if severity == 0:
        return Chain([])
    if name in STAGES:
        return _stage(name, sample_rate, severity, p=1.0)
    return _unseen(name, sample_rate, severity)


def _check_omit(omit: Collection[str], stages: Collection[str]) -> None:
    if isinstance(omit, str):
        raise TypeError(f"omit: expected a collection of stages, such as ({omit!r},), got a string")
    unknown = set(omit) - set(stages)
    if unknown:
        raise ValueError(f"omit: expected stages among {', '.join(stages)}, got {', '.join(map(str, unknown))}")


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
            return ColoredNoise(_ratio_db(s), (-2 * s, 2 * s), sample_rate=sample_rate, p=p)
        case "filter":
            return OneOf(_filters(sample_rate, s), p=p)
        case "pitch_shift":
            return PitchShift((-4 * s, 4 * s), sample_rate=sample_rate, p=p)
        case _:
            return Delay(
                _delay_ms(s),
                volume=min(1.0, 0.5 * s),
                repeats=max(1, round(2 * s)),
                attenuation=min(1.0, 0.5 * s),
                sample_rate=sample_rate,
                p=p,
            )


def _published_stage(name: str, sample_rate: int, s: float, p: float) -> Augmentation:
    """One stage at severity s > 0, as the published code has it."""
    match name:
        case "colored_noise":
            return PublishedNoise(_ratio_db(s), (-2 * s, 2 * s), sample_rate=sample_rate, p=p)
        case "filter":
            return ItemOneOf(_filters(sample_rate, s, p))
        case "pitch_shift":
            return PublishedPitchShift((-4 * s, 4 * s), sample_rate=sample_rate, p=p)
        case "delay":
            return PublishedDelay(
                _delay_ms(s),
                volume=0.5 * s,
                repeats=int(2 * s),
                attenuation=min(1.0, 0.5 * s),
                sample_rate=sample_rate,
                p=p,
            )
        case _:
            return _stage(name, sample_rate, s, p)


def _unseen(name: str, sample_rate: int, s: float) -> Augmentation:
    """One corruption that is no stage of the chain, at severity s > 0."""
    match name:
        case "time_stretch":
            spread = min(0.6, 0.3 * s)
            return TimeStretch((1 - spread, 1 + spread), sample_rate=sample_rate)
        case "splice_out":
            return SpliceOut(8, (0, 100 * s), sample_rate=sample_rate)
        case "reverb":
            return Reverb(max(0.01, 2.5 * s), 0.0, sample_rate=sample_rate)
        case "chorus":
            return Chorus(5.0, min(1.0, s), mix=0.5, sample_rate=sample_rate)
        case "distortion":
            return Distortion(9 * s)
        case "compression":
            return Compression(max(-60, -30 * s), 1 + 4 * s, 1.0, 100.0, sample_rate=sample_rate)
        case "reverse":
            return Reverse()
        case "bitcrush":
            return BitCrush(max(1, round(min(24, 4 / s))))
        case _:
            return MP3(nearest_bit_rate(32 / s, sample_rate), implementation="codec", sample_rate=sample_rate)


def _filters(sample_rate: int, s: float, p: float = 1.0) -> list[Augmentation]:
    nyquist = sample_rate / 2
    center = _clamped(200, 4000, nyquist)
    bandwidth = (max(0.01, min(0.5 * s, 1.99)), 1.99)
    low_pass = _clamped(max(75, 150 / s), 7500 / max(1, s), nyquist)
    return [
        BandPass(center, bandwidth, sample_rate=sample_rate, p=p),
        BandStop(center, bandwidth, sample_rate=sample_rate, p=p),
        HighPass(_clamped(200 * s, 2400 * s, nyquist), sample_rate=sample_rate, p=p),
        LowPass(low_pass, sample_rate=sample_rate, p=p),
    ]


def _ratio_db(s: float) -> tuple[float, float]:
    """Signal-to-noise ratios."""
    return min(_INAUDIBLE_DB, 3 / s), min(_INAUDIBLE_DB, 30 / s)


def _delay_ms(s: float) -> tuple[float, float]:
    return min(500.0, 100 / s), 500.0


def _clamped(low: float, high: float, highest: float) -> tuple[float, float]:
    """A range of hertz, from 1 to the highest."""
    high = max(1.0, min(high, highest))
    return max(1.0, min(low, high)), high
