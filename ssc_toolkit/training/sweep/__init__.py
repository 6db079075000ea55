"""Studies: one pretraining after the other, as a file describes them."""

from ssc_toolkit.training.sweep.sweep import sweep

__all__ = ["sweep"]
