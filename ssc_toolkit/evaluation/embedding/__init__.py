"""Computation of embeddings: models, windows of tracks, corruption of audio, and a disk cache."""
