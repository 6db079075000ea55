"""Pretraining with Lightning: module, data module, callbacks and options."""

from ssc_toolkit.options import (
    BatchOptions,
    EncoderOptions,
    LogOptions,
    LossOptions,
    OptimizerOptions,
    PretrainOptions,
    ProjectorOptions,
    ReadoutOptions,
    SegmentOptions,
    SignalOptions,
    TargetOptions,
    TrackSource,
    TrainerOptions,
    UnlabeledSource,
    ValidationOptions,
)
from ssc_toolkit.training.callbacks.best_checkpoint import BestCheckpoint
from ssc_toolkit.training.callbacks.collapse import CollapseWarning
from ssc_toolkit.training.callbacks.finite_weights import FiniteWeights
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.callbacks.saving import SaveCheckpoints
from ssc_toolkit.training.callbacks.stopping import StopOnSignal
from ssc_toolkit.training.callbacks.validation import Validation
from ssc_toolkit.training.callbacks.weight_average import WeightAverage
from ssc_toolkit.training.checkpoints import AtomicCheckpointIO
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.pretrain import pretrain
from ssc_toolkit.training.validation import ValidationSet

__all__ = [
    "AtomicCheckpointIO",
    "BatchOptions",
    "BestCheckpoint",
    "CollapseWarning",
    "EncoderOptions",
    "FiniteWeights",
    "History",
    "LogOptions",
    "LossOptions",
    "OptimizerOptions",
    "PretrainOptions",
    "ProjectorOptions",
    "ReadoutOptions",
    "SaveCheckpoints",
    "SegmentOptions",
    "SemiSupConDataModule",
    "SemiSupConModule",
    "SignalOptions",
    "StopOnSignal",
    "TargetOptions",
    "TrackSource",
    "TrainerOptions",
    "UnlabeledSource",
    "Validation",
    "ValidationOptions",
    "ValidationSet",
    "WeightAverage",
    "pretrain",
]
