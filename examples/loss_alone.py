"""The loss in a plain training loop, with labels for one item in twenty.

The example needs only the core of the library. The sounds are computed: eight timbres at any pitch, with noise. Without
labels, the encoder learns to recognize a single sound. With a few labels, it learns to recognize a timbre at any pitch.

    python examples/loss_alone.py --steps=100
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from ssc_toolkit.losses import SemiSupConLoss

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--steps", type=int, default=100)
options = arguments.parse_args()
generator = torch.Generator().manual_seed(0)

# A timbre is the strength of each of twelve partials.
TIMBRES = torch.rand(8, 12, generator=generator) ** 2


def sounds(count: int) -> tuple[Tensor, Tensor]:
    """Return log-frequency spectra (count, 120) of single tones, and the timbre of each (count,)."""
    timbre = torch.randint(len(TIMBRES), (count,), generator=generator)
    pitch = torch.rand(count, 1, generator=generator) * 36
    place = pitch + 24 * torch.arange(1, 13).log2()  # position of the partials, in quarter tones above the lowest tone
    distance = place[:, :, None] - torch.arange(120)
    return (TIMBRES[timbre][:, :, None] * torch.exp(-(distance**2))).sum(1), timbre


def view(spectra: Tensor) -> Tensor:
    """Return the sounds with a random level and random noise."""
    level = 0.5 + torch.rand(len(spectra), 1, generator=generator)
    return level * spectra + 0.1 * torch.randn(spectra.shape, generator=generator).abs()


def precision(encoder: nn.Module) -> float:
    """Return the fraction of the 50 nearest neighbors of a new sound that have the same timbre."""
    spectra, timbre = sounds(800)
    with torch.no_grad():
        embeddings = nn.functional.normalize(encoder(spectra), dim=1)
    nearest = (embeddings @ embeddings.T).fill_diagonal_(-1).topk(50).indices
    return (timbre[nearest] == timbre[:, None]).float().mean().item()


train, labels = sounds(2000)
labeled = torch.arange(len(train)) < len(train) // 20  # the sounds are in random order

for name, use_labels in (("no labels", False), ("5 % of the labels", True)):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(120, 256), nn.ReLU(), nn.Linear(256, 64))
    optimizer = torch.optim.Adam(encoder.parameters(), lr=1e-3)
    criterion = SemiSupConLoss(temperature=0.1)
    for _ in range(options.steps):
        # Half of a batch is labeled, so that some items of a batch have the same label.
        some = torch.randint(labeled.sum(), (48,), generator=generator)
        others = torch.randint(labeled.sum(), len(train), (48,), generator=generator)
        batch = torch.cat([some, others])
        views = torch.stack([view(train[batch]), view(train[batch])], dim=1)  # (items, views, 120)
        loss = criterion(encoder(views), labels=labels[batch], labeled=labeled[batch] & use_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"{name}: loss {loss.item():.2f}, neighbors of the same timbre {precision(encoder):.2f}")
