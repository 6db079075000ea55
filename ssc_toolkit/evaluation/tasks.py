"""Prediction task on the test tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Task:
    """A prediction task on the test tracks.

    Attributes:
        name: name of the task in reports.
        column: name of the label column to predict.
        subset: (tracks,) bool. Only test tracks where `subset` is True are scored. None scores all test tracks.
    """

    name: str
    column: str
    subset: np.ndarray | None = None
