"""Exponential moving average of the weights of a model during training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn


class WeightAverage(pl.Callback):
    r"""Callback that computes an exponential moving average of the weights of `SemiSupConModule.model`.

    After optimizer step t, the average a_t of a weight w_t is

    a_t = d_t a_{t-1} + (1 - d_t) w_t, with d_t = min(decay, t / (t + 9)),

    where a_0 is the initial weight. The smaller decay of the first steps removes the initial weights from the average.
    The statistics of batch normalization are averaged in the same way. Integers, such as the number of batches, are
    those of the last step.

    The training itself is not changed. The average is part of each checkpoint.

    Args:
        decay: maximum decay, above 0 and below 1, such as 0.999.

    Raises:
        ValueError: if the decay is out of range.

    References:
        Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM Journal on Control and
        Optimization 30(4), 1992; Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay: expected a number above 0 and below 1, got {decay}")
        self.decay = decay
        self.steps = 0
        self.weights: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        own = self.weights or {name: value.clone() for name, value in pl_module.model.state_dict().items()}
        self.weights = {name: value.to(pl_module.device) for name, value in own.items()}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        self.steps += 1
        self.update(pl_module.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average after the step with number `self.steps`."""
        decay = min(self.decay, self.steps / (self.steps + 9))
        state = model.state_dict()
        floats = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.weights[name] for name in floats], [state[name] for name in floats], 1 - decay)
        for name in state.keys() - floats:
            self.weights[name].copy_(state[name])

    @contextmanager
    def applied_to(self, model: nn.Module) -> Iterator[None]:
        """Context manager in which a model has the averaged weights. Its own weights are restored at the end."""
        own = {name: value.clone() for name, value in model.state_dict().items()}
        _copy(self.weights, model)
        try:
            yield
        finally:
            _copy(own, model)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.weights = state_dict["steps"], dict(state_dict["weights"])


@torch.no_grad()
def _copy(weights: dict[str, Tensor], model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        value.copy_(weights[name])
