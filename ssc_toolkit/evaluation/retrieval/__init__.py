"""Retrieval metrics, nearest neighbors, and the geometry of embeddings."""
