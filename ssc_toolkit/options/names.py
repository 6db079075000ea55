"""Names that options accept, for rooms whose imports take seconds; tests compare them with what those rooms have."""

from __future__ import annotations

METHODS = ("linear", "mlp", "knn", "prototypes")
"""Methods of probes."""
FINETUNE = "finetune"
"""Method that trains the whole encoder."""
DATASETS = ("magnatagatune", "mtg_jamendo", "gtzan", "giantsteps", "nsynth", "vocalset", "medleydb", "emomusic", "fma")
SEVERITIES = (0.0, 1.0, 2.0)
CUTOFFS = (1, 5, 10)
EMBEDDING_SUFFIXES = (".npz", ".parquet")
