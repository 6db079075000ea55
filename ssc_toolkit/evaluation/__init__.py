"""Evaluation of embeddings: probes, retrieval, robustness, geometry and reports."""

from ssc_toolkit.evaluation.baselines import LogMelStatistics
from ssc_toolkit.evaluation.bootstrap import Interval, bootstrap_mean
from ssc_toolkit.evaluation.comparison import Comparison, Condition, compare_models, conditions_for, paired_difference
from ssc_toolkit.evaluation.corrupted import Task, robustness, robustness_of_models
from ssc_toolkit.evaluation.draws import FixedCorruption
from ssc_toolkit.evaluation.embed import WindowEmbeddings, embed_models, embed_tracks, embed_windows
from ssc_toolkit.evaluation.few_labels import few_label_curve, prototypes
from ssc_toolkit.evaluation.finetuning import FineTuned, finetune
from ssc_toolkit.evaluation.geometry import Geometry, embedding_geometry
from ssc_toolkit.evaluation.models import as_model, open_model
from ssc_toolkit.evaluation.neighbors import neighbor_agreement
from ssc_toolkit.evaluation.probing import Probe, fit_probe, probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.ranking import retrieval
from ssc_toolkit.evaluation.records import Record, to_records
from ssc_toolkit.evaluation.scores import Predictions, Score, measure, relative_drop

__all__ = [
    "Comparison",
    "Condition",
    "FineTuned",
    "FixedCorruption",
    "Geometry",
    "Interval",
    "LogMelStatistics",
    "Predictions",
    "Probe",
    "Record",
    "Score",
    "Task",
    "WindowEmbeddings",
    "as_model",
    "bootstrap_mean",
    "compare_models",
    "conditions_for",
    "embed_models",
    "embed_tracks",
    "embed_windows",
    "embedding_geometry",
    "few_label_curve",
    "finetune",
    "fit_probe",
    "measure",
    "neighbor_agreement",
    "open_model",
    "paired_difference",
    "probe",
    "prototypes",
    "provenance_of",
    "relative_drop",
    "retrieval",
    "robustness",
    "robustness_of_models",
    "to_records",
]
