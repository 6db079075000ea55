"""Metrics, their confidence intervals, and records of scores."""
