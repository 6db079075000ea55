"""Names and limits that options accept.

METHODS, DATASETS, ENCODERS, TARGETS, ENCODER_FILES, PUBLISHED_MODELS, HUB_PREFIX, STAGES, CLMR_STAGES, PRESETS,
CORRUPTIONS and MAX_SEVERITY are copies, because the modules that define them are slow to import. A test compares the
copies with the originals.
"""

from __future__ import annotations

METHODS = ("linear", "mlp", "knn", "prototypes", "weighted_layers")
"""Names of the methods of probes."""
FINETUNE = "finetune"
"""Name of the method of `probe` that trains the whole encoder."""

LEAVE_ONE_OUT = "groups"
"""Value of `folds` that makes each group a fold of cross-validation."""

DEFAULT_CORPUS = "scores"
DATASETS = ("magnatagatune", "mtg_jamendo", "gtzan", "giantsteps", "nsynth", "vocalset", "medleydb", "emomusic", "fma")
STORE_FILE = "store.json"
"""Name of the file that makes a folder an audio store."""
SHARDS = "shards"
"""Name of the folder with the audio of a store."""
ENCODERS = {
    "MelCNN": ("sample_rate", "n_mels", "n_fft", "hop_length", "max_hz", "channels", "embedding_dim"),
    "SampleCNN": ("sample_rate", "strides"),
    "SampleCNNXL": ("sample_rate", "strides"),
    "TUNePlus": ("sample_rate", "channels"),
    "ShortChunkCNN": ("sample_rate", "channels", "residual"),
}
"""Names of the arguments of each class of encoders."""
TARGETS = {
    "SameClass": (),
    "SharedLabels": ("minimum", "threshold"),
    "LabelOverlap": ("measure", "threshold"),
    "TaggramCosine": (),
    "GaussianKernel": ("bandwidth",),
    "TempoKernel": ("bandwidth_octaves", "octave_blind"),
    "KeySimilarity": ("kernel", "bandwidth_fifths"),
    "SimilarityMatrix": ("matrix",),
}
"""Names of the arguments of each class of targets that `pretrain` accepts. The argument `matrix` is a file."""
ENCODER_FILES = ("config.json", "model.safetensors")
"""Names of the files of a saved encoder."""
PUBLISHED_MODELS = ("MTT_musicnn", "MSD_musicnn")
"""Names of the published models that can be used in place of the folder of a saved encoder."""
HUB_PREFIX = "hf:"
"""Beginning of the name of an encoder on the Hugging Face Hub."""
PROJECTOR_FILES = ("projector.json", "projector.safetensors")
"""Names of the files of a projector next to an encoder."""

CHAIN = "chain"
"""Name among the corruptions that means the whole augmentation chain."""
STAGES = ("gain", "polarity_inversion", "colored_noise", "filter", "pitch_shift", "delay")
"""Names of the stages of `semisupcon_chain` in order, for its argument `omit`."""
CLMR_STAGES = ("polarity_inversion", "colored_noise", "gain", "filter", "delay", "pitch_shift", "reverb")
"""Names of the stages of `clmr_chain` in order, for its argument `omit`."""
PRESETS = {"semisupcon": STAGES, "semisupcon_published": STAGES, "clmr": CLMR_STAGES}
"""Names of the preset chains of a training, with the names of their stages."""
CORRUPTIONS = (
    *STAGES,
    *("time_stretch", "splice_out", "reverb", "chorus", "distortion", "compression", "reverse", "bitcrush", "mp3"),
)
"""Names that `corruption` accepts: the stages of `semisupcon_chain`, and others that are not used in pretraining."""
MAX_SEVERITY = 2.5
SEVERITIES = (0.0, 1.0, 2.0)

CUTOFFS = (1, 5, 10)
"""Default values of k for hit rate@k and precision@k."""
EMBEDDING_SUFFIXES = (".npz", ".parquet")
