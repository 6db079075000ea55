"""The jobs of the command line that look at an encoder, a file a command."""

from ssc_toolkit.evaluation.commands.embed import embed
from ssc_toolkit.evaluation.commands.probe import probe
from ssc_toolkit.evaluation.commands.retrieve import retrieve
from ssc_toolkit.evaluation.commands.stress import stress

__all__ = ["embed", "probe", "retrieve", "stress"]
