"""Pretraining: Lightning module, data module, callbacks and options."""

from ssc_toolkit.training.checkpoints import AtomicCheckpointIO, FiniteWeights
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.history import History
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.options import LogOptions, OptimizerOptions, TrainerOptions
from ssc_toolkit.training.pretrain import pretrain
from ssc_toolkit.training.stopping import StopOnSignal

__all__ = [
    "AtomicCheckpointIO",
    "FiniteWeights",
    "History",
    "LogOptions",
    "OptimizerOptions",
    "SemiSupConDataModule",
    "SemiSupConModule",
    "StopOnSignal",
    "TrainerOptions",
    "pretrain",
]
