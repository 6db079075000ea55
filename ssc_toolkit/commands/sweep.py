"""The command `ssc-toolkit sweep`."""

from ssc_toolkit.training.sweep import sweep

__all__ = ["sweep"]
