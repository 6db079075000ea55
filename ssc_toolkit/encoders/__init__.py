"""Encoders that map waveforms to embeddings."""

from ssc_toolkit.encoders.adapter import EncoderAdapter
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.log_mel import LogMel
from ssc_toolkit.encoders.mel_cnn import MelCNN
from ssc_toolkit.encoders.model_files import load_model, load_projector, save_model
from ssc_toolkit.encoders.musicnn import MusiCNN
from ssc_toolkit.encoders.pretrained import ENCODERS, load_encoder, make_encoder, reinitialize
from ssc_toolkit.encoders.projector import ContrastiveModel, ModelOutput, Projector, ProjectorHeads
from ssc_toolkit.encoders.published import load_published, load_published_model
from ssc_toolkit.encoders.readout import Readout
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.encoders.sample_cnn_xl import SampleCNNXL
from ssc_toolkit.encoders.short_chunk_cnn import ShortChunkCNN
from ssc_toolkit.encoders.tune_plus import TUNePlus

__all__ = [
    "ENCODERS",
    "ContrastiveModel",
    "Encoder",
    "EncoderAdapter",
    "LogMel",
    "MelCNN",
    "ModelOutput",
    "MusiCNN",
    "Projector",
    "ProjectorHeads",
    "Readout",
    "SampleCNN",
    "SampleCNNXL",
    "ShortChunkCNN",
    "TUNePlus",
    "load_encoder",
    "load_model",
    "load_projector",
    "load_published",
    "load_published_model",
    "make_encoder",
    "reinitialize",
    "save_model",
]
