"""What every transform promises: shapes, reproducibility, replay, a draw of its own for each example."""

from __future__ import annotations

import atexit
import shutil
import tempfile

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

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
    Reverse,
    SomeOf,
    SpliceOut,
    TimeShift,
    TimeStretch,
    corruption,
    semisupcon_chain,
)
from ssc_toolkit.augmentations.presets import STAGES

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
    "Chain": lambda p: Chain([Gain((-15, 5)), LowPass((150, 7500), sample_rate=RATE)], p=p),
    "Chain, fused": lambda p: Chain([Gain(), Delay((2, 20), sample_rate=RATE), Reverb(sample_rate=RATE)], p=p),
    "OneOf": lambda p: OneOf([Gain((-15, -5)), HighPass((500, 7500), sample_rate=RATE)], p=p),
    "SomeOf": lambda p: SomeOf([Gain((-15, -5)), BitCrush(), Delay((2, 20), sample_rate=RATE)], count=(1, 2), p=p),
    "nested": lambda p: Chain([OneOf([Gain(-6.0), Chain([PolarityInversion()])])], p=p),
}
WITHOUT_A_DRAW = {"PolarityInversion", "Reverse", "nested"}
every_transform = pytest.mark.parametrize("make", TRANSFORMS.values(), ids=TRANSFORMS.keys())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=generator(seed))


@every_transform
@pytest.mark.parametrize("shape", [(5, 1, 4000), (3, 2, 2, 4000)])
def test_shape_dtype_and_input_are_kept(make, shape):
    waveforms = noise(*shape)
    before = waveforms.clone()
    result = make(1.0)(waveforms, generator=generator())
    assert result.shape == waveforms.shape
    assert result.dtype == waveforms.dtype
    assert result.isfinite().all()
    assert torch.equal(waveforms, before)


@every_transform
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_agree_with_float32(make, dtype):
    waveforms = noise(4, 1, 4000).to(dtype)
    result = make(1.0)(waveforms, generator=generator())
    assert result.dtype == dtype
    expected = make(1.0)(waveforms.float(), generator=generator())
    scale = expected.abs().max()
    tolerance = 1e-3 if dtype == torch.float64 else torch.finfo(dtype).eps
    assert (result.float() - expected).abs().max() <= scale * tolerance


@every_transform
def test_the_generator_alone_decides(make):
    waveforms = noise(20, 1, 3000)
    transform = make(0.5)
    first = transform(waveforms, generator=generator(3))
    torch.rand(7)  # the global generator has no say
    assert torch.equal(transform(waveforms, generator=generator(3)), first)
    assert not torch.equal(transform(waveforms, generator=generator(4)), first)


@every_transform
def test_a_draw_replays_exactly(make):
    waveforms = noise(20, 1, 3000)
    transform = make(0.5)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    assert torch.equal(transform.apply(waveforms, draw), result)


@every_transform
def test_a_draw_survives_saving_and_indexing(make, tmp_path):
    waveforms = noise(20, 1, 3000)
    transform = make(0.7)
    result, draw = transform(waveforms, generator=generator(), return_draw=True)
    torch.save(draw.state_dict(), tmp_path / "draw.pt")
    loaded = Draw.from_state_dict(torch.load(tmp_path / "draw.pt", weights_only=True))
    assert torch.equal(transform.apply(waveforms, loaded), result)
    assert len(draw[4]) == 1
    torch.testing.assert_close(transform.apply(waveforms[4:5], draw[4]), result[4:5])
    torch.testing.assert_close(transform.apply(waveforms[-1:], draw[-1]), result[-1:])
    torch.testing.assert_close(transform.apply(waveforms[5:9], draw[5:9]), result[5:9])
    rows = torch.tensor([11, 2])
    torch.testing.assert_close(transform.apply(waveforms[rows], draw[rows]), result[rows])


@every_transform
def test_slices_of_a_batch_change_nothing(make):
    waveforms = noise(40, 1, 2000)
    sliced, whole = make(0.8), make(0.8)
    whole.cpu_slice_size = None
    torch.testing.assert_close(sliced(waveforms, generator=generator()), whole(waveforms, generator=generator()))


@every_transform
def test_p_zero_is_the_identity_and_p_one_touches_all(make):
    waveforms = noise(30, 1, 3000)
    assert torch.equal(make(0.0)(waveforms, generator=generator()), waveforms)
    changed = (make(1.0)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    assert changed.all()


@every_transform
def test_p_touches_a_share_of_the_examples_independently(make):
    count = 400
    waveforms = noise(count, 1, 400)
    changed = (make(0.3)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    # Five standard deviations of a binomial, and no two halves alike.
    assert abs(changed.sum().item() - 0.3 * count) < 5 * (count * 0.3 * 0.7) ** 0.5
    assert not torch.equal(changed[: count // 2], changed[count // 2 :])


@every_transform
def test_views_of_an_item_are_drawn_apart_and_channels_share_their_draw(make):
    clip = noise(1, 1, 1, 3000)
    views = make(1.0)(clip.expand(1, 8, 2, 3000), generator=generator())
    torch.testing.assert_close(views[:, :, 0], views[:, :, 1])
    if all(make is not TRANSFORMS[name] for name in WITHOUT_A_DRAW):
        assert not torch.equal(views, views[:, :1].expand_as(views))


@every_transform
@given(
    samples=st.sampled_from([1, 2, 3, 17, 255, 1000, 1601]),
    channels=st.integers(1, 3),
    kind=st.sampled_from(["silence", "constant", "full scale", "denormal", "noise"]),
    seed=st.integers(0, 2**31),
)
def test_any_length_and_signal_stays_finite(make, samples, channels, kind, seed):
    waveforms = {
        "silence": torch.zeros(3, channels, samples),
        "constant": torch.full((3, channels, samples), 0.5),
        "full scale": noise(3, channels, samples, seed=seed).sign(),
        "denormal": torch.full((3, channels, samples), 1e-40),
        "noise": noise(3, channels, samples, seed=seed),
    }[kind]
    result = make(0.8)(waveforms, generator=generator(seed))
    assert result.shape == waveforms.shape
    assert result.isfinite().all()
    if kind == "silence":
        assert (result == 0).all()


class CountOperations(TorchDispatchMode):
    """Counts what is dispatched to the tensor library."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(transform, waveforms) -> int:
    transform.cpu_slice_size = None
    draw = transform.draw(len(waveforms), generator())
    with CountOperations() as counter:
        transform.apply(waveforms, draw)
    return counter.count


@every_transform
def test_the_number_of_operations_does_not_grow_with_the_batch(make):
    assert operations(make(1.0), noise(8, 1, 3000)) == operations(make(1.0), noise(64, 1, 3000))


@every_transform
def test_gradients_flow(make):
    waveforms = noise(4, 1, 3000).requires_grad_()
    make(1.0)(waveforms, generator=generator()).square().sum().backward()
    assert waveforms.grad.isfinite().all()
    assert (waveforms.grad != 0).any()


def test_apply_compiles_without_a_graph_break():
    chain = Chain([Gain((-15, 5), p=0.5), LowPass((500, 4000), sample_rate=RATE, p=0.5), Delay(sample_rate=RATE)])
    waveforms = noise(6, 1, 4000)
    draw = chain.draw(6, generator())
    compiled = torch.compile(chain.apply, fullgraph=True)
    torch.testing.assert_close(compiled(waveforms, draw), chain.apply(waveforms, draw))


def test_one_of_takes_each_member_as_often_as_its_weight_says():
    one_of = OneOf([Gain(-6.0), Gain(-12.0), Gain(-18.0)], weights=[1, 0, 3])
    picked = one_of.draw(4000, generator()).values["picked"]
    shares = torch.bincount(picked, minlength=3) / 4000
    torch.testing.assert_close(shares, torch.tensor([0.25, 0.0, 0.75]), atol=0.035, rtol=0)


def test_describe_names_what_touched_each_example():
    chain = Chain([Gain(-6.0), OneOf([PolarityInversion(), LowPass(1000.0, sample_rate=RATE)])])
    lines = chain.draw(50, generator()).describe()
    assert len(lines) == 50
    assert set(lines) == {"Gain(gain_db=-6); PolarityInversion()", "Gain(gain_db=-6); LowPass(cutoff_hz=1000)"}
    assert Gain(p=0.0).draw(1).describe() == ["unchanged"]


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


@pytest.mark.parametrize("name", STAGES)
def test_a_corruption_touches_every_example(name):
    waveforms = noise(16, 1, RATE)
    changed = (corruption(name, RATE, 1.0)(waveforms, generator=generator()) != waveforms).flatten(1).any(1)
    assert changed.all()
    assert torch.equal(corruption(name, RATE, 0.0)(waveforms), waveforms)


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
        (lambda: OneOf([]), ValueError, "transforms"),
        (lambda: OneOf([Gain()], weights=[0.0]), ValueError, "weights"),
        (lambda: OneOf([Gain()], weights=[1.0, 2.0]), ValueError, "weights"),
        (lambda: semisupcon_chain(16000, severity=3), ValueError, "severity"),
        (lambda: semisupcon_chain(16000, omit=("reverb",)), ValueError, "omit"),
        (lambda: corruption("wobble", 16000), ValueError, "name"),
        (lambda: Gain()(torch.zeros(4, 100)), ValueError, "waveforms"),
        (lambda: Gain()(torch.zeros(4, 1, 100, dtype=torch.int16)), TypeError, "waveforms"),
        (lambda: Gain().apply(torch.zeros(4, 1, 100), Gain().draw(3)), ValueError, "draw"),
    ],
)
def test_bad_input_is_named(make, error, words):
    with pytest.raises(error, match=words):
        make()
