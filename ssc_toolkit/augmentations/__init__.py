"""Transforms of batches of waveforms, with separate random parameters for each waveform."""

from ssc_toolkit.augmentations.background import BackgroundNoise
from ssc_toolkit.augmentations.base import Augmentation, Transform
from ssc_toolkit.augmentations.chorus import Chorus
from ssc_toolkit.augmentations.compression import Compression
from ssc_toolkit.augmentations.config import from_config
from ssc_toolkit.augmentations.containers import Chain, ItemChain, ItemOneOf, OneOf, SomeOf
from ssc_toolkit.augmentations.delay import Delay
from ssc_toolkit.augmentations.distortion import BitCrush, Clipping, Distortion
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.equalizer import Equalizer
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.filters import BandPass, BandStop, HighPass, LowPass
from ssc_toolkit.augmentations.gain import Gain, PeakNormalization, PolarityInversion
from ssc_toolkit.augmentations.linear import Linear
from ssc_toolkit.augmentations.mp3 import MP3
from ssc_toolkit.augmentations.noise import ColoredNoise
from ssc_toolkit.augmentations.pitch import PitchShift
from ssc_toolkit.augmentations.plain_chain import make_chain
from ssc_toolkit.augmentations.presets import clmr_chain, corruption, semisupcon_chain
from ssc_toolkit.augmentations.published import PublishedDelay, PublishedNoise, PublishedPitchShift
from ssc_toolkit.augmentations.reverb import ImpulseResponse, Reverb
from ssc_toolkit.augmentations.stretch import TimeStretch
from ssc_toolkit.augmentations.timing import Reverse, SpliceOut, TimeShift

__all__ = [
    "MP3",
    "Augmentation",
    "BackgroundNoise",
    "BandPass",
    "BandStop",
    "BitCrush",
    "Chain",
    "Chorus",
    "Clipping",
    "ColoredNoise",
    "Compression",
    "Delay",
    "Distortion",
    "Draw",
    "Equalizer",
    "ExampleGenerator",
    "Gain",
    "HighPass",
    "ImpulseResponse",
    "ItemChain",
    "ItemOneOf",
    "Linear",
    "LowPass",
    "OneOf",
    "PeakNormalization",
    "PitchShift",
    "PolarityInversion",
    "PublishedDelay",
    "PublishedNoise",
    "PublishedPitchShift",
    "Reverb",
    "Reverse",
    "SomeOf",
    "SpliceOut",
    "TimeShift",
    "TimeStretch",
    "Transform",
    "clmr_chain",
    "corruption",
    "from_config",
    "make_chain",
    "semisupcon_chain",
]
