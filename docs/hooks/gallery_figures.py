"""Pictures of sounds and of frequency responses of chains, as PNG, legible on light and dark pages."""

from __future__ import annotations

import io
from itertools import pairwise

import matplotlib
import numpy as np
import torch
from gallery_music import RATE
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssc_toolkit.augmentations import Augmentation

INK = "#808080"
SOUND = "#5b8def"
WIDTH, HEIGHT, DPI = 340, 391, 170
"""Size of the picture of a sound in pixels."""


def sound_picture(samples: np.ndarray) -> bytes:
    """Draw the waveform and, below it, the spectrogram of a sound, (samples,) between -1 and 1."""
    drawing = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI)
    above, below = drawing.subplots(2, sharex=True, height_ratios=(1, 2))
    drawing.subplots_adjust(left=0.12, right=0.99, bottom=0.1, top=0.99, hspace=0.08)
    seconds = len(samples) / RATE
    above.plot(np.linspace(0, seconds, len(samples)), samples, linewidth=0.3, color=SOUND)
    above.set_ylim(-1, 1)
    window = torch.hann_window(1024)
    spectrum = torch.stft(torch.from_numpy(samples), 1024, 256, window=window, return_complex=True).abs()
    level = 20 * torch.log10(spectrum + 1e-4)
    extent = (0, seconds, 0, RATE / 2000)
    below.imshow(level.numpy(), "magma", aspect="auto", origin="lower", extent=extent, vmin=-50, vmax=40)
    above.set_yticks([])
    below.set_yticks([0, 5, 10], ["0", "5", "10 kHz"], rotation=90, va="bottom")
    below.set_xticks([0, 2, 4], ["0", "2", "4 s"])
    return _written(drawing, (above, below))


def response_picture(chains: dict[str, Augmentation], draws: int = 8) -> bytes:
    """Draw the level over frequency of the impulse responses of chains, averaged over sixths of octaves.

    Args:
        chains: linear, time-invariant chains by the titles of their panels.
        draws: number of random draws, each drawn as a line.
    """
    drawing = Figure(figsize=(8.0, 2.6), dpi=130)
    axes = drawing.subplots(1, len(chains), sharey=True)
    drawing.subplots_adjust(left=0.07, right=0.99, bottom=0.17, top=0.89, wspace=0.06)
    impulses = torch.zeros(draws, 1, 4 * RATE)
    impulses[..., RATE] = 1
    edges = 50 * 2 ** (torch.arange(0, 47) / 6)  # to 10 kHz
    for axis, (title, chain) in zip(axes, chains.items(), strict=True):
        filtered = chain(impulses, generator=torch.Generator().manual_seed(1))
        energy = torch.fft.rfft(filtered[:, 0]).abs() ** 2
        hertz = torch.fft.rfftfreq(impulses.shape[-1], 1 / RATE)
        bands = [energy[:, (hertz >= low) & (hertz < high)].mean(1) for low, high in pairwise(edges)]
        level = 10 * torch.log10(torch.stack(bands, 1) + 1e-12)
        axis.semilogx((edges[:-1] * edges[1:]).sqrt(), level.T, linewidth=1.2)
        axis.set_ylim(-45, 20)
        axis.set_xticks([100, 1000, 10000], ["100", "1 k", "10 k"])
        axis.set_title(title, fontsize=8, color=INK)
        axis.set_xlabel("Hz", fontsize=7, color=INK)
        axis.grid(color=INK, alpha=0.25, linewidth=0.5)
    axes[0].set_ylabel("dB", fontsize=7, color=INK)
    return _written(drawing, tuple(axes))


def _written(drawing: Figure, axes: tuple[Axes, ...]) -> bytes:
    for axis in axes:
        axis.tick_params(labelsize=6.5, colors=INK, which="both", length=2)
        axis.spines[:].set_color(INK)
        axis.set_facecolor("none")
    file = io.BytesIO()
    with matplotlib.rc_context({"savefig.transparent": True}):
        drawing.savefig(file, format="png")
    return file.getvalue()
