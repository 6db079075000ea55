"""Together with torch-audiomentations, in either direction."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from seeded import noise

torch_audiomentations = pytest.importorskip("torch_audiomentations")

from ssc_toolkit.augmentations import Chain, Draw, Gain, PitchShift, PolarityInversion, Reverb  # noqa: E402
from ssc_toolkit.augmentations.interop import FromTorchAudiomentations, ToTorchAudiomentations  # noqa: E402

RATE = 16000
pytestmark = pytest.mark.filterwarnings("ignore::Warning")
THEIRS = {
    "gain": lambda: torch_audiomentations.Gain(p=0.5, output_type="dict"),
    "pitch": lambda: torch_audiomentations.PitchShift(p=0.5, sample_rate=RATE, output_type="dict"),
    "noise": lambda: torch_audiomentations.AddColoredNoise(p=0.7, output_type="tensor"),
    "filter": lambda: torch_audiomentations.BandPassFilter(p=1.0, output_type="dict"),
    "compose": lambda: torch_audiomentations.Compose(
        [
            torch_audiomentations.Shift(p=0.5, output_type="dict"),
            torch_audiomentations.SpliceOut(max_width=50, p=1.0, output_type="dict"),
        ],
        output_type="dict",
    ),
}
every_one_of_theirs = pytest.mark.parametrize("make", THEIRS.values(), ids=THEIRS.keys())


@every_one_of_theirs
def test_theirs_in_our_chain_follow_the_generator_and_replay(make, tmp_path):
    chain = Chain([Gain(-6.0), FromTorchAudiomentations(make(), sample_rate=RATE, p=0.8), PolarityInversion(p=0.5)])
    waveforms = noise(20, 2, 1, 4000)
    first, draw = chain(waveforms, generator=torch.Generator().manual_seed(3), return_draw=True)
    assert first.shape == waveforms.shape
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002  # the point: their source of randomness has no say
    torch.manual_seed(7)
    assert torch.equal(chain(waveforms, generator=torch.Generator().manual_seed(3)), first)
    assert not torch.equal(chain(waveforms, generator=torch.Generator().manual_seed(4)), first)
    torch.save(draw.state_dict(), tmp_path / "draw.pt")
    loaded = Draw.from_state_dict(torch.load(tmp_path / "draw.pt", weights_only=True))
    assert torch.equal(chain.apply_draw(waveforms, loaded), first)


def test_the_global_generators_are_restored():
    theirs = FromTorchAudiomentations(THEIRS["pitch"](), sample_rate=RATE)
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    theirs(noise(8, 1, 4000), generator=torch.Generator().manual_seed(0))
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_a_draw_of_theirs_belongs_to_the_whole_batch():
    theirs = FromTorchAudiomentations(THEIRS["gain"](), sample_rate=RATE)
    with pytest.raises(ValueError, match="cannot be indexed"):
        theirs.draw(8)[2]


def test_theirs_touch_only_the_examples_that_our_p_picks():
    theirs = FromTorchAudiomentations(
        torch_audiomentations.PolarityInversion(p=1.0, output_type="dict"), sample_rate=RATE, p=0.5
    )
    waveforms = noise(64, 1, 100)
    result, draw = theirs(waveforms, return_draw=True)
    assert torch.equal((result != waveforms).flatten(1).any(1), draw.applied)
    assert 0 < draw.applied.sum() < 64


def test_ours_in_their_compose():
    ours = Chain([PitchShift((-4, 4), sample_rate=RATE), Reverb(sample_rate=RATE)])
    theirs = torch_audiomentations.Compose(
        [
            torch_audiomentations.Gain(p=1.0, output_type="dict"),
            ToTorchAudiomentations(ours, p=0.5),
        ],
        output_type="dict",
    )
    waveforms = noise(40, 1, 4000)
    torch.manual_seed(0)
    random.seed(0)
    first = theirs(waveforms, sample_rate=RATE).samples
    torch.manual_seed(0)
    random.seed(0)
    assert torch.equal(theirs(waveforms, sample_rate=RATE).samples, first)
    theirs.freeze_parameters()
    assert torch.equal(theirs(waveforms, sample_rate=RATE).samples, first)
    gained = first / waveforms
    reverberated = gained.std(-1)[:, 0] > 1e-3
    assert 5 < reverberated.sum() < 35


def test_ours_do_nothing_in_their_evaluation_mode():
    ours = ToTorchAudiomentations(PolarityInversion()).eval()
    waveforms = noise(3, 1, 100)
    assert torch.equal(ours(waveforms, sample_rate=RATE).samples, waveforms)


def test_another_sample_rate_is_refused():
    ours = ToTorchAudiomentations(Chain([Reverb(sample_rate=RATE)]), output_type="tensor")
    with pytest.raises(ValueError, match="sample_rate"):
        ours(noise(3, 1, 1000), sample_rate=44100)
    assert ours(noise(3, 1, 1000), sample_rate=RATE).shape == (3, 1, 1000)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FromTorchAudiomentations("Gain", sample_rate=RATE), "module"),
        (lambda: ToTorchAudiomentations(torch_audiomentations.Gain(output_type="dict")), "augmentation"),
    ],
)
def test_objects_that_are_not_transforms_are_rejected(make, words):
    with pytest.raises(TypeError, match=words):
        make()
