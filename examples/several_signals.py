"""Supervision by three label signals at once: tags, key and tempo. Each is known for different tracks.

Two tracks are positives by tags if they have two tags in common. By key, their weight depends on the relation of their
keys. By tempo, it depends on the distance of their tempi on a logarithmic axis. The weight of a pair is the largest of
the three weights.

    python examples/several_signals.py --steps=100
"""

from __future__ import annotations

import argparse
import dataclasses

import torch
from torch.utils.data import DataLoader

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import ContrastiveDataset, Labels, check_audio, encode_labels, load_tracks
from ssc_toolkit.data.corpus import build_corpus
from ssc_toolkit.data.key_names import KEYS
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.losses import SemiSupConLoss, contrastive_statistics
from ssc_toolkit.samplers import SemiSupervisedBatchSampler
from ssc_toolkit.targets import KeySimilarity, MaxTarget, SharedLabels, TempoKernel

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--steps", type=int, default=100)
arguments.add_argument("--batch_size", type=int, default=96)
arguments.add_argument("--clips", type=int, default=4000, help="size of the default corpus")
options = arguments.parse_args()
torch.manual_seed(0)

tracks = check_audio(load_tracks(build_corpus(options.clips) / "tracks.csv"), min_seconds=3.0)
train = tracks.select(tracks["split"] == "train")

# Tags in one cell, separated by "|", become multi-hot rows.
train = train.assign(tags=train["family"] + "|" + train["mode"] + "|" + train["collection"])


def known_for(signal: Labels, share: float, seed: int) -> Labels:
    """Return a signal whose labels are known only for a random fraction of the tracks."""
    drawn = torch.rand(len(signal.labeled), generator=torch.Generator().manual_seed(seed)) < share
    return dataclasses.replace(signal, labeled=signal.labeled & drawn)


keys = encode_labels(train, "key", names=KEYS)  # numbered as in KeySimilarity: semitones above C, plus 12 in minor
tempo = encode_labels(train, "tempo_bpm", kind="number")  # unknown where the score has no meter
signals = {
    "tags": known_for(encode_labels(train, "tags"), share=0.5, seed=1),
    "key": known_for(keys, share=0.2, seed=2),
    "tempo": known_for(dataclasses.replace(tempo, values=tempo.values[:, 0]), share=0.5, seed=3),
}
for name, signal in signals.items():
    print(f"{name}: known for {int(signal.labeled.sum())} of {len(train)} tracks")

# A track counts as labeled if any of its signals is known. Each signal is used only for pairs in which it is known.
some_label = torch.stack([signal.labeled for signal in signals.values()]).any(0)
sampler = SemiSupervisedBatchSampler(
    labeled=some_label.nonzero()[:, 0].tolist(),
    unlabeled=(~some_label).nonzero()[:, 0].tolist(),
    batch_size=options.batch_size,
    labeled_fraction=0.75,
    steps=options.steps,
)
dataset = ContrastiveDataset(train, sample_rate=16000, view_seconds=3.0, labels=signals)

# Pitch shift is omitted because it would change the keys. The chain has no time stretch, which would change the tempi.
augment = semisupcon_chain(sample_rate=16000, omit=("pitch_shift",))
model = ContrastiveModel(MelCNN(sample_rate=16000))
target = MaxTarget({"tags": SharedLabels(minimum=2), "key": KeySimilarity(), "tempo": TempoKernel(0.06)})
criterion = SemiSupConLoss(temperature=0.1, target=target)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for step, batch in enumerate(DataLoader(dataset, batch_sampler=sampler), start=1):
    embeddings = model(augment(batch["waveforms"])).projection
    loss = criterion(embeddings, labels=batch["labels"], labeled=batch["labeled"])  # two dictionaries
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 0 or step == options.steps:
        found = contrastive_statistics(embeddings.detach(), batch["labels"], labeled=batch["labeled"], target=target)
        print(
            f"step {step:4}  loss {loss.item():.3f}  positives per anchor {found['positives_per_anchor']:.1f}",
            flush=True,
        )
