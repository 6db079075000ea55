"""Every transform with settings that touch a short clip, for the tests of what all of them promise."""

from __future__ import annotations

import atexit
import shutil
import tempfile

import numpy as np
import soundfile

from ssc_toolkit.augmentations import (
    MP3,
    BackgroundNoise,
    BandPass,
    BandStop,
    BitCrush,
    Chain,
    Chorus,
    Clipping,
    ColoredNoise,
    Compression,
    Delay,
    Distortion,
    Equalizer,
    Gain,
    HighPass,
    ImpulseResponse,
    ItemChain,
    ItemOneOf,
    LowPass,
    OneOf,
    PeakNormalization,
    PitchShift,
    PolarityInversion,
    PublishedDelay,
    PublishedNoise,
    PublishedPitchShift,
    Reverb,
    Reverse,
    SomeOf,
    SpliceOut,
    TimeShift,
    TimeStretch,
)

RATE = 16000


def recordings() -> str:
    """A folder of two short recordings at two rates, one of them in stereo."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    made = np.random.default_rng(0)
    soundfile.write(f"{folder}/mono.wav", 0.3 * np.exp(-np.arange(300) / 60) * made.standard_normal(300), RATE)
    soundfile.write(f"{folder}/stereo.flac", 0.1 * made.standard_normal((900, 2)), 22050)
    return folder


FOLDER = recordings()


TRANSFORMS = {
    "Gain": lambda p: Gain((-15, 5), p=p),
    "PolarityInversion": lambda p: PolarityInversion(p=p),
    "PeakNormalization": lambda p: PeakNormalization((-6, 0), p=p),
    "ColoredNoise": lambda p: ColoredNoise((3, 30), (-2, 2), sample_rate=RATE, p=p),
    "BackgroundNoise": lambda p: BackgroundNoise(FOLDER, (3, 30), sample_rate=RATE, p=p),
    "LowPass": lambda p: LowPass((150, 7500), sample_rate=RATE, p=p),
    "HighPass": lambda p: HighPass((200, 2400), sample_rate=RATE, p=p),
    "BandPass": lambda p: BandPass((200, 4000), (0.5, 1.99), sample_rate=RATE, p=p),
    "BandStop": lambda p: BandStop((200, 4000), (0.5, 1.99), sample_rate=RATE, p=p),
    "Equalizer": lambda p: Equalizer((-12, 12), sample_rate=RATE, p=p),
    "PitchShift": lambda p: PitchShift((-4, 4), sample_rate=RATE, p=p),
    "TimeStretch": lambda p: TimeStretch((0.7, 1.3), sample_rate=RATE, p=p),
    "Delay": lambda p: Delay((2, 20), sample_rate=RATE, p=p),
    "Reverb": lambda p: Reverb((0.05, 0.5), (0, 10), (0, 0.5), sample_rate=RATE, p=p),
    "ImpulseResponse": lambda p: ImpulseResponse(FOLDER, sample_rate=RATE, p=p),
    "Chorus": lambda p: Chorus(sample_rate=RATE, p=p),
    "Distortion": lambda p: Distortion((3, 15), p=p),
    "Clipping": lambda p: Clipping((-12, -3), p=p),
    "Compression": lambda p: Compression((-40, -30), sample_rate=RATE, p=p),
    "BitCrush": lambda p: BitCrush((2, 6), p=p),
    "Reverse": lambda p: Reverse(p=p),
    "TimeShift, roll": lambda p: TimeShift((0.001, 0.01), sample_rate=RATE, p=p),
    "TimeShift, pad": lambda p: TimeShift((-0.01, -0.001), mode="pad", sample_rate=RATE, p=p),
    "SpliceOut": lambda p: SpliceOut(4, (1, 5), sample_rate=RATE, p=p),
    "MP3": lambda p: MP3((32, 64), sample_rate=RATE, p=p),
    "MP3, approximation": lambda p: MP3((32, 64), implementation="approximation", sample_rate=RATE, p=p),
    "PublishedDelay": lambda p: PublishedDelay((2, 20), sample_rate=RATE, p=p),
    "PublishedNoise": lambda p: PublishedNoise((3, 30), (-2, 2), sample_rate=RATE, p=p),
    "PublishedPitchShift": lambda p: PublishedPitchShift((-4, 4), sample_rate=RATE, p=p),
    "Chain": lambda p: Chain([Gain((-15, 5)), LowPass((150, 7500), sample_rate=RATE)], p=p),
    "Chain, fused": lambda p: Chain([Gain(), Delay((2, 20), sample_rate=RATE), Reverb(sample_rate=RATE)], p=p),
    "OneOf": lambda p: OneOf([Gain((-15, -5)), HighPass((500, 7500), sample_rate=RATE)], p=p),
    "ItemChain": lambda p: ItemChain([Gain((-15, 5)), PublishedDelay((2, 20), sample_rate=RATE)], p=p),
    "ItemOneOf": lambda p: ItemOneOf([Gain((-15, -5)), HighPass((500, 7500), sample_rate=RATE)], p=p),
    "SomeOf": lambda p: SomeOf([Gain((-15, -5)), BitCrush(), Delay((2, 20), sample_rate=RATE)], count=(1, 2), p=p),
    "nested": lambda p: Chain([OneOf([Gain(-6.0), Chain([PolarityInversion()])])], p=p),
}


WITHOUT_A_DRAW = {"PolarityInversion", "Reverse", "nested"}
