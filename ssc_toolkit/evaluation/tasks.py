"""Prediction tasks on the test tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Task:
    """A prediction task on the test tracks.

    Attributes:
        name: name of the task in reports.
        column: key of its probes, such as a label column.
        subset: (tracks,) bool; only the test tracks where it is True are scored. All test tracks if None.
    """

    name: str
    column: str
    subset: np.ndarray | None = None
