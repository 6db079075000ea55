"""Corruptions of an evaluation: alone, one after another, and added to the chain."""

from __future__ import annotations

import json

import pytest
import torch
from compared import RATE, write_encoders, write_music

from ssc_toolkit.augmentations import corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS, STAGES
from ssc_toolkit.commands.compare import compare
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import conditions_for
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.options import CompareOptions

UNSEEN = CORRUPTIONS[len(STAGES) :]


def transforms(*names: str, severity: float = 1.0, omit: tuple[str, ...] = ()) -> dict[str, torch.nn.Module]:
    return {
        condition.corruption: condition.transform
        for condition in conditions_for(names, (0, severity), RATE, omit)
        if condition.transform is not None
    }


@pytest.mark.parametrize("names", [("distortion", "bitcrush"), ("bitcrush", "reverse", "distortion")])
def test_joined_corruptions_are_applied_in_order(names):
    waveforms = torch.rand(3, 1, 4000, generator=torch.Generator().manual_seed(0)) - 0.5
    (found,) = transforms("+".join(names), severity=2.0).values()
    expected = waveforms
    for name in names:
        expected = corruption(name, RATE, 2.0)(expected)
    torch.testing.assert_close(found(waveforms), expected)
    backwards = transforms("+".join(names[::-1]), severity=2.0).popitem()[1](waveforms)
    assert not torch.allclose(backwards, expected, atol=1e-3)


def test_a_corruption_is_added_to_the_whole_chain():
    (found,) = transforms("chain+reverse", severity=2.5, omit=("pitch_shift",)).values()
    waveforms = torch.rand(4, 1, 4000, generator=torch.Generator().manual_seed(1)) - 0.5
    corrupted, draw = found(waveforms, generator=torch.Generator().manual_seed(2), return_draw=True)
    chain = semisupcon_chain(RATE, 2.5, ("pitch_shift",))
    assert [type(part) for part in found.transforms[0].transforms] == [type(part) for part in chain.transforms]
    assert (corrupted.flip(-1) - waveforms).abs().amax() > 0.1  # the chain has changed them too
    torch.testing.assert_close(found.apply_draw(waveforms, draw), corrupted)


def test_tiers_add_the_unseen_corruptions_one_by_one():
    tiers = transforms("tiers")
    assert [name.split("+") for name in tiers] == [["chain", *UNSEEN[:count]] for count in range(1, 10)]
    for count, tier in enumerate(tiers.values(), start=1):
        added = [type(corruption(name, RATE)) for name in UNSEEN[:count]]
        assert [type(part) for part in tier.transforms[1:]] == added
    assert list(transforms("unseen")) == list(UNSEEN)
    assert list(transforms("chain", "chain+unseen", "chain+mp3")) == ["chain", *(f"chain+{name}" for name in UNSEEN)]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chain+reverp", r"got 'reverp' in 'chain\+reverp'; did you mean reverb\?"),
        ("tier", r"got 'tier'; did you mean tiers\?"),
        ("chain+", r"got '' in 'chain\+'"),
        ("chain+tiers", r"got 'tiers' in 'chain\+tiers'"),
        ("reverb+chain+reverb", r"expected different names in a sequence, got 'reverb\+chain\+reverb'"),
    ],
)
def test_unknown_parts_of_a_sequence_are_errors(name, words, tmp_path):
    with pytest.raises(InputError, match=f"corruptions: .*{words}"):
        conditions_for((name,), (1,), RATE)
    options = CompareOptions(encoders=("MTT_musicnn",), labels=("key",), corruptions=(name,), out=str(tmp_path / "out"))
    with pytest.raises(InputError, match=words):
        options.check()


@pytest.mark.slow
def test_compare_scores_the_chain_with_a_corruption(tmp_path):
    options = {
        "encoders": (str(write_encoders(tmp_path)[0]),), "tracks": str(write_music(tmp_path, 45)), "labels": ("key",),
        "window_seconds": 0.5, "severities": (1.0,), "audio_clips": 0, "out": str(tmp_path / "out"),
    }  # fmt: skip
    with pytest.raises(InputError, match="pitch_shift changes the key"):
        compare(CompareOptions(**options, corruptions=("chain+pitch_shift",)))
    compare(CompareOptions(**options, corruptions=("chain+distortion",)))
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {record["corruption"] for record in content["records"]} == {"clean", "chain+distortion"}
    assert content["provenance"]["omitted"] == ["pitch_shift"]
    (stored,) = (tmp_path / "out").rglob("chain+distortion-1.pt")
    chain, added = FixedCorruption.load(stored).transform.transforms
    assert type(added).__name__ == "Distortion"
    assert len(chain.transforms) == len(STAGES) - 1
