"""Files on disk, track tables, tensors."""

from ssc_toolkit.audio import UnreadableAudio, audio_info, read_audio
from ssc_toolkit.data.dataset import ContrastiveDataset
from ssc_toolkit.data.labels import Labels, encode_labels
from ssc_toolkit.data.tracks import check_audio, load_tracks, with_splits

__all__ = [
    "ContrastiveDataset",
    "Labels",
    "UnreadableAudio",
    "audio_info",
    "check_audio",
    "encode_labels",
    "load_tracks",
    "read_audio",
    "with_splits",
]
