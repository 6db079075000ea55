"""Commands that evaluate encoders, one file per command."""

from ssc_toolkit.evaluation.commands.compare import compare
from ssc_toolkit.evaluation.commands.embed import embed
from ssc_toolkit.evaluation.commands.probe import probe
from ssc_toolkit.evaluation.commands.retrieve import retrieve
from ssc_toolkit.evaluation.commands.stress import stress

__all__ = ["compare", "embed", "probe", "retrieve", "stress"]
