"""Loading of audio and labels: track tables, audio stores, and datasets of views."""

from ssc_toolkit.audio import UnreadableAudio, audio_info, read_audio, stream_audio
from ssc_toolkit.data.concat import JoinedDataset
from ssc_toolkit.data.dataset import ContrastiveDataset, as_float
from ssc_toolkit.data.labels import Labels, encode_labels
from ssc_toolkit.data.recipes import RECIPES, describe_dataset
from ssc_toolkit.data.store import AudioStore, Verification, prepare_store, verify_store
from ssc_toolkit.data.track_table import TrackTable, as_track_table
from ssc_toolkit.data.tracks import dataset_of, from_csv, from_folder, load_tracks, with_splits
from ssc_toolkit.data.validation import check_audio

__all__ = [
    "RECIPES",
    "AudioStore",
    "ContrastiveDataset",
    "JoinedDataset",
    "Labels",
    "TrackTable",
    "UnreadableAudio",
    "Verification",
    "as_float",
    "as_track_table",
    "audio_info",
    "check_audio",
    "dataset_of",
    "describe_dataset",
    "encode_labels",
    "from_csv",
    "from_folder",
    "load_tracks",
    "prepare_store",
    "read_audio",
    "stream_audio",
    "verify_store",
    "with_splits",
]
