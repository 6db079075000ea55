"""Plots of the cosine similarities and target weights of the embeddings of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssc_toolkit.files import atomic_path
from ssc_toolkit.losses.batch import as_rows, pair_weights
from ssc_toolkit.losses.unit_length import unit_length
from ssc_toolkit.targets import SameClass

MAX_ROWS = 192
"""Maximum number of embeddings of a batch in a plot; more rows would be too small to see."""


class MatrixPictures(pl.Callback):
    """Callback that plots the cosine similarities and the target weights of a batch at regular intervals.

    A target weight is the weight of a pair of rows as positives. Labeled items come first, ordered by label, so that
    classes appear as blocks. The callback writes `matrices-<step>.svg` to a folder, and logs the same plot to
    TensorBoard and Weights & Biases if they are used.

    Args:
        folder: folder of the plots, which is created for the first plot.
        every: number of steps between plots.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder = folder
        self.every = every

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        completes_step = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if step % self.every or not completes_step or not trainer.is_global_zero:
            return
        similarities, weights = compute_batch_matrices(outputs["projection"], batch, pl_module.target)
        figure = draw_matrices(similarities, weights, f"step {step}")
        self.folder.mkdir(exist_ok=True)
        with atomic_path(self.folder / f"matrices-{step:06d}.svg") as path:
            figure.savefig(path, format="svg")
        for logger in trainer.loggers:
            if isinstance(logger, pl.loggers.TensorBoardLogger):
                logger.experiment.add_figure("matrices", figure, global_step=step)
            elif isinstance(logger, pl.loggers.WandbLogger):
                logger.log_image("matrices", [figure], step=step)


def compute_batch_matrices(projection: Tensor, batch: dict[str, Any], target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute the cosine similarities and target weights of all pairs of views in a batch.

    Args:
        projection: (items, views, dim) outputs of the projector.
        batch: batch with or without `labels` and `labeled`.
        target: target of the loss, or None if only views of the same item are positives.

    Returns:
        Two arrays (rows, rows), with one row for each view of each item. Labeled items come first, ordered by label.
    """
    labels, labeled = (None, None) if target is None else (batch.get("labels"), batch.get("labeled"))
    order = _order(labels, labeled, len(projection))[: max(1, MAX_ROWS // projection.shape[1])]
    target = SameClass() if target is None else target
    rows = as_rows(projection[order], _rows_of(labels, order), _rows_of(labeled, order), None, target).flat()
    weights = pair_weights(rows, rows, target).fill_diagonal_(1)
    unit = unit_length(rows.embeddings).float()
    return (unit @ unit.T).cpu().numpy(), weights.float().cpu().numpy()


def draw_matrices(similarities: np.ndarray, weights: np.ndarray, title: str) -> Figure:
    """Plot a matrix of target weights, from 0 to 1, next to one of similarities, from -1 to 1, (rows, rows) each."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    figure.suptitle(title, fontsize=9)
    for axis, block, name, colors, lowest in zip(
        figure.subplots(1, 2),
        (weights, similarities),
        ("target weight", "cosine similarity"),
        ("Greys", "RdBu_r"),
        (0, -1),
        strict=True,
    ):
        image = axis.imshow(block, cmap=colors, vmin=lowest, vmax=1, interpolation="nearest")
        axis.set_title(name, fontsize=9)
        axis.set(xticks=[], yticks=[])
        figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
    return figure


def _order(labels: Any, labeled: Any, count: int) -> Tensor:
    """Return the indices of `count` items in the order of the plot.

    Labeled items come first, sorted by label. With several kinds of labels, the first one is used.
    """
    if labels is None:
        return torch.arange(count)
    values, mask = (next(iter(value.values())) if isinstance(value, dict) else value for value in (labels, labeled))
    if values.dim() > 1:
        values = values[:, 0] if values.shape[1] == 1 else values.flatten(1).argmax(dim=1)
    values, mask = values.tolist(), mask.tolist()
    return torch.tensor(sorted(range(count), key=lambda place: (not mask[place], values[place])))


def _rows_of(value: Any, order: Tensor) -> Any:
    if isinstance(value, dict):
        return {name: tensor[order.to(tensor.device)] for name, tensor in value.items()}
    return None if value is None else value[order.to(value.device)]
