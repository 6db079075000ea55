"""Clips that would make LAME end the process do not reach it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ssc_toolkit.augmentations import MP3

RATE = 22050
EXTREMES = {
    "a NaN": lambda clip: clip.index_fill(-1, torch.tensor([100]), float("nan")),
    "all NaN": lambda clip: clip * float("nan"),
    "infinity": lambda clip: clip.index_fill(-1, torch.tensor([7]), float("inf")),
    "minus infinity": lambda clip: clip.index_fill(-1, torch.tensor([7]), -float("inf")),
    "1e4": lambda clip: clip * 1e4,
    "1e5": lambda clip: clip * 1e5,
    "1e10": lambda clip: clip * 1e10,
    "1e30": lambda clip: clip * 1e30,
    "the largest number": lambda clip: clip.sign() * torch.finfo(torch.float32).max,
}


def clips(count: int = 3, channels: int = 2, samples: int = 9000) -> torch.Tensor:
    return 0.2 * torch.randn(count, channels, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("implementation", ["codec", "approximation"])
@pytest.mark.parametrize("extreme", EXTREMES)
def test_an_extreme_clip_is_unchanged_and_others_are_coded(extreme, implementation):
    code = MP3(bitrate_kbps=(32, 32), implementation=implementation, sample_rate=RATE)
    waveforms = clips()
    expected = code(waveforms)
    waveforms[1, :1] = EXTREMES[extreme](waveforms[1, :1])
    coded = code(waveforms)
    assert torch.equal(coded[[0, 2]], expected[[0, 2]])
    torch.testing.assert_close(coded[1], waveforms[1], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("implementation", ["codec", "approximation"])
def test_an_extreme_clip_keeps_gradients_of_others_finite(implementation):
    waveforms = clips()
    waveforms[1, 0, 5] = float("nan")
    waveforms.requires_grad_()
    MP3(implementation=implementation, sample_rate=RATE)(waveforms)[[0, 2]].sum().backward()
    assert waveforms.grad is not None
    assert waveforms.grad.isfinite().all()
    assert (waveforms.grad[[0, 2]] != 0).any()


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-38, 1e-10, 1.0, 50.0])
def test_quiet_and_loud_clips_are_coded(scale):
    coded = MP3(implementation="codec", sample_rate=RATE)(clips() * scale)
    assert coded.isfinite().all()
    assert coded.abs().max() <= 3 * scale + 1e-6


def test_half_precision_goes_through_the_codec():
    waveforms = clips().half()
    waveforms[1] *= 60_000
    coded = MP3(implementation="codec", sample_rate=RATE)(waveforms)
    assert coded.dtype == torch.float16
    assert torch.equal(coded[1], waveforms[1])
    assert not torch.equal(coded[0], waveforms[0])
    assert coded[[0, 2]].isfinite().all()


SURVIVES = """
import torch
from ssc_toolkit.augmentations import MP3, Chain, Gain
for rate in (8000, 22050, 44100):
    code = Chain([Gain(gain_db=(0, 0)), MP3(implementation="codec", sample_rate=rate)])
    noise = torch.randn(1, 1, 12000, generator=torch.Generator().manual_seed(0))
    for scale in (float("nan"), float("inf"), 20.0, *(10.0**power for power in range(2, 38))):
        code(noise * scale)
        code((noise > 2) * scale * torch.ones_like(noise))
    print(rate)
"""


@pytest.mark.slow
def test_no_clip_aborts_the_process():
    done = subprocess.run([sys.executable, "-c", SURVIVES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["8000", "22050", "44100"]), done.stderr
