"""Augmentation chains of publications, and corruptions with a severity for robustness tests.

SemiSupCon: Guinot, Quinton and Fazekas, Semi-Supervised Contrastive Learning of Musical Representations, ISMIR
2024 (arXiv 2407.13840). CLMR: Spijkervet and Burgoyne, Contrastive Learning of Musical Representations, ISMIR 2021
(arXiv 2103.09410).
"""

from __future__ import annotations

from collections.abc import Collection

from ssc_toolkit.augmentations.base import Augmentation, require_sample_rate
from ssc_toolkit.augmentations.chorus import Chorus
from ssc_toolkit.augmentations.compression import Compression
from ssc_toolkit.augmentations.containers import Chain, ItemChain, ItemOneOf, OneOf
from ssc_toolkit.augmentations.delay import Delay
from ssc_toolkit.augmentations.distortion import BitCrush, Distortion
from ssc_toolkit.augmentations.filters import BandPass, BandStop, HighPass, LowPass
from ssc_toolkit.augmentations.gain import Gain, PolarityInversion
from ssc_toolkit.augmentations.mp3 import MP3, find_nearest_bit_rate
from ssc_toolkit.augmentations.noise import ColoredNoise
from ssc_toolkit.augmentations.pitch import PitchShift
from ssc_toolkit.augmentations.published import PublishedDelay, PublishedNoise, PublishedPitchShift
from ssc_toolkit.augmentations.reverb import Reverb
from ssc_toolkit.augmentations.stretch import TimeStretch
from ssc_toolkit.augmentations.timing import Reverse, SpliceOut
from ssc_toolkit.checks import check_choice, check_number

STAGES = ("gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay")
"""Names of the stages of `semisupcon_chain` in order, for its argument `omit`."""

CLMR_STAGES = ("polarity_inversion", "colored_noise", "gain", "filter", "delay", "pitch_shift", "reverb")
"""Names of the stages of `clmr_chain` in order, for its argument `omit`."""

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
"""Names that `corruption` accepts: the stages of `semisupcon_chain`, and others that are not used in pretraining."""

MAX_SEVERITY = 2.5
_INAUDIBLE_DB = 200.0


def semisupcon_chain(
    sample_rate: int, severity: float = 1.0, omit: Collection[str] = (), *, as_published: bool = False
) -> Chain:
    """Return the augmentation chain of SemiSupCon.

    The severity s scales the chain: 1 gives the chain of the paper for pretraining, and 0 leaves waveforms unchanged.
    The chain applies to a clip with probability min(1, .8 * s). Each stage has this range and probability p:

    | stage | range | p |
    |---|---|---|
    | gain | -15 * s ... 5 * s dB | min(.7, .4 * s) |
    | polarity_inversion | | min(.8, .6 * s) |
    | colored_noise | SNR 3/s ... 30/s dB, spectral decay -2 * s ... 2 * s | min(.8, .6 * s) |
    | filter | one of the four filters below | min(.6, .3 * s) |
    | pitch_shift | -4 * s ... 4 * s semitones | min(.75, .6 * s) |
    | delay | min(500, 100/s) ... 500 ms, volume and attenuation min(1, .5 * s), round(2 * s) echoes | min(.6, .6 * s) |

    The filter is a band-pass or a band-stop (center 200 ... 4000 Hz, bandwidth fraction .5 * s ... 1.99), a
    high-pass (200 * s ... 2400 * s Hz) or a low-pass (max(75, 150/s) ... 7500/max(1, s) Hz). The ends of a range are
    limited to the Nyquist frequency, and its lower end to its upper end.

    With `as_published`, the chain follows the published code, which differs from the paper:

    - It uses `PublishedDelay` (volume .5 * s ± .2, attenuation min(1, .5 * s) ± .2, int(2 * s) ± 1 echoes),
      `PublishedPitchShift` and `PublishedNoise`.
    - It decides once for all views of an item whether the chain applies, and which of the four filters is used. Pass
      batches of shape (items, views, channels, samples), so that the views of an item are known.
    - Below severity .5, the delay of the published code fails. Here, the number of echoes is at least 0, and ranges
      are limited as above.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        severity: severity s, 0 to 2.5.
        omit: names of the stages to leave out. Leave out transforms that change the labels: for example, "pitch_shift"
            if you train or evaluate with labels of key or pitch.
        as_published: whether to follow the published code instead of the paper.

    Returns:
        The chain. At severity 0, it has no members.

    Raises:
        ValueError: if the severity is out of range or `omit` contains an unknown stage; with `as_published`, if the
            sample rate has no pitch ratio in the range.

    Examples:
        >>> import torch
        >>> chain = semisupcon_chain(sample_rate=16000, omit=("pitch_shift",))
        >>> chain(torch.randn(4, 2, 1, 16000)).shape
        torch.Size([4, 2, 1, 16000])
    """
    severity = check_number("severity", severity, 0, MAX_SEVERITY)
    _check_omit(omit, STAGES)
    sample_rate = require_sample_rate(sample_rate)
    if severity == 0:
        return Chain([])
    make = _published_stage if as_published else _stage
    stages = [make(name, sample_rate, severity, p) for name, p in _probabilities(severity).items() if name not in omit]
    return (ItemChain if as_published else Chain)(stages, p=min(1.0, 0.8 * severity))


def clmr_chain(sample_rate: int, omit: Collection[str] = ()) -> Chain:
    """Return the augmentation chain of CLMR.

    | stage | range | p |
    |---|---|---|
    | polarity_inversion | | .8 |
    | colored_noise | white, standard deviation .0001 ... .01 times that of the clip (SNR 80 ... 40 dB) | .01 |
    | gain | -20 ... -1 dB | .3 |
    | filter | high-pass 200 ... 1200 Hz or low-pass 2200 ... 4000 Hz | .8 |
    | delay | one echo after 200, 250, ... or 450 ms with volume .5; the sum with the waveform is divided by 2 | .3 |
    | pitch_shift | -7 ... 7 semitones | .6 |
    | reverb | RT60 .09 ... 6 s, direct-to-reverberant ratio 14 ... 27 dB, damping .44 ... .95 | .6 |

    The published chain uses the reverb of SoX, with reverberance, damping and room size drawn uniformly from 0 to 100.
    The ranges of `Reverb` in the table were derived from the eight feedback comb filters of SoX, which have a mean
    delay of 31 ms at full room size and a feedback of .3 ... .98. The RT60 follows from the feedback, the damping from
    the loss at high frequencies in each pass, and the direct-to-reverberant ratio from the energy of the comb filters.
    The ranges contain at least 90 % of the derived values. The quartiles of the derived RT60 are .29, .8 and 2.1 s;
    those of the range in the table are .26, .73 and 2.1 s.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        omit: names of the stages to leave out, as for `semisupcon_chain`.

    Returns:
        The chain.

    Raises:
        ValueError: if `omit` contains an unknown stage.

    Examples:
        >>> import torch
        >>> clmr_chain(sample_rate=22050)(torch.randn(4, 1, 22050)).shape
        torch.Size([4, 1, 22050])
    """
    sample_rate = require_sample_rate(sample_rate)
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
    """Return a corruption for a robustness test. It applies to every clip.

    "gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift" and "delay" have the ranges that they have
    in `semisupcon_chain` at the same severity. The other corruptions have these settings at severity s > 0:

    | name | setting |
    |---|---|
    | time_stretch | rate 1 - r ... 1 + r, where r = min(.6, .3 * s) |
    | splice_out | 8 cuts of up to 100 * s milliseconds |
    | reverb | RT60 2.5 * s seconds, direct-to-reverberant ratio 0 dB |
    | chorus | 5 Hz, depth min(1, s), mix .5 |
    | distortion | tanh, drive 9 * s dB |
    | compression | threshold max(-60, -30 * s) dB, ratio 1 + 4 * s, attack 1 ms, release 100 ms |
    | reverse | the whole clip, for any s |
    | bitcrush | round(4 / s) bits, 1 to 24 |
    | mp3 | the codec at the supported bit rate nearest to 32 / s kbit/s |

    Args:
        name: one of the fifteen names above (`CORRUPTIONS`).
        sample_rate: sample rate of the waveforms in hertz.
        severity: severity s, 0 to 2.5. At severity 0, waveforms are unchanged.

    Returns:
        The transform. At severity 0, a chain without members.

    Raises:
        ValueError: if the name is unknown, the severity is out of range, or MP3 does not support the sample rate.

    Examples:
        >>> import torch
        >>> corruption("reverb", sample_rate=16000, severity=2.0)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """
    severity = check_number("severity", severity, 0, MAX_SEVERITY)
    check_choice("name", name, CORRUPTIONS)
    sample_rate = require_sample_rate(sample_rate)
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
    """Return the stage `name` of `semisupcon_chain` at severity s > 0, applied with probability `p`."""
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
    """Return the stage `name` of `semisupcon_chain` with `as_published=True`, at severity s > 0.

    `p` is the probability with which it applies to a clip.
    """
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
    """Return the corruption `name` of the function `corruption` at severity s > 0.

    The name is not that of a stage of `semisupcon_chain`.
    """
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
            return MP3(find_nearest_bit_rate(32 / s, sample_rate), implementation="codec", sample_rate=sample_rate)


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
    """Return the range (low, high) of signal-to-noise ratios of the stage "colored_noise" at severity s in decibels."""
    return min(_INAUDIBLE_DB, 3 / s), min(_INAUDIBLE_DB, 30 / s)


def _delay_ms(s: float) -> tuple[float, float]:
    return min(500.0, 100 / s), 500.0


def _clamped(low: float, high: float, highest: float) -> tuple[float, float]:
    """Return the range (low, high) in hertz, with both ends limited to between 1 and `highest`."""
    high = max(1.0, min(high, highest))
    return max(1.0, min(low, high)), high
