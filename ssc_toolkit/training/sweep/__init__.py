"""Studies, which are several pretrainings that a file describes. They run one after another."""

from ssc_toolkit.training.sweep.sweep import sweep

__all__ = ["sweep"]
