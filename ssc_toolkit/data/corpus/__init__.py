"""Corpora that are rendered on the user's machine without a download: real compositions, and single notes."""

from ssc_toolkit.data.corpus.corpus import build_corpus
from ssc_toolkit.data.corpus.notes import build_notes

__all__ = ["build_corpus", "build_notes"]
