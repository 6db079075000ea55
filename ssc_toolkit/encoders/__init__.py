"""Waveform in, embedding out."""

from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.log_mel import LogMel
from ssc_toolkit.encoders.mel_cnn import MelCNN
from ssc_toolkit.encoders.pretrained import ENCODERS, load_encoder, make_encoder, reinitialized
from ssc_toolkit.encoders.projector import ContrastiveModel, ModelOutput, Projector
from ssc_toolkit.encoders.published import load_published
from ssc_toolkit.encoders.sample_cnn import SampleCNN

__all__ = [
    "ENCODERS",
    "ContrastiveModel",
    "Encoder",
    "LogMel",
    "MelCNN",
    "ModelOutput",
    "Projector",
    "SampleCNN",
    "load_encoder",
    "load_published",
    "make_encoder",
    "reinitialized",
]
