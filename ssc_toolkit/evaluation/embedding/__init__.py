"""Embeddings of tracks: models, windows, extraction, cache."""
