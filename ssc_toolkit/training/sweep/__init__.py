"""Studies: one pretraining after the other, as a file describes them."""

from ssc_toolkit.training.sweep.study import read_study, sweep

__all__ = ["read_study", "sweep"]
