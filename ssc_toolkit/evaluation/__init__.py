"""Evaluation of embeddings by probes, retrieval, robustness to corrupted audio, and geometry."""

from ssc_toolkit.evaluation.baselines import LogMelStatistics, MFCCStatistics
from ssc_toolkit.evaluation.comparison import Comparison, compare_models, robustness
from ssc_toolkit.evaluation.conditions import Condition, conditions_for, fixed_conditions
from ssc_toolkit.evaluation.embedding.extract import WindowEmbeddings, embed_models, embed_tracks, embed_windows
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import as_model, open_model
from ssc_toolkit.evaluation.embedding.readout import layer_widths
from ssc_toolkit.evaluation.embedding.tagging import Tagger, open_tagger, tag_tracks
from ssc_toolkit.evaluation.metrics.bootstrap import Interval, bootstrap_mean
from ssc_toolkit.evaluation.metrics.scores import (
    Predictions,
    Score,
    detectable_difference,
    measure,
    paired_difference,
    relative_drop,
)
from ssc_toolkit.evaluation.probing.few_labels import few_label_curve, prototypes
from ssc_toolkit.evaluation.probing.finetuning import FineTuned, finetune
from ssc_toolkit.evaluation.probing.probe import Probe, fit_probe, probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import Results, make_score_row
from ssc_toolkit.evaluation.retrieval.geometry import Geometry, effective_rank, embedding_geometry
from ssc_toolkit.evaluation.retrieval.neighbors import neighbor_agreement
from ssc_toolkit.evaluation.retrieval.ranking import retrieval
from ssc_toolkit.evaluation.tasks import Task

__all__ = [
    "Comparison",
    "Condition",
    "FineTuned",
    "FixedCorruption",
    "Geometry",
    "Interval",
    "LogMelStatistics",
    "MFCCStatistics",
    "Predictions",
    "Probe",
    "Results",
    "Score",
    "Tagger",
    "Task",
    "WindowEmbeddings",
    "as_model",
    "bootstrap_mean",
    "compare_models",
    "conditions_for",
    "detectable_difference",
    "effective_rank",
    "embed_models",
    "embed_tracks",
    "embed_windows",
    "embedding_geometry",
    "few_label_curve",
    "finetune",
    "fit_probe",
    "fixed_conditions",
    "layer_widths",
    "make_score_row",
    "measure",
    "neighbor_agreement",
    "open_model",
    "open_tagger",
    "paired_difference",
    "probe",
    "prototypes",
    "provenance_of",
    "relative_drop",
    "retrieval",
    "robustness",
    "tag_tracks",
]
