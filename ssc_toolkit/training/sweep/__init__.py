"""Execution of studies, which are several pretrainings that a YAML file describes, one after another."""

from ssc_toolkit.training.sweep.sweep import sweep

__all__ = ["sweep"]
