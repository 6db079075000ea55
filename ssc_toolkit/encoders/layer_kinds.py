"""Layers that compute the same as a class of PyTorch, so that other code may compute their output."""

from __future__ import annotations

from typing import TypeGuard, TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ssc_toolkit.encoders.strided import StridedConv2d
from ssc_toolkit.tracing import in_function_transform, is_traced

LayerType = TypeVar("LayerType", bound=nn.Module)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, StridedConv2d)

_COMPUTATION = ("__call__", "_conv_forward", "forward")
"""Methods that a subclass of a layer may override to compute something else."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def is_plain(layer: nn.Module | None, *kinds: type[LayerType]) -> TypeGuard[LayerType]:
    """Return whether a layer computes the same as one of `kinds`, from its own parameters, and calls no hooks.

    Examples:
        >>> is_plain(nn.ReLU(), nn.ReLU), is_plain(nn.GELU(), nn.ReLU)
        (True, False)
    """
    return (
        any(_computes_as(layer, kind) for kind in kinds)
        and "forward" not in vars(layer)
        and not hasattr(layer, "parametrizations")
        and not any(getattr(layer, name) for name in _HOOKS)
    )


def _computes_as(layer: nn.Module | None, kind: type[nn.Module]) -> bool:
    own = type(layer)
    return issubclass(own, kind) and all(getattr(own, name, None) is getattr(kind, name, None) for name in _COMPUTATION)


def is_batch_norm_in_training(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> bool:
    """Return whether a batch norm normalizes by the statistics of each batch, and updates its running statistics."""
    return norm.training and norm.affine and norm.track_running_stats


def is_trained_on_cpu(input: Tensor) -> bool:
    """Return whether an input is on a CPU, and gradients are computed in the usual way, without autocast or tracing.

    Examples:
        >>> is_trained_on_cpu(torch.zeros(2, 1, 100)), is_trained_on_cpu(torch.zeros(2, 1, 100, device="meta"))
        (True, False)
    """
    return (
        not is_traced()
        and type(input) is Tensor
        and input.device.type == "cpu"
        and input.dtype in (torch.float32, torch.float64)
        and len(input) > 0
        and not torch.is_autocast_enabled("cpu")
        and not in_function_transform()
        and forward_ad._current_level < 0
        and not nn.modules.module._has_any_global_hook()
    )
