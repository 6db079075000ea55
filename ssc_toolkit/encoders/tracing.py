"""Detection of tracing, in which PyTorch records a forward pass for any batch size."""

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
