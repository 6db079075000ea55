"""Waveform transforms on whole batches, each example with a draw of its own."""

from ssc_toolkit.augmentations.base import Augmentation, Transform
from ssc_toolkit.augmentations.containers import Chain, OneOf, SomeOf
from ssc_toolkit.augmentations.delay import Delay
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.filters import BandPass, BandStop, HighPass, LowPass
from ssc_toolkit.augmentations.gain import Gain, PeakNormalization, PolarityInversion
from ssc_toolkit.augmentations.noise import ColoredNoise
from ssc_toolkit.augmentations.pitch import PitchShift
from ssc_toolkit.augmentations.presets import corruption, semisupcon_chain

__all__ = [
    "Augmentation",
    "BandPass",
    "BandStop",
    "Chain",
    "ColoredNoise",
    "Delay",
    "Draw",
    "Gain",
    "HighPass",
    "LowPass",
    "OneOf",
    "PitchShift",
    "PolarityInversion",
    "Transform",
    "corruption",
    "semisupcon_chain",
]
