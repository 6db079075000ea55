"""Corpora of clips of compositions and of single notes, which are rendered on the local machine without a download."""

from ssc_toolkit.data.corpus.annotations import annotate_corpus
from ssc_toolkit.data.corpus.corpus import build_corpus
from ssc_toolkit.data.corpus.notes import build_notes

__all__ = ["annotate_corpus", "build_corpus", "build_notes"]
