"""Embeddings with labels that they hold, for probes."""

from __future__ import annotations

import numpy as np
import pandas as pd


def labeled_points(classes: int = 3, count: int = 300, spread: float = 0.5, seed: int = 0):
    random = np.random.default_rng(seed)
    label = random.integers(classes, size=count)
    centers = 3 * random.normal(size=(classes, 8))
    embeddings = (centers[label] + spread * random.normal(size=(count, 8))).astype(np.float32)
    split = np.repeat(["train", "valid", "test"], [200, 40, 60])
    tracks = pd.DataFrame({"split": split, "label": [f"class {number}" for number in label]})
    return embeddings, tracks
