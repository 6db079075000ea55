"""Loading of audio and labels: track tables, stores of decoded audio, and datasets of views."""

from ssc_toolkit.audio import UnreadableAudio, read_audio, read_audio_info, stream_audio
from ssc_toolkit.data.concat import JoinedDataset
from ssc_toolkit.data.dataset import ContrastiveDataset, as_float
from ssc_toolkit.data.folders import from_folder
from ssc_toolkit.data.labels import Labels, encode_labels
from ssc_toolkit.data.recipes import RECIPES, describe_dataset
from ssc_toolkit.data.store.prepare import prepare_store
from ssc_toolkit.data.store.reader import AudioStore
from ssc_toolkit.data.store.verify import Verification, verify_store
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.data.tracks import add_splits, as_track_table, dataset_of, from_csv, load_tracks
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
    "add_splits",
    "as_float",
    "as_track_table",
    "check_audio",
    "dataset_of",
    "describe_dataset",
    "encode_labels",
    "from_csv",
    "from_folder",
    "load_tracks",
    "prepare_store",
    "read_audio",
    "read_audio_info",
    "stream_audio",
    "verify_store",
]
