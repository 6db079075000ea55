"""Contrastive losses for partly labeled batches of embeddings."""

from ssc_toolkit.losses.class_weights import class_balanced_weights
from ssc_toolkit.losses.cross_batch_memory import CrossBatchMemory
from ssc_toolkit.losses.functional import semi_supcon_loss
from ssc_toolkit.losses.gradient_cache import cached_backward
from ssc_toolkit.losses.modules import NTXentLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.losses.rank_n_contrast import RankNContrastLoss
from ssc_toolkit.losses.separate_heads import SeparateHeadsLoss
from ssc_toolkit.losses.statistics import contrastive_statistics
from ssc_toolkit.losses.temperature import LearnableTemperature

__all__ = [
    "CrossBatchMemory",
    "LearnableTemperature",
    "NTXentLoss",
    "RankNContrastLoss",
    "SemiSupConLoss",
    "SeparateHeadsLoss",
    "SupConLoss",
    "cached_backward",
    "class_balanced_weights",
    "contrastive_statistics",
    "semi_supcon_loss",
]
