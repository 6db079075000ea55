"""Options of the commands. Each command has one class, which Python, YAML files, the command line and `--help` use.

No module here imports torch or pandas, so that `--help` and errors in options are fast.
"""

from ssc_toolkit.options.batches import BatchOptions, UnlabeledSource
from ssc_toolkit.options.compare import CompareOptions
from ssc_toolkit.options.corpus import CorpusOptions
from ssc_toolkit.options.demo import DemoOptions
from ssc_toolkit.options.doctor import DoctorOptions
from ssc_toolkit.options.embed import EmbedOptions
from ssc_toolkit.options.encoder import EncoderOptions
from ssc_toolkit.options.export import ExportOptions
from ssc_toolkit.options.frames import FramesOptions
from ssc_toolkit.options.prepare import PrepareOptions
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.probe import ProbeOptions
from ssc_toolkit.options.retrieval import RetrievalOptions
from ssc_toolkit.options.robustness import RobustnessOptions
from ssc_toolkit.options.segments import SegmentOptions
from ssc_toolkit.options.sweep import SweepOptions
from ssc_toolkit.options.table import TableOptions
from ssc_toolkit.options.tag import TagOptions
from ssc_toolkit.options.targets import SignalOptions, TargetOptions
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.options.training import (
    LogOptions,
    LossOptions,
    OptimizerOptions,
    ProjectorOptions,
    ReadoutOptions,
    TrainerOptions,
)
from ssc_toolkit.options.validation import ValidationOptions

__all__ = [
    "BatchOptions",
    "CompareOptions",
    "CorpusOptions",
    "DemoOptions",
    "DoctorOptions",
    "EmbedOptions",
    "EncoderOptions",
    "ExportOptions",
    "FramesOptions",
    "LogOptions",
    "LossOptions",
    "OptimizerOptions",
    "PrepareOptions",
    "PretrainOptions",
    "ProbeOptions",
    "ProjectorOptions",
    "ReadoutOptions",
    "RetrievalOptions",
    "RobustnessOptions",
    "SegmentOptions",
    "SignalOptions",
    "SweepOptions",
    "TableOptions",
    "TagOptions",
    "TargetOptions",
    "TrackSource",
    "TrainerOptions",
    "UnlabeledSource",
    "ValidationOptions",
]
