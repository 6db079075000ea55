"""Pretraining with Lightning: module, data module, callbacks and options."""

from ssc_toolkit.options import (
    LogOptions,
    LossOptions,
    OptimizerOptions,
    PretrainOptions,
    ProjectorOptions,
    SegmentOptions,
    TrackSource,
    TrainerOptions,
)
from ssc_toolkit.training.callbacks.finite_weights import FiniteWeights
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.callbacks.stopping import StopOnSignal
from ssc_toolkit.training.checkpoints import AtomicCheckpointIO
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.pretrain import pretrain

__all__ = [
    "AtomicCheckpointIO",
    "FiniteWeights",
    "History",
    "LogOptions",
    "LossOptions",
    "OptimizerOptions",
    "PretrainOptions",
    "ProjectorOptions",
    "SegmentOptions",
    "SemiSupConDataModule",
    "SemiSupConModule",
    "StopOnSignal",
    "TrackSource",
    "TrainerOptions",
    "pretrain",
]
