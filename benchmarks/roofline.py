"""Lower bound of the time of a training step: arithmetic and memory traffic of its layers over measured rates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from timing import precision, seconds_of
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Rates(NamedTuple):
    """Measured rates of a device.

    Attributes:
        float32: floating-point operations per second of a float32 matrix product.
        tf32: the same with factors rounded to TF32; equal to `float32` on a CPU.
        bfloat16: the same for bfloat16.
        copy: bytes per second that a copy reads and writes, in sum.
    """

    float32: float
    tf32: float
    bfloat16: float
    copy: float

    def describe(self) -> str:
        """Return the rates as text."""
        products = ", ".join(f"{name} {getattr(self, name) / 1e12:.3g}" for name in ("float32", "tf32", "bfloat16"))
        return f"matrix products: {products} TFLOP/s; a copy: {self.copy / 1e9:.4g} GB/s"


def product_rate(device: str, side: int, repeats: int, dtype: torch.dtype = torch.float32) -> float:
    """Return operations per second of the fastest product of random square matrices."""
    left, right = torch.randn(2, side, side, device=device, dtype=dtype)
    out = torch.empty_like(left)
    fastest = min(seconds_of(lambda: torch.mm(left, right, out=out), device) for _ in range(repeats))
    return 2 * side**3 / fastest


def copy_rate(device: str, floats: int, repeats: int) -> float:
    """Return bytes per second, read and written, of the fastest copy."""
    source = torch.randn(floats, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / min(seconds_of(lambda: target.copy_(source), device) for _ in range(repeats))


def measure_rates(device: str, tiny: bool) -> Rates:
    """Return the rates of a device for products and copies that are large enough to use it fully."""
    side, floats, repeats = (128, 2**16, 3) if tiny else (8192, 2**28, 10)
    with precision(False, False):
        float32 = product_rate(device, side, repeats)
    with precision(True, True):
        tf32 = product_rate(device, side, repeats) if device == "cuda" else float32
    return Rates(float32, tf32, product_rate(device, side, repeats, torch.bfloat16), copy_rate(device, floats, repeats))


class Layer(NamedTuple):
    """One convolution or matrix product, forward or backward.

    Attributes:
        operations: floating-point operations; a multiply-add counts as two.
        nbytes: bytes of its inputs and outputs, each counted once.
        dtype: dtype of the first factor.
        convolves: whether it is a convolution.
    """

    operations: int
    nbytes: int
    dtype: torch.dtype
    convolves: bool


class LayerCounter(TorchDispatchMode):
    """Record of the convolutions and matrix products that run, counted as by `torch.utils.flop_counter`."""

    def __init__(self) -> None:
        super().__init__()
        self.layers: list[Layer] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it if it is a convolution or a matrix product."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor)]
            nbytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            operations = count(*args, **kwargs, out_val=out)
            self.layers.append(Layer(operations, nbytes, tensors[0].dtype, "conv" in func._overloadpacket.__name__))
        return out


def list_layers(run: Callable[[], Any]) -> list[Layer]:
    """Return the convolutions and matrix products of a call, those of a backward pass included."""
    with LayerCounter() as counter:
        run()
    return counter.layers


def arithmetic_seconds(layers: list[Layer], rates: Rates) -> float:
    """Return the minimum time of the arithmetic."""
    return sum(layer.operations / _rate(layer, rates) for layer in layers)


def roofline_seconds(layers: list[Layer], rates: Rates) -> float:
    """Return the minimum time of the layers one after the other: each needs its arithmetic or its memory traffic.

    All other operations are counted as free, as if they were fused into these layers.
    """
    return sum(max(layer.operations / _rate(layer, rates), layer.nbytes / rates.copy) for layer in layers)


def _rate(layer: Layer, rates: Rates) -> float:
    """Return the rate of a layer's dtype under the current settings of PyTorch."""
    if layer.dtype in (torch.bfloat16, torch.float16):
        return rates.bfloat16
    backend = torch.backends.cudnn if layer.convolves else torch.backends.cuda.matmul
    return rates.tf32 if backend.allow_tf32 else rates.float32
