"""What the transforms say to arguments that cannot be."""

from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest
import torch
from seeded import generator
from transforms import FOLDER

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
    Draw,
    Equalizer,
    Gain,
    HighPass,
    ImpulseResponse,
    LowPass,
    OneOf,
    PeakNormalization,
    PitchShift,
    PolarityInversion,
    Reverb,
    SomeOf,
    SpliceOut,
    TimeShift,
    TimeStretch,
    Transform,
    clmr_chain,
    corruption,
    from_config,
    semisupcon_chain,
)
from ssc_toolkit.errors import InputError


def test_numbers_of_numpy_and_torch_are_numbers():
    chain = semisupcon_chain(np.int64(22050), np.float32(1.0))
    assert from_config(json.loads(json.dumps(chain.to_config()))).to_config() == semisupcon_chain(22050).to_config()
    assert Gain(torch.tensor(3.0)).gain_db == Gain(torch.tensor([3.0, 3.0])).gain_db == (3, 3)


def test_a_transform_without_its_arguments_has_no_config():
    class Hidden(Gain):
        def __init__(self, amount):
            super().__init__(amount)

    with pytest.raises(ValueError, match=r"config: expected .* attributes, got none named amount"):
        Hidden(3.0).to_config()
    assert "Hidden" in repr(Chain([Hidden(3.0)]))


class Halved(Transform):
    """Leaves out every other sample, which no transform may."""

    def transform(self, waveforms, values):
        return waveforms[..., ::2]


class HalvedWhereDrawn(Halved):
    selective = True


@pytest.mark.parametrize("kind", [Halved, HalvedWhereDrawn])
@pytest.mark.parametrize("p", [0.5, 1.0])
def test_a_transform_that_changes_the_length_is_named(kind, p):
    waveforms = torch.ones(20, 2, 1, 100)
    for transform in (kind(p=p), Chain([Gain(), OneOf([kind(p=p)])])):
        with pytest.raises(InputError, match=rf"^{kind.__name__}.transform: .*, 1, 100\), got \(.*, 1, 50\)$"):
            transform(waveforms, generator=generator())


@pytest.mark.parametrize(
    ("drawn", "words"),
    [
        (torch.zeros(4), r"expected to return a dictionary of tensors by name, got \(4,\)"),
        (None, "expected to return a dictionary of tensors by name, got NoneType"),
        ({"depth": 0.5}, "expected 'depth' to be a tensor of 4 rows, got float"),
        ({"depth": torch.zeros(3)}, r"expected 'depth' to be a tensor of 4 rows, got \(3,\)"),
        ({"depth": torch.tensor(0.5)}, r"expected 'depth' to be a tensor of 4 rows, got \(\)"),
    ],
)
def test_bad_draw_values_name_the_transform(drawn, words):
    class Odd(Gain):
        def draw_values(self, generator):
            return drawn

    for transform in (Odd(), Chain([PolarityInversion(), Odd()])):
        with pytest.raises(InputError, match=f"^Odd.draw_values: {words}$"):
            transform(torch.ones(4, 1, 100))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Gain(p=1.5), ValueError, "p:"),
        (lambda: Gain((3, -3)), ValueError, "gain_db"),
        (lambda: LowPass(9000.0, sample_rate=16000), ValueError, "cutoff_hz"),
        (lambda: LowPass((2000, 1000), sample_rate=16000), ValueError, "cutoff_hz"),
        (lambda: LowPass(1000.0, sample_rate=None), ValueError, "sample_rate"),
        (lambda: HighPass(1000.0, sample_rate=0), ValueError, "sample_rate"),
        (lambda: BandPass(1000.0, 2.5, sample_rate=16000), ValueError, "bandwidth_fraction"),
        (lambda: BandStop(9000.0, 0.5, sample_rate=16000), ValueError, "center_hz"),
        (lambda: ColoredNoise(sample_rate=-1), ValueError, "sample_rate"),
        (lambda: Delay((-5, 100), sample_rate=16000), ValueError, "delay_ms"),
        (lambda: Delay(volume=2, sample_rate=16000), ValueError, "volume"),
        (lambda: Delay(repeats=0, sample_rate=16000), ValueError, "repeats"),
        (lambda: PitchShift((-90, 0), sample_rate=16000), ValueError, "shift_semitones"),
        (lambda: PitchShift(n_fft=7, sample_rate=16000), ValueError, "n_fft"),
        (lambda: Chain([torch.nn.Identity()]), TypeError, "transforms"),
        (
            lambda: Chain([LowPass(2000, sample_rate=16000), Gain(), HighPass(500, sample_rate=22050)]),
            InputError,
            "got LowPass at 16000 Hz and HighPass at 22050 Hz",
        ),
        (
            lambda: OneOf([Gain(), semisupcon_chain(16000), corruption("reverb", 22050, 0.5)]),
            InputError,
            "got ColoredNoise at 16000 Hz and Reverb at 22050 Hz",
        ),
        (
            lambda: SomeOf([Chain([OneOf([Reverb(sample_rate=8000)])]), Chorus(sample_rate=8001)], count=1),
            InputError,
            "got Reverb at 8000 Hz and Chorus at 8001 Hz",
        ),
        (lambda: OneOf([]), ValueError, "transforms"),
        (lambda: OneOf([Gain()], weights=[0.0]), ValueError, "weights"),
        (lambda: OneOf([Gain()], weights=[1.0, 2.0]), ValueError, "weights"),
        (lambda: semisupcon_chain(16000, severity=3), ValueError, "severity"),
        (lambda: semisupcon_chain(16000, omit=("reverb",)), ValueError, "omit"),
        (lambda: corruption("wobble", 16000), ValueError, "name"),
        (lambda: corruption("mp3", 15000), ValueError, "sample_rate: expected one of 8000"),
        (lambda: clmr_chain(16000, omit=("echo",)), ValueError, "omit"),
        (lambda: PeakNormalization("loud"), ValueError, "peak_db"),
        (lambda: Gain((1, 2, 3)), ValueError, "gain_db"),
        (lambda: Equalizer(center_hz=(100, 9000), sample_rate=16000), ValueError, "center_hz"),
        (lambda: Equalizer(center_hz=(100, 110), sample_rate=16000), ValueError, "center_hz"),
        (lambda: Reverb(-1.0, sample_rate=16000), ValueError, "rt60_seconds"),
        (lambda: ImpulseResponse("/nowhere.wav", sample_rate=16000), ValueError, "files: .*nowhere.wav"),
        (lambda: ImpulseResponse([], sample_rate=16000), ValueError, "files"),
        (lambda: ImpulseResponse(tempfile.gettempdir() + "/", sample_rate=None), ValueError, "sample_rate"),
        (lambda: BackgroundNoise(FOLDER), ValueError, "sample_rate"),
        (lambda: TimeStretch(0.0, sample_rate=16000), ValueError, "rate"),
        (lambda: Chorus(depth=2.0, sample_rate=16000), ValueError, "depth"),
        (lambda: Chorus(delay_ms=-1, sample_rate=16000), ValueError, "delay_ms"),
        (lambda: Distortion(90), ValueError, "drive_db"),
        (lambda: Clipping(3.0), ValueError, "threshold_db"),
        (lambda: BitCrush(0), ValueError, "bits"),
        (lambda: BitCrush((2.5, 3)), ValueError, "bits"),
        (lambda: Compression(ratio=0.5, sample_rate=16000), ValueError, "ratio"),
        (lambda: Compression(attack_ms=-1, sample_rate=16000), ValueError, "attack_ms"),
        (lambda: TimeShift(mode="wrap", sample_rate=16000), ValueError, "mode"),
        (lambda: SpliceOut(cut_ms=(-5, 5), sample_rate=16000), ValueError, "cut_ms"),
        (lambda: SpliceOut(0, sample_rate=16000), ValueError, "cuts"),
        (lambda: MP3(5, sample_rate=16000), ValueError, "bitrate_kbps: expected 8, 16"),
        (lambda: MP3(sample_rate=10000), ValueError, "sample_rate"),
        (lambda: MP3(sample_rate=16000, implementation="ffmpeg"), ValueError, "implementation"),
        (lambda: Chain([], fuse="maybe"), ValueError, "fuse"),
        (lambda: SomeOf([], count=1), ValueError, "transforms"),
        (lambda: SomeOf([Gain()], count=2), ValueError, "count"),
        (lambda: from_config({"gain_db": 3}), ValueError, "config"),
        (lambda: from_config({"name": "Wobble"}), ValueError, "config: expected a transform among BackgroundNoise"),
        (lambda: from_config({"name": "Transform"}), ValueError, "config"),
        (lambda: from_config({"name": "Gain", "gain": 3}), ValueError, "config: .*Gain.* gain_db, p, got gain"),
        (
            lambda: from_config({"name": "LowPass", "sample_rate": 16000}),
            ValueError,
            "config: expected .* cutoff_hz of LowPass",
        ),
        (lambda: Gain().apply_draw(torch.zeros(3, 1, 9), PolarityInversion().draw(3)), ValueError, "draw"),
        (lambda: Gain()(torch.zeros(4, 100)), ValueError, "waveforms"),
        (lambda: Gain()(torch.zeros(4, 1, 100, dtype=torch.int16)), TypeError, "waveforms"),
        (lambda: Gain().apply_draw(torch.zeros(4, 1, 100), Gain().draw(3)), ValueError, "draw"),
        (lambda: Gain().apply_draw(torch.zeros(4, 1, 100)), TypeError, "draw"),
        (lambda: Gain((1, "a")), ValueError, "gain_db"),
        (lambda: Gain((None, 1)), ValueError, "gain_db"),
        (lambda: Gain(["1e3", "2e3"]), ValueError, "gain_db"),
        (lambda: Gain(10**400), ValueError, "gain_db"),
        (lambda: Gain(float("nan")), ValueError, "gain_db"),
        (lambda: Gain(p="0.5"), ValueError, "p:"),
        (lambda: Gain(p=torch.tensor([3.0, 4.0])), ValueError, "p:"),
        (lambda: ColoredNoise(sample_rate="a"), ValueError, "sample_rate"),
        (lambda: ColoredNoise(sample_rate=float("inf")), ValueError, "sample_rate"),
        (lambda: Reverb(sample_rate=True), ValueError, "sample_rate"),
        (lambda: Equalizer(sample_rate=1e9), ValueError, "sample_rate"),
        (lambda: clmr_chain(None), ValueError, "sample_rate"),
        (lambda: PitchShift(n_fft="a", sample_rate=16000), ValueError, "n_fft"),
        (lambda: Delay(repeats="a", sample_rate=16000), ValueError, "repeats"),
        (lambda: Delay(repeats=float("nan"), sample_rate=16000), ValueError, "repeats"),
        (lambda: Delay(repeats=10**6, sample_rate=16000), ValueError, "repeats"),
        (lambda: Equalizer(center_hz="a", sample_rate=16000), ValueError, "center_hz"),
        (lambda: Equalizer(center_hz=3, sample_rate=16000), ValueError, "center_hz"),
        (lambda: BackgroundNoise(3, sample_rate=16000), TypeError, "files"),
        (lambda: OneOf([Gain()], weights="a"), ValueError, "weights"),
        (lambda: semisupcon_chain(16000, omit=(5,)), ValueError, "omit"),
        (lambda: semisupcon_chain(16000, severity="high"), ValueError, "severity"),
        (lambda: from_config({"name": "Chain", "transforms": None}), ValueError, "config: expected .* of Chain"),
        (
            lambda: from_config({"name": "Chain", "transforms": {"name": "Gain"}}),
            ValueError,
            "config: expected .* list",
        ),
        (lambda: Chain(Gain()), TypeError, "transforms"),
        (lambda: Gain().draw(-1), ValueError, "count"),
        (lambda: Draw.from_state_dict({"values": {}}), ValueError, "state: .* got one without applied, children"),
        (lambda: Chain([Gain()]).draw(1.5), ValueError, "count"),
        (lambda: BackgroundNoise().draw(20, views=3), ValueError, "views"),
        (lambda: Gain()(torch.zeros(4, 0, 100)), ValueError, "waveforms"),
        (lambda: Gain()(torch.zeros(4, 1, 100), generator=0), InputError, "generator: expected .* got 0$"),
        (lambda: semisupcon_chain(16000)(torch.zeros(4, 1, 100), generator=0), InputError, "generator: .* got 0$"),
        (lambda: Chain([Gain()]).draw(4, "cpu"), InputError, "generator: expected .* got 'cpu'$"),
    ],
)
def test_bad_input_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_transform_that_overrides_draw_is_an_error():
    with pytest.raises(TypeError, match="Mine: expected draw_examples"):
        type("Mine", (Gain,), {"draw": lambda self, count: None})
