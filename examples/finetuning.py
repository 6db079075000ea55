"""Fine-tuning of a pretrained encoder and a linear head on a few labels, compared with a probe of the frozen encoder.

python examples/finetuning.py --encoder=demo/self-supervised/encoder --labels=key --label_fraction=0.1
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.data.corpus import build_corpus
from ssc_toolkit.encoders import MelCNN, load_encoder
from ssc_toolkit.evaluation import embed_tracks, finetune, fit_probe

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--encoder", type=Path, help="folder of a pretrained encoder; random weights by default")
arguments.add_argument("--labels", default="key", help="name of a label column")
arguments.add_argument("--label_fraction", type=float, default=0.1, help="fraction of the training labels to use")
arguments.add_argument("--steps", type=int, default=500)
arguments.add_argument("--batch_size", type=int, default=32)
arguments.add_argument("--clips", type=int, default=4000, help="size of the default corpus")
arguments.add_argument("--out", type=Path, default=Path("finetuned"))
options = arguments.parse_args()
torch.manual_seed(0)

tracks = check_audio(load_tracks(build_corpus(options.clips) / "tracks.csv"), min_seconds=3.0)
encoder = load_encoder(options.encoder) if options.encoder else MelCNN()

# Frozen encoder: embed every track once, and fit a linear head to the embeddings. The scores are for the test set.
frozen = embed_tracks(encoder, tracks)
probe = fit_probe(frozen, tracks, options.labels, label_fraction=options.label_fraction)
print(f"frozen:     {probe.score(frozen, tracks).headline}")

# Whole encoder: train it together with a head of the same shape. The learning rate of the encoder is a tenth of that of
# the head. The weights with the best score on the validation set are kept.
tuned = finetune(
    encoder,
    tracks,
    options.labels,
    label_fraction=options.label_fraction,
    steps=options.steps,
    batch_size=options.batch_size,
    evaluate_every=max(1, options.steps // 10),
)
embeddings = embed_tracks(tuned.model, tracks)
print(f"fine-tuned: {tuned.probe.score(embeddings, tracks).headline}")

# The encoder is saved without the head.
tuned.model.save_pretrained(options.out)
print(f"saved to {options.out}")
