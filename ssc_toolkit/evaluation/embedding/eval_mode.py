"""Evaluation of models without changing them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(*models: object) -> Iterator[None]:
    """Put those models that are modules in eval mode and disable gradients. On exit, restore the mode of every part."""
    modules = [model for model in models if isinstance(model, nn.Module)]
    modes = {part: part.training for module in modules for part in module.modules()}
    for module in modules:
        module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
