"""Whether a forward pass is recorded, for any size of batch, rather than computed."""

from __future__ import annotations

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode


def is_traced() -> bool:
    """Return whether torch.compile, torch.export, torch.jit.trace or make_fx record what is called.

    What depends on the size of a batch, such as slices that suit a cache, is left out then.

    Examples:
        >>> is_traced()
        False
    """
    return torch.compiler.is_compiling() or torch.jit.is_tracing() or get_proxy_mode() is not None
