"""Selection of the training tracks that a probe is fitted to."""

from __future__ import annotations

import numpy as np
import torch

from ssc_toolkit.checks import check_fractions
from ssc_toolkit.data import Labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.samplers import label_budget


def choose_training_rows(rows: np.ndarray, labels: Labels, label_fraction: float, seed: int) -> np.ndarray:
    """Select a fraction of the labeled training rows, and return them in the order of the table.

    The selection starts with one row of every class, and contains all rows that a smaller fraction selects.

    Args:
        rows: row numbers of the labeled training tracks.
        labels: labels of all tracks.
        label_fraction: fraction of the rows, in (0, 1].
        seed: seed of the selection.

    Returns:
        Selected row numbers.

    Raises:
        InputError: if the fraction is not in (0, 1], or if the selected rows have fewer than two classes.
    """
    check_fractions("label_fraction", [label_fraction])
    if label_fraction == 1:
        return rows
    values = labels.values[torch.from_numpy(rows)]
    signal = torch.zeros(len(rows), dtype=torch.int64) if labels.kind == "number" else values
    kept = rows[np.sort(label_budget(signal, label_fraction, seed).numpy())]
    if labels.kind == "class" and len(labels.values[torch.from_numpy(kept)].unique()) < 2:
        raise InputError(
            f"label_fraction: expected at least two classes, got fewer in {label_fraction:g} of {len(rows)} "
            "labeled training tracks"
        )
    return kept
