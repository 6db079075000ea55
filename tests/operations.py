"""How many operations a transform dispatches."""

from __future__ import annotations

from seeded import generator
from torch.utils._python_dispatch import TorchDispatchMode


class CountOperations(TorchDispatchMode):
    """Counts what is dispatched to the tensor library."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(transform, waveforms) -> int:
    transform.cpu_slice_size = None
    draw = transform.draw(len(waveforms), generator())
    with CountOperations() as counter:
        transform.apply_draw(waveforms, draw)
    return counter.count
