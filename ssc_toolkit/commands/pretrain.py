"""The command `ssc-toolkit pretrain`."""

from ssc_toolkit.training import pretrain

__all__ = ["pretrain"]
