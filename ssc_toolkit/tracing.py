"""Detection of tracing and of transforms, in which the values or the shapes of tensors may not be known."""

from __future__ import annotations

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode


def is_traced() -> bool:
    """Return whether torch.compile, torch.export, torch.jit.trace or make_fx is tracing the current call.

    Code that depends on the batch size, such as slicing to fit a cache, must be skipped during tracing.

    Examples:
        >>> is_traced()
        False
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or get_proxy_mode() is not None


def in_function_transform() -> bool:
    """Return whether a transform of `torch.func` is active."""
    return torch._C._are_functorch_transforms_active()


def in_fake_mode() -> bool:
    """Return whether a fake mode of PyTorch is active, in which tensors have no values."""
    return torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None


def is_traced_or_transformed() -> bool:
    """Return whether `is_traced`, `in_function_transform` or `in_fake_mode` is True."""
    return is_traced() or in_function_transform() or in_fake_mode()
