"""Registry of our transforms and the same transforms of other libraries, which `augmentations.py` compares."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from augmentation_effects import (
    RATE,
    Measure,
    band_levels,
    error_db,
    level,
    noise_ratio,
    samples,
    strongest_hz,
    zeros,
)
from torch import Tensor

from ssc_toolkit import augmentations as ours

Change = Callable[[Tensor], Tensor]


@dataclass
class Entry:
    """A transform of this library, and its peers (transforms of other libraries with the same effect).

    Attributes:
        make: function that returns our transform, with fixed settings if called with True, with random settings if
            called with False.
        torch_peers: functions that return peers that take torch batches, by name.
        others: functions that return peers that take one clip at a time or do not run on a GPU, by name.
        measure: measure of the effect that must agree; None if no peer has the same effect.
        signal: name of the test signal.
    """

    make: Callable[[bool], Change]
    torch_peers: dict[str, Callable[[bool], Change]] = field(default_factory=dict)
    others: dict[str, Callable[[bool], Change]] = field(default_factory=dict)
    measure: Measure | None = None
    tolerance: float = 0.0
    signal: str = "noise"
    says: str = ""


UNCHECKED = (
    "pedalboard, another chorus",
    "pedalboard, another echo",
    "pedalboard, another room",
    "pedalboard, variable bit rate",
)
"""Peers with a different effect, which are timed but not checked."""


def one_by_one(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Return a function that applies a NumPy function of one clip to each clip of a batch."""

    def changed(waveforms: Tensor) -> Tensor:
        out = np.zeros_like(waveforms[:, 0].numpy())
        for row, clip in zip(out, waveforms[:, 0].numpy(), strict=True):
            result = np.asarray(change(clip)).reshape(-1)[: len(row)]
            row[: len(result)] = result
        return torch.from_numpy(out)[:, None]

    return changed


def drawn(low: float, high: float, fixed: float, is_fixed: bool) -> float:
    """Return the fixed value of a setting, or a random one in its range."""
    return fixed if is_fixed else random.uniform(low, high)


def registry(folder: str, torch_only: bool = False) -> dict[str, Entry]:
    """Return every transform with its peers.

    Args:
        folder: folder that contains recordings that some of them need.
        torch_only: whether to leave out peers that take one clip at a time, some of which take seconds to import.
    """
    rate = {"sample_rate": RATE}
    entries = {
        "Gain": Entry(lambda f: ours.Gain(-6.0 if f else (-15, 5)), measure=samples, tolerance=1e-4, says="samples"),
        "PolarityInversion": Entry(lambda f: ours.PolarityInversion(), measure=samples, tolerance=0, says="samples"),
        "PeakNormalization": Entry(lambda f: ours.PeakNormalization(), measure=samples, tolerance=1e-4, says="samples"),
        "ColoredNoise": Entry(
            lambda f: ours.ColoredNoise(*(10.0, 1.0) if f else ((3, 30), (-2, 2)), **rate),
            measure=noise_ratio,
            tolerance=0.2,
            says="signal-to-noise ratio within .2 dB",
        ),
        "BackgroundNoise": Entry(
            lambda f: ours.BackgroundNoise(f"{folder}/hiss.wav", 10.0 if f else (3, 30), **rate),
            measure=noise_ratio,
            tolerance=0.2,
            says="signal-to-noise ratio within .2 dB",
        ),
        "LowPass": Entry(lambda f: ours.LowPass(1400.0 if f else (150, 7500), **rate)),
        "HighPass": Entry(lambda f: ours.HighPass(1400.0 if f else (200, 2400), **rate)),
        "BandPass": Entry(lambda f: ours.BandPass(*(2000.0, 0.6) if f else ((200, 4000), (0.5, 1.99)), **rate)),
        "BandStop": Entry(lambda f: ours.BandStop(*(2000.0, 0.6) if f else ((200, 4000), (0.5, 1.99)), **rate)),
        "one filter of four": Entry(lambda f: ours.semisupcon_chain(RATE).transforms[3], measure=None),
        "Equalizer": Entry(lambda f: ours.Equalizer(**rate)),
        "Delay": Entry(
            lambda f: ours.Delay(250.0 if f else (100, 500), volume=0.5, repeats=2, **rate),
            measure=samples,
            tolerance=1e-4,
            says="samples",
        ),
        "Reverb": Entry(lambda f: ours.Reverb((0.5, 2.5), (0, 10), **rate)),
        "ImpulseResponse": Entry(
            lambda f: ours.ImpulseResponse(f"{folder}/room.wav", **rate),
            measure=samples,
            tolerance=1e-3,
            says="samples",
        ),
        "PitchShift": Entry(
            lambda f: ours.PitchShift(4.0 if f else (-4, 4), **rate),
            measure=strongest_hz,
            tolerance=8.0,
            signal="tone",
            says="strongest partial within a quarter tone",
        ),
        "TimeStretch": Entry(
            lambda f: ours.TimeStretch(0.8 if f else (0.7, 1.3), **rate),
            measure=strongest_hz,
            tolerance=3.0,
            signal="tone",
            says="pitch kept within 3 Hz",
        ),
        "Chorus": Entry(lambda f: ours.Chorus(**rate)),
        "Distortion": Entry(
            lambda f: ours.Distortion(12.0 if f else (3, 15)), measure=samples, tolerance=1e-3, says="samples"
        ),
        "Clipping": Entry(lambda f: ours.Clipping()),
        "Compression": Entry(
            lambda f: ours.Compression(-20.0 if f else (-40, -10), 4.0, **rate),
            measure=level,
            tolerance=1.5,
            signal="tone",
            says="reduction of a tone within 1.5 dB",
        ),
        "Reverse": Entry(lambda f: ours.Reverse(), measure=samples, tolerance=0, says="samples"),
        "TimeShift": Entry(
            lambda f: ours.TimeShift(1000 / RATE if f else (-1.35, 1.35), **rate),
            measure=samples,
            tolerance=0,
            says="samples",
        ),
        "SpliceOut": Entry(
            lambda f: ours.SpliceOut(8, (49.9, 50.0) if f else (0, 100), **rate),
            measure=zeros,
            tolerance=6,
            says="share cut out within 6 %",
        ),
        "BitCrush": Entry(
            lambda f: ours.BitCrush(6 if f else (4, 8)), measure=samples, tolerance=1 / 32, says="samples within a step"
        ),
        "MP3": Entry(
            lambda f: ours.MP3(64 if f else (16, 64), implementation="codec", **rate),
            measure=error_db,
            tolerance=3.0,
            says="coding error within 3 dB",
        ),
        "MP3 approximation": Entry(lambda f: ours.MP3((16, 64), implementation="approximation", **rate)),
        "chain at severity 1": Entry(lambda f: whole_chain(())),
        "chain without pitch shift": Entry(lambda f: whole_chain(("pitch_shift",))),
    }
    for name in ("LowPass", "HighPass", "BandPass", "BandStop"):
        entries[name].measure, entries[name].tolerance = band_levels, 0.5
        entries[name].says = "levels of bands within .5 dB"
    if find_spec("torch_audiomentations"):
        add_torch_audiomentations(entries)
    add_torchaudio(entries, folder)
    for package, add in (
        ("audiomentations", partial(add_audiomentations, folder=folder)),
        ("pedalboard", add_pedalboard),
        ("librosa", add_librosa),
    ):
        if torch_only:
            continue
        if find_spec(package):
            add(entries)
        else:
            print(f"{package} is not installed")
    return entries


def whole_chain(omit: tuple[str, ...]) -> ours.Chain:
    """Return the published chain, applied to every example."""
    chain = ours.semisupcon_chain(RATE, omit=omit)
    chain.p = 1.0  # theirs can only gate the whole batch
    return chain


def make_echo(**options: Any) -> Any:
    """Return the echo of the published chain, from its description; torch-audiomentations has none."""
    from torch_audiomentations.core.transforms_interface import BaseWaveformTransform
    from torch_audiomentations.utils.object_dict import ObjectDict

    class Echo(BaseWaveformTransform):
        """Two echoes in a loop over the batch."""

        def __init__(self, low_ms: float = 100, high_ms: float = 500, **options: Any) -> None:
            super().__init__(**options)
            self.range_ms = (low_ms, high_ms)

        def randomize_parameters(self, samples: Any = None, **ignored: Any) -> None:
            milliseconds = torch.empty(len(samples)).uniform_(*self.range_ms)
            self.transform_parameters["delay"] = (milliseconds * RATE / 1000).long().tolist()

        def apply_transform(self, samples: Any = None, sample_rate: Any = None, **ignored: Any) -> ObjectDict:
            out = samples.clone()
            for row, clip, delay in zip(out, samples, self.transform_parameters["delay"], strict=True):
                for number in (1, 2):
                    row[:, delay * number :] += 0.5**number * clip[:, : clip.shape[-1] - delay * number]
            return ObjectDict(samples=out, sample_rate=sample_rate, targets=None, target_rate=None)

    return Echo(**options)


BANDS = {
    "min_center_frequency": 200,
    "max_center_frequency": 4000,
    "min_bandwidth_fraction": 0.5,
    "max_bandwidth_fraction": 1.99,
}


def torch_audiomentations_chain(pitch: bool = True, p: float = 1.0) -> Change:
    """Return the published chain of torch-audiomentations, applied to a batch with probability p."""
    import torch_audiomentations as theirs

    own = {"output_type": "dict", "sample_rate": RATE}
    filters = [
        theirs.BandPassFilter(p=1.0, **BANDS, **own),
        theirs.BandStopFilter(p=1.0, **BANDS, **own),
        theirs.HighPassFilter(p=1.0, min_cutoff_freq=200, max_cutoff_freq=2400, **own),
        theirs.LowPassFilter(p=1.0, min_cutoff_freq=150, max_cutoff_freq=7500, **own),
    ]
    stages = [
        theirs.Gain(p=0.4, min_gain_in_db=-15, max_gain_in_db=5, **own),
        theirs.PolarityInversion(p=0.6, **own),
        theirs.AddColoredNoise(p=0.6, min_snr_in_db=3, max_snr_in_db=30, min_f_decay=-2, max_f_decay=2, **own),
        # torch-audiomentations chooses one filter for the whole batch and applies it to p = .3 of the examples.
        theirs.OneOf([_with_p(f, 0.3) for f in filters], output_type="dict"),
        *([theirs.PitchShift(p=0.6, min_transpose_semitones=-4, max_transpose_semitones=4, **own)] * pitch),
        make_echo(p=0.6, **own),
    ]
    return theirs.Compose(stages, output_type="tensor", p=p)


def add_torch_audiomentations(entries: dict[str, Entry]) -> None:
    """Add torch-audiomentations, which works on torch batches and draws parameters for each example."""
    import torch_audiomentations as theirs

    common = {"p": 1.0, "output_type": "tensor", "sample_rate": RATE}

    def both(kind: Any, fixed: dict[str, Any], ranges: dict[str, Any]) -> Callable[[bool], Change]:
        return lambda f: kind(**(fixed if f else ranges), **common)

    one_band = {"min_center_frequency": 1999.9, "max_center_frequency": 2000}
    one_band |= {"min_bandwidth_fraction": 0.5999, "max_bandwidth_fraction": 0.6}
    cutoff = {"min_cutoff_freq": 1399.9, "max_cutoff_freq": 1400}
    decay = {"min_f_decay": 0.99, "max_f_decay": 1}
    makers = {
        "Gain": both(theirs.Gain, {"min_gain_in_db": -6.0, "max_gain_in_db": -6.0 + 1e-6}, {}),
        "PolarityInversion": both(theirs.PolarityInversion, {}, {}),
        "PeakNormalization": both(theirs.PeakNormalization, {}, {}),
        "ColoredNoise": both(theirs.AddColoredNoise, {"min_snr_in_db": 9.99, "max_snr_in_db": 10, **decay}, {}),
        "LowPass": both(theirs.LowPassFilter, cutoff, {"min_cutoff_freq": 150, "max_cutoff_freq": 7500}),
        "HighPass": both(theirs.HighPassFilter, cutoff, {"min_cutoff_freq": 200, "max_cutoff_freq": 2400}),
        "BandPass": both(theirs.BandPassFilter, one_band, BANDS),
        "BandStop": both(theirs.BandStopFilter, one_band, BANDS),
        "PitchShift": both(theirs.PitchShift, {"min_transpose_semitones": 3.8, "max_transpose_semitones": 4.2}, {}),
        "Reverse": both(theirs.TimeInversion, {}, {}),
        "TimeShift": both(
            theirs.Shift,
            {"min_shift": 1000, "max_shift": 1000, "shift_unit": "samples"},
            {"min_shift": -0.5, "max_shift": 0.5},
        ),
        "SpliceOut": both(theirs.SpliceOut, {"max_width": 200}, {"max_width": 100}),
    }
    for name, make in makers.items():
        entries[name].torch_peers["torch-audiomentations"] = make

    entries["chain at severity 1"].torch_peers["torch-audiomentations"] = lambda f: torch_audiomentations_chain()
    entries["chain without pitch shift"].torch_peers["torch-audiomentations"] = lambda f: torch_audiomentations_chain(
        pitch=False
    )
    entries["Delay"].torch_peers["published, a loop over the batch"] = both(
        make_echo, {"low_ms": 250, "high_ms": 250}, {}
    )


def _with_p(transform: Any, p: float) -> Any:
    transform.p = p
    return transform


def add_torchaudio(entries: dict[str, Entry], folder: str) -> None:
    """Add peers that can be built from torchaudio."""
    from torchaudio import functional

    room = torch.from_numpy(soundfile.read(f"{folder}/room.wav", dtype="float32")[0])
    room = room / room.square().sum().sqrt()
    hiss = torch.from_numpy(soundfile.read(f"{folder}/hiss.wav", dtype="float32")[0])

    def convolve(waveforms: Tensor) -> Tensor:
        response = room.to(waveforms).expand(len(waveforms), 1, -1)
        return functional.fftconvolve(waveforms, response)[..., : waveforms.shape[-1]]

    def add(is_fixed: bool) -> Change:
        def added(waveforms: Tensor) -> Tensor:
            count, _, length = waveforms.shape
            begins = torch.randint(len(hiss) - length, (count,)).tolist()
            piece = torch.stack([hiss[begin : begin + length] for begin in begins])[:, None].to(waveforms)
            ratio = torch.full(waveforms.shape[:-1], 10.0) if is_fixed else torch.rand(waveforms.shape[:-1]) * 27 + 3
            return functional.add_noise(waveforms, piece, ratio.to(waveforms))

        return added

    def shift(is_fixed: bool) -> Change:
        steps = 4 if is_fixed else 3
        return lambda waveforms: functional.pitch_shift(waveforms, RATE, steps)

    def stretch(is_fixed: bool) -> Change:
        def stretched(waveforms: Tensor) -> Tensor:
            speed = drawn(0.7, 1.3, 0.8, is_fixed)
            window = torch.hann_window(2048, device=waveforms.device)
            spectrum = torch.stft(waveforms[:, 0], 2048, 512, window=window, return_complex=True)
            advance = torch.linspace(0, np.pi * 512, 1025, device=waveforms.device)[:, None]
            slower = functional.phase_vocoder(spectrum, speed, advance)
            made = torch.istft(slower, 2048, 512, window=window)[:, : waveforms.shape[-1]]
            return torch.nn.functional.pad(made, (0, waveforms.shape[-1] - made.shape[-1]))[:, None]

        return stretched

    entries["ImpulseResponse"].torch_peers["torchaudio fftconvolve"] = lambda f: convolve
    entries["BackgroundNoise"].torch_peers["torchaudio add_noise, pieces by a loop"] = add
    entries["PitchShift"].torch_peers["torchaudio pitch_shift, one shift for all"] = shift
    entries["TimeStretch"].torch_peers["torchaudio phase_vocoder, one rate for all"] = stretch


def add_audiomentations(entries: dict[str, Entry], folder: str) -> None:
    """Add audiomentations, which uses NumPy and takes one clip at a time."""
    import audiomentations as theirs

    def both(kind: Any, fixed: dict[str, Any], ranges: dict[str, Any]) -> Callable[[bool], Change]:
        def make(is_fixed: bool) -> Change:
            transform = kind(**(fixed if is_fixed else ranges), p=1.0)
            return one_by_one(lambda clip: transform(clip, sample_rate=RATE))

        return make

    steep = {"min_cutoff_freq": 1400, "max_cutoff_freq": 1400, "min_rolloff": 48, "max_rolloff": 48}
    makers = {
        "Gain": both(theirs.Gain, {"min_gain_db": -6.0, "max_gain_db": -6.0}, {}),
        "PolarityInversion": both(theirs.PolarityInversion, {}, {}),
        "PeakNormalization": both(theirs.Normalize, {}, {}),
        "BackgroundNoise": both(
            partial(theirs.AddBackgroundNoise, sounds_path=f"{folder}/hiss.wav"),
            {"min_snr_db": 10, "max_snr_db": 10},
            {"min_snr_db": 3, "max_snr_db": 30},
        ),
        "PitchShift": both(theirs.PitchShift, {"min_semitones": 4, "max_semitones": 4}, {}),
        "TimeStretch": both(theirs.TimeStretch, {"min_rate": 0.8, "max_rate": 0.8}, {"min_rate": 0.7, "max_rate": 1.3}),
        "Reverse": both(theirs.Reverse, {}, {}),
        "BitCrush": both(theirs.BitCrush, {"min_bit_depth": 6, "max_bit_depth": 6}, {}),
        "MP3": both(
            theirs.Mp3Compression, {"min_bitrate": 64, "max_bitrate": 64}, {"min_bitrate": 16, "max_bitrate": 64}
        ),
        "LowPass": both(
            theirs.LowPassFilter,
            steep,
            {},
        ),
        "HighPass": both(
            theirs.HighPassFilter,
            steep,
            {},
        ),
    }
    if not find_spec("fast_mp3_augment"):  # audiomentations does not bring its codec
        del makers["MP3"]
    for name, make in makers.items():
        entries[name].others["audiomentations"] = make


def add_pedalboard(entries: dict[str, Entry]) -> None:
    """Add pedalboard, which is written in C++ and takes one clip at a time."""
    import pedalboard as theirs

    def effect(kind: Any, fixed: dict[str, Any], ranges: dict[str, tuple[float, float]]) -> Callable[[bool], Change]:
        def make(is_fixed: bool) -> Change:
            def change(clip: np.ndarray) -> np.ndarray:
                settings = fixed if is_fixed else {k: random.uniform(*v) for k, v in ranges.items()}
                return kind(**settings)(clip, RATE, reset=True)

            return one_by_one(change)

        return make

    def bits(is_fixed: bool) -> Change:
        return one_by_one(lambda clip: theirs.Bitcrush(5 if is_fixed else random.randint(3, 7))(clip, RATE))

    entries["Gain"].others["pedalboard"] = effect(theirs.Gain, {"gain_db": -6.0}, {"gain_db": (-15, 5)})
    entries["Distortion"].others["pedalboard"] = effect(theirs.Distortion, {"drive_db": 12}, {"drive_db": (3, 15)})
    entries["Compression"].others["pedalboard"] = effect(
        theirs.Compressor, {"threshold_db": -20, "ratio": 4}, {"threshold_db": (-40, -10), "ratio": (4, 4)}
    )
    entries["Reverb"].others["pedalboard, another room"] = effect(theirs.Reverb, {}, {"room_size": (0.2, 0.8)})
    entries["Chorus"].others["pedalboard, another chorus"] = effect(
        theirs.Chorus, {}, {"rate_hz": (0.5, 5), "depth": (0.1, 0.5)}
    )
    entries["Delay"].others["pedalboard, another echo"] = effect(theirs.Delay, {}, {"delay_seconds": (0.1, 0.5)})
    entries["BitCrush"].others["pedalboard"] = bits
    entries["MP3"].others["pedalboard, variable bit rate"] = effect(
        theirs.MP3Compressor, {"vbr_quality": 4}, {"vbr_quality": (2, 9)}
    )
    entries["PitchShift"].others["pedalboard"] = effect(theirs.PitchShift, {"semitones": 4}, {"semitones": (-4, 4)})


def add_librosa(entries: dict[str, Entry]) -> None:
    """Add librosa, which uses NumPy and takes one clip at a time."""
    import librosa

    entries["PitchShift"].others["librosa"] = lambda f: one_by_one(
        lambda clip: librosa.effects.pitch_shift(clip, sr=RATE, n_steps=drawn(-4, 4, 4, f))
    )
    entries["TimeStretch"].others["librosa"] = lambda f: one_by_one(
        lambda clip: librosa.effects.time_stretch(clip, rate=drawn(0.7, 1.3, 0.8, f))
    )


def record(folder: Path) -> None:
    """Write audio files with an impulse response and a minute of noise."""
    made = np.random.default_rng(0)
    decay = np.exp(-np.arange(RATE) / (0.1 * RATE))
    soundfile.write(folder / "room.wav", 0.3 * made.uniform(-1, 1, RATE) * decay, RATE)
    soundfile.write(folder / "hiss.wav", 0.2 * made.uniform(-1, 1, 60 * RATE), RATE)
