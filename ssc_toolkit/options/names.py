"""Names and limits that options accept.

The packages that use them are slow to import. The tests compare these names with those of the packages.
"""

from __future__ import annotations

METHODS = ("linear", "mlp", "knn", "prototypes")
"""Methods of probes."""
FINETUNE = "finetune"
"""Method that trains the whole encoder."""

DEFAULT_CORPUS = "scores"
DATASETS = ("magnatagatune", "mtg_jamendo", "gtzan", "giantsteps", "nsynth", "vocalset", "medleydb", "emomusic", "fma")
STORE_FILE = "store.json"
"""Name of the file that makes a folder an audio store."""
SHARDS = "shards"
"""Name of the folder with the audio of a store."""
ENCODER_FILES = ("config.json", "model.safetensors")
"""Names of the files of a saved encoder."""

CHAIN = "chain"
"""Name of the whole augmentation chain among the corruptions."""
STAGES = ("gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay")
CORRUPTIONS = (
    *STAGES,
    *("time_stretch", "splice_out", "reverb", "chorus", "distortion", "compression", "reverse", "bitcrush", "mp3"),
)
MAX_SEVERITY = 2.5
SEVERITIES = (0.0, 1.0, 2.0)

CUTOFFS = (1, 5, 10)
"""Values of k for recall@k and precision@k."""
EMBEDDING_SUFFIXES = (".npz", ".parquet")
