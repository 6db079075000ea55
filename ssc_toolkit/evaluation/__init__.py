"""What an embedding is worth: probes, neighbours, robustness, reports."""

from ssc_toolkit.evaluation.baselines import LogMelStatistics
from ssc_toolkit.evaluation.bootstrap import Interval, bootstrap_mean
from ssc_toolkit.evaluation.corrupted import Task, robustness
from ssc_toolkit.evaluation.embed import embed_tracks
from ssc_toolkit.evaluation.neighbors import neighbor_agreement
from ssc_toolkit.evaluation.probing import Probe, Score, fit_probe, probe

__all__ = [
    "Interval",
    "LogMelStatistics",
    "Probe",
    "Score",
    "Task",
    "bootstrap_mean",
    "embed_tracks",
    "fit_probe",
    "neighbor_agreement",
    "probe",
    "robustness",
]
