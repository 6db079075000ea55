"""Rendered corpora that anyone can make offline: real compositions, and single notes."""

from ssc_toolkit.data.scores.corpus import build_corpus
from ssc_toolkit.data.scores.notes import build_notes

__all__ = ["build_corpus", "build_notes"]
