"""The method assembled."""

from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.pretrain import pretrain

__all__ = ["SemiSupConDataModule", "SemiSupConModule", "pretrain"]
