"""Nearest neighbors, ranking, and the geometry of an embedding."""
