"""Gradient caching, for batches whose activations do not fit in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ssc_toolkit.checks import as_integer
from ssc_toolkit.losses.distributed import count_processes

Inputs: TypeAlias = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


def cached_backward(
    model: nn.Module,
    inputs: Inputs,
    criterion: Callable[[Tensor], Tensor],
    chunk_size: int,
    backward: Callable[[Tensor], Any] = torch.Tensor.backward,
    embeddings_of: Callable[[Any], Tensor] = lambda output: output,
) -> Tensor:
    """Compute the gradients of the loss of a batch while only the activations of one chunk of it are in memory.

    A contrastive loss requires the embeddings of the whole batch, but the encoder can process the items in chunks (Gao
    et al. 2021, arXiv 2101.06983). This function runs the model twice. The first pass computes the embeddings without a
    graph, and the gradient of the loss with respect to the embeddings. The second pass computes the embeddings of each
    chunk with a graph and propagates this gradient to the parameters. Before the second pass of a chunk, the global
    random states of PyTorch, Python and NumPy are restored, so dropout is the same in both passes. The gradients
    equal those of the undivided batch up to rounding. The state of a random generator that the model contains is not
    restored. Draw random numbers from such a generator outside of the model.

    With batch normalization the gradients differ, because means and variances are computed per chunk. The running
    statistics are updated once, in the second pass. Choose a larger `chunk_size`, set these layers to eval mode, or use
    group or layer normalization.

    Under `DistributedDataParallel`, the gradients are synchronized once, in the last chunk, and the loss may use
    `gather=True`. The option `static_graph=True` of DistributedDataParallel is not supported, because it allows only
    one backward pass per step. For mixed precision, call this function within `torch.autocast`. With a gradient scaler,
    pass `backward=lambda loss: scaler.scale(loss).backward()`.

    Args:
        model: module that is called with each chunk of the inputs. A tuple or list is passed as positional arguments,
            and a mapping as keyword arguments.
        inputs: tensor (items, ...), or a tuple, list or mapping of such tensors, which can be nested. Tensors without
            dimensions and other values are passed with every chunk. No tensor may have a graph.
        criterion: function of the embeddings of all items, (items, ...), that returns a scalar loss.
        chunk_size: number of items in a chunk, at least 1.
        backward: function that is called with the loss and computes the gradient of the embeddings.
        embeddings_of: function that returns the embeddings in an output of the model; by default, the output itself.

    Returns:
        The loss, detached. The gradients are added to the `grad` of the parameters; no optimizer step is made.

    Raises:
        ValueError: if `chunk_size` is below 1; if the inputs contain no tensors, tensors of different lengths, or
            tensors with a graph; if the model has `static_graph=True`; if the loss is not a scalar.
        TypeError: if the inputs have another type, `chunk_size` is not an integer, or an output is not a tensor.

    Examples:
        >>> from ssc_toolkit.losses import NTXentLoss
        >>> model, criterion = nn.Linear(16, 8), NTXentLoss()
        >>> waveforms = torch.randn(64, 2, 16)
        >>> loss = cached_backward(model, waveforms, criterion, chunk_size=16)
        >>> model.weight.grad.shape
        torch.Size([8, 16])
    """
    if not callable(criterion):
        raise TypeError(f"criterion: expected a function of embeddings, got {type(criterion).__name__}")
    cache = GradientCache(model, inputs, chunk_size, embeddings_of)
    loss = criterion(cache.embeddings)
    if not isinstance(loss, Tensor):
        raise TypeError(f"criterion: expected a function that returns a tensor, got {type(loss).__name__}")
    if loss.dim():
        raise ValueError(f"criterion: expected a scalar loss, got shape {tuple(loss.shape)}")
    backward(loss)
    cache.backward()
    return loss.detach()


class GradientCache:
    """Gradient caching for training loops that call `backward` of the loss themselves.

    This class has the two passes of `cached_backward` as separate calls. The constructor runs the first pass. Compute a
    loss from the attribute `embeddings` and call the `backward` method of the loss. Then call the `backward` method of
    the cache, which runs the second pass and adds the gradients to those of the parameters.

    Args:
        model: as for `cached_backward`.
        inputs: as for `cached_backward`.
        chunk_size: as for `cached_backward`.
        embeddings_of: as for `cached_backward`.

    Attributes:
        embeddings: embeddings of all items, (items, ...), a leaf tensor that requires a gradient.

    Raises:
        ValueError, TypeError: as for `cached_backward`.

    Examples:
        >>> model = nn.Linear(16, 8)
        >>> cache = GradientCache(model, torch.randn(64, 2, 16), chunk_size=16)
        >>> cache.embeddings.square().mean().backward()
        >>> cache.backward()
        >>> model.weight.grad.shape
        torch.Size([8, 16])
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Inputs,
        chunk_size: int,
        embeddings_of: Callable[[Any], Tensor] = lambda output: output,
    ) -> None:
        chunk_size = as_integer("chunk_size", chunk_size, 1)
        _check_model(model)
        _check_inputs(inputs)
        self._model, self._embeddings_of, self._gpus = model, embeddings_of, _gpus(model, inputs)
        self._inputs, self._chunks = list(_tensors(inputs)), list(_chunks(inputs, chunk_size))
        self._states, outputs = [], []
        buffers = _Buffers(model)
        with torch.no_grad():
            try:
                for chunk in self._chunks:
                    self._states.append(RandomState(self._gpus))
                    outputs.append(self._embed(chunk))
            finally:
                buffers.put_back()
        torch.clear_autocast_cache()  # autocast caches the weights of the first pass, which have no graph
        self._lengths = [len(output) for output in outputs]
        self.embeddings = torch.cat(outputs).requires_grad_()

    def backward(self) -> None:
        """Run the second pass: propagate the gradient of the embeddings to the parameters, chunk by chunk.

        Raises:
            ValueError: if the embeddings have no gradient.
        """
        if self.embeddings.grad is None:
            raise ValueError("criterion: expected a loss that depends on the embeddings, got one that does not")
        after_loss = RandomState(self._gpus)
        gradients = self.embeddings.grad.split(self._lengths)
        last = len(self._chunks) - 1
        for number, (chunk, state, gradient) in enumerate(zip(self._chunks, self._states, gradients, strict=True)):
            state.restore()
            if number == last:  # the processes synchronize in this backward pass
                self._embed(chunk).backward(gradient)
            elif isinstance(self._model, nn.parallel.DistributedDataParallel):
                with self._model.no_sync():
                    self._embed(chunk).backward(gradient)
            elif count_processes() > 1:  # a wrapper of the model may have hooks on the parameters
                _accumulate(self._model, self._inputs, self._embed(chunk), gradient)
            else:
                self._embed(chunk).backward(gradient)
        after_loss.restore()

    def _embed(self, chunk: Inputs) -> Tensor:
        found = self._embeddings_of(_call(self._model, chunk))
        if not isinstance(found, Tensor):
            kind = type(found).__name__
            raise TypeError(f"embeddings_of: expected a tensor, got {kind}; select the embeddings in the output")
        return found


def _accumulate(model: nn.Module, inputs: list[Tensor], embeddings: Tensor, gradient: Tensor) -> None:
    """Compute gradients of parameters and inputs and add them to their `grad`, without synchronizing processes.

    Args:
        model: module whose parameters get gradients.
        inputs: tensors that get gradients if they require them.
        embeddings: embeddings of a chunk, with a graph.
        gradient: gradient of the loss with respect to `embeddings`, in the same shape.
    """
    leaves = [leaf for leaf in [*model.parameters(), *inputs] if leaf.requires_grad]
    found = torch.autograd.grad(embeddings, leaves, gradient, allow_unused=True)
    for leaf, own in zip(leaves, found, strict=True):
        if own is not None:
            leaf.grad = own if leaf.grad is None else leaf.grad + own


def _call(model: nn.Module, chunk: Inputs) -> Any:
    if isinstance(chunk, Mapping):
        return model(**chunk)
    return model(*chunk) if isinstance(chunk, (tuple, list)) else model(chunk)


def _check_model(model: nn.Module) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected an nn.Module, got {type(model).__name__}")
    for module in model.modules():
        if isinstance(module, nn.parallel.DistributedDataParallel) and module.static_graph:
            raise ValueError(
                "model: DistributedDataParallel(static_graph=True) allows one backward pass per step, but gradient "
                "caching needs one per chunk; pass static_graph=False"
            )


def _check_inputs(inputs: Inputs) -> None:
    if not isinstance(inputs, (Tensor, Mapping, tuple, list)):
        raise TypeError(
            f"inputs: expected a tensor, a tuple of arguments or a mapping of keyword arguments, got "
            f"{type(inputs).__name__}"
        )
    tensors = list(_tensors(inputs))
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) != 1 or 0 in lengths:
        wanted = "tensors of one length (items, ...), with at least one item"
        raise ValueError(f"inputs: expected {wanted}, got lengths {sorted(lengths)}")
    if any(tensor.grad_fn is not None for tensor in tensors):
        raise ValueError(
            "inputs: expected tensors without a graph, got the result of a computation with gradients; "
            "detach() it, or move that computation into the model"
        )


def _chunks(inputs: Inputs, size: int) -> Iterator[Inputs]:
    for start in range(0, len(next(_tensors(inputs))), size):
        yield _cut(inputs, slice(start, start + size))


def _cut(value: Any, part: slice) -> Any:
    """Return the slice `part` of a tensor, or of all tensors in a container. Other values are returned unchanged."""
    if isinstance(value, Tensor):
        return value[part] if value.dim() else value
    if isinstance(value, Mapping):
        return {name: _cut(one, part) for name, one in value.items()}
    if isinstance(value, (tuple, list)):
        cut = [_cut(one, part) for one in value]
        return type(value)(*cut) if hasattr(value, "_fields") else type(value)(cut)
    return value


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors with at least one dimension in a value, which can be a nested container."""
    if isinstance(value, Tensor):
        yield from [value] if value.dim() else []
    elif isinstance(value, (Mapping, tuple, list)):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(one)


class _Buffers:
    """Copies of the buffers of a model, made before the first pass of gradient caching and restored after it.

    At the beginning of its forward pass, DistributedDataParallel copies the buffers of the first process to all others.
    Its buffers are recorded after this copy, so that restoring does not undo the copy. A buffer that the first pass
    creates is kept. A buffer that was None before the first pass becomes None again.
    """

    def __init__(self, model: nn.Module) -> None:
        self._before: dict[tuple[nn.Module, str], tuple[Tensor | None, Tensor | None]] = {}
        self._look(model)
        within = [one.module for one in model.modules() if isinstance(one, nn.parallel.DistributedDataParallel)]
        self._hooks = [module.register_forward_pre_hook(self._look_once) for module in within]
        self._looked_at: set[nn.Module] = set()

    def put_back(self) -> None:
        for hook in self._hooks:
            hook.remove()
        for (module, name), (buffer, values) in self._before.items():
            if buffer is not None and values is not None:
                if buffer.shape == values.shape:
                    buffer.copy_(values)
                else:
                    buffer.data = values
            module._buffers[name] = buffer

    def _look(self, model: nn.Module) -> None:
        for module in model.modules():
            for name, buffer in module._buffers.items():
                if not isinstance(buffer, nn.parameter.UninitializedBuffer):
                    self._before[module, name] = buffer, None if buffer is None else buffer.detach().clone()

    def _look_once(self, module: nn.Module, _: Any) -> None:
        if module not in self._looked_at:
            self._looked_at.add(module)
            self._look(module)


class RandomState:
    """States of the global random generators of PyTorch (CPU and the given GPUs), Python and NumPy, to be restored."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._cpu = torch.get_rng_state()
        self._gpus = {device: torch.cuda.get_rng_state(device) for device in devices}
        self._python = random.getstate()
        self._numpy = np.random.get_state()  # noqa: NPY002  # models may use it

    def restore(self) -> None:
        torch.set_rng_state(self._cpu)
        for device, state in self._gpus.items():
            torch.cuda.set_rng_state(state, device)
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002


def _gpus(model: nn.Module, inputs: Inputs) -> list[torch.device]:
    """Return the GPUs on which parameters or buffers of the model or inputs are."""
    tensors = (*model.parameters(), *model.buffers(), *_tensors(inputs))
    return sorted({tensor.device for tensor in tensors if tensor.device.type == "cuda"}, key=str)
