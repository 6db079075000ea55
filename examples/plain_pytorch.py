"""Semi-supervised contrastive pretraining in one page of plain PyTorch.

The default corpus has a key label for every clip. This example uses 5 % of the labels of the training set.

    python examples/plain_pytorch.py --steps=100
"""

from __future__ import annotations

import argparse

import torch
from torch.utils.data import DataLoader

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import ContrastiveDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.data.corpus import build_corpus
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.evaluation import embed_tracks, probe
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.samplers import AdjacentSegments, SemiSupervisedBatchSampler
from ssc_toolkit.targets import SameClass

arguments = argparse.ArgumentParser(description=__doc__)
arguments.add_argument("--steps", type=int, default=100)
arguments.add_argument("--batch_size", type=int, default=96)
arguments.add_argument("--clips", type=int, default=4000, help="size of the default corpus")
options = arguments.parse_args()
torch.manual_seed(0)

# Tracks: a table with a row for each file. The corpus is rendered first if it is not in the cache.
tracks = check_audio(load_tracks(build_corpus(options.clips) / "tracks.csv"), min_seconds=3.0)
train = tracks.select(tracks["split"] == "train")
labels = encode_labels(train, "key")

# Batches: half of each batch is labeled, drawn from the 5 % of the labels that are used.
sampler = SemiSupervisedBatchSampler(
    labeled=labels.labeled.nonzero()[:, 0].tolist(),
    unlabeled=(~labels.labeled).nonzero()[:, 0].tolist(),
    batch_size=options.batch_size,
    labeled_fraction=0.5,
    label_budget=0.05,
    labels=labels.values[labels.labeled],
)
dataset = ContrastiveDataset(train, sample_rate=16000, view_seconds=3.0, labels=labels, view_sampler=AdjacentSegments())
loader = DataLoader(dataset, batch_sampler=sampler)

# The method: augment each view separately, embed it, and compute the loss. Pitch shift would make the key labels wrong.
augment = semisupcon_chain(sample_rate=16000, severity=1.0, omit=("pitch_shift",))
model = ContrastiveModel(MelCNN(sample_rate=16000))
criterion = SemiSupConLoss(temperature=0.1, target=SameClass())
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

step = 0
while step < options.steps:
    for batch in loader:
        views = augment(batch["waveforms"])  # (items, views, channels, samples)
        loss = criterion(model(views).projection, labels=batch["labels"], labeled=batch["labeled"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 10 == 0 or step == options.steps:
            print(f"step {step:4}  loss {loss.item():.3f}", flush=True)
        if step == options.steps:
            break

# Evaluation: a linear probe on the frozen representation, on tunes that are not in the training set.
embeddings = embed_tracks(model.encoder, tracks, window_seconds=3.0)
for column in ("key", "family"):
    print(f"{column}: accuracy {probe(embeddings, tracks, column).headline} (95 % interval over test tunes)")
