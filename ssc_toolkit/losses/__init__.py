"""Contrastive losses over embeddings and target weights."""

from ssc_toolkit.losses.modules import NTXentLoss, SemiSupConLoss, SupConLoss

__all__ = ["NTXentLoss", "SemiSupConLoss", "SupConLoss"]
