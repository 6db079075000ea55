"""Chains from plain data: presets, corruptions and transforms by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from audio_files import write_audio
from seeded import generator, noise

from ssc_toolkit.augmentations import (
    Chain,
    Gain,
    OneOf,
    PitchShift,
    Reverb,
    clmr_chain,
    corruption,
    make_chain,
    plain_chain,
    presets,
    semisupcon_chain,
)
from ssc_toolkit.options import names

RATE = 16000


def assert_same(chain, other) -> None:
    """Two chains change the same noise in the same way."""
    waveforms = noise(6, 2, 1, 4000)
    one, two = (each(waveforms, generator=generator(1)) for each in (chain, other))
    assert torch.equal(one, two)
    assert not torch.equal(one, waveforms)


@pytest.mark.parametrize(
    ("plain", "own"),
    [
        ("semisupcon", semisupcon_chain(RATE)),
        ("semisupcon_published", semisupcon_chain(RATE, as_published=True)),
        ("clmr", clmr_chain(RATE)),
        (["semisupcon"], Chain([semisupcon_chain(RATE)])),
        ([{"name": "clmr", "omit": ["reverb", "delay"]}], Chain([clmr_chain(RATE, ("reverb", "delay"))])),
        (
            [{"name": "semisupcon", "severity": 0.5, "omit": ["pitch_shift"]}, "mp3"],
            Chain([semisupcon_chain(RATE, 0.5, ("pitch_shift",)), corruption("mp3", RATE)]),
        ),
        (
            [{"name": "Gain", "gain_db": [-6, 0], "p": 0.5}, {"name": "PitchShift", "p": 0.5}],
            Chain([Gain((-6, 0), p=0.5), PitchShift(sample_rate=RATE, p=0.5)]),
        ),
        (
            [{"name": "OneOf", "transforms": ["Reverb", {"name": "reverse"}, "Gain"], "weights": [1, 2, 1], "p": 0.9}],
            Chain([OneOf([Reverb(sample_rate=RATE), corruption("reverse", RATE), Gain()], weights=[1, 2, 1], p=0.9)]),
        ),
    ],
    ids=str,
)
def test_plain_data_give_the_chain_of_the_classes(plain, own):
    assert_same(make_chain(plain, RATE), own)


def test_severity_and_omit_apply_to_the_preset():
    assert_same(make_chain("semisupcon", RATE, 2.0, ("delay",)), semisupcon_chain(RATE, 2.0, ("delay",)))
    assert_same(make_chain("clmr", RATE, omit=("gain",)), clmr_chain(RATE, ("gain",)))


def test_an_empty_list_changes_nothing():
    waveforms = noise(2, 1, 1000)
    assert torch.equal(make_chain([], RATE)(waveforms), waveforms)


def test_a_stage_reads_recordings(tmp_path):
    path = tmp_path / "hall.wav"
    write_audio(path, np.eye(1, 400, 20)[0], RATE)  # an echo that is 20 samples late
    moved = make_chain([{"name": "ImpulseResponse", "files": [str(path)]}], RATE)(noise(1, 1, 1000))
    assert not torch.allclose(moved, noise(1, 1, 1000))


@pytest.mark.parametrize(
    ("chain", "words"),
    [
        ("semisupcom", "chain: expected one of semisupcon, semisupcon_published, clmr"),
        (["Gain", "PitchShif"], "chain: stage 2: expected a transform among .*; did you mean PitchShift?"),
        (["gian"], "did you mean gain?"),
        ([{"name": "Gain", "min_db": -6}], "chain: stage 1: expected arguments of Gain among gain_db, p, got min_db"),
        ([{"name": "LowPass"}], "chain: stage 1: expected the arguments cutoff_hz of LowPass, got none"),
        ([{"name": "Gain", "p": 2}], "chain: stage 1: p: expected"),
        ([{"name": "Gain", "gain_db": "loud"}], "chain: stage 1: gain_db"),
        ([{"name": "Reverb", "sample_rate": 8000}], "sample_rate: expected that of the encoder, 16000, got 8000"),
        ([{"name": "OneOf", "transforms": ["Wobble"]}], "chain: stage 1: expected a transform among"),
        ([{"name": "OneOf", "transforms": []}], "chain: stage 1: transforms: OneOf expects at least one"),
        ([{"name": "clmr", "severity": 2}], "chain: stage 1: severity: expected 1 with clmr"),
        ([{"name": "reverb", "p": 0.5}], "expected arguments of reverb among severity, got p"),
        ([{"name": "mp3", "severity": 9}], "chain: stage 1: severity: expected"),
        ([{"name": "os.system"}], "chain: stage 1: expected a transform among"),
        ([{"name": "Transform"}], "chain: stage 1: expected a transform among"),
        ([{"gain_db": 3}], "chain: stage 1: expected a transform among"),
        ([3], "chain: stage 1: expected a name or a dictionary"),
    ],
    ids=str,
)
def test_stages_that_cannot_work_name_their_position(chain, words):
    with pytest.raises((ValueError, TypeError), match=words):
        make_chain(chain, RATE)


def test_the_options_accept_the_same_presets_and_stages():
    assert tuple(names.PRESETS) == plain_chain.PRESETS
    assert presets.CLMR_STAGES == names.CLMR_STAGES
    for stage in names.CLMR_STAGES:
        assert len(clmr_chain(RATE, (stage,)).transforms) == len(names.CLMR_STAGES) - 1
