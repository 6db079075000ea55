"""Metrics of predictions, and their bootstrap confidence intervals."""
