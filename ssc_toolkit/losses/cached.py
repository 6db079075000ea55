"""Gradient caching: a step over a batch that is larger than memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.distributed import processes

Inputs: TypeAlias = Tensor | Mapping[str, Any]


def cached_backward(
    model: nn.Module,
    inputs: Inputs,
    criterion: Callable[[Tensor], Tensor],
    chunk_size: int,
    backward: Callable[[Tensor], Any] = torch.Tensor.backward,
    embeddings_of: Callable[[Any], Tensor] = lambda output: output,
) -> Tensor:
    """Gradients of the loss of a whole batch, with the encoder's activations of one chunk in memory at a time.

    A contrastive loss needs all embeddings at once, but an encoder needs only its own items. So the batch goes
    through the model twice (Gao et al. 2021, arXiv 2101.06983): first without a graph, to collect the embeddings
    and the loss's gradient with respect to them; then chunk by chunk with a graph, to carry that gradient on
    to the parameters. The random state of each chunk is restored for its second pass, so dropout falls alike,
    and the result equals that of the undivided batch up to rounding.

    Batch normalisation is the exception: it looks at the chunk and not at the batch. Its running statistics
    are updated once, as usual, in the second pass, but means and variances are those of a chunk. Choose a
    `chunk_size` that is large enough for them, put the layers in eval mode, or use a normalisation that
    looks at one item (group, layer).

    Under `DistributedDataParallel` the processes are synchronised once, in the last chunk, and `criterion` may
    gather. Call it within `torch.autocast` for mixed precision; with a gradient scaler pass
    `backward=lambda loss: scaler.scale(loss).backward()`.

    Args:
        model: called with a chunk of the inputs: one tensor, or keyword arguments from a mapping.
        inputs: tensor (items, ...), or a mapping whose tensors are (items, ...); scalars and what is not a tensor
            go to every chunk as they are.
        criterion: loss of the embeddings of all items, (items, ...), a scalar.
        chunk_size: items of a chunk.
        backward: called with the loss.
        embeddings_of: picks the embeddings from the output of the model.

    Returns:
        The loss, detached. Gradients are added to those in the parameters; the optimiser's step is yours.

    Raises:
        ValueError: if `chunk_size` is below 1, tensors of the inputs differ in length, or there are none.

    Examples:
        >>> from ssc_toolkit.losses import NTXentLoss
        >>> model, criterion = nn.Linear(16, 8), NTXentLoss()
        >>> waveforms = torch.randn(64, 2, 16)
        >>> loss = cached_backward(model, waveforms, criterion, chunk_size=16)
        >>> model.weight.grad.shape
        torch.Size([8, 16])
    """
    cache = EmbeddingCache(model, inputs, chunk_size, embeddings_of)
    loss = criterion(cache.embeddings)
    if loss.dim():
        raise ValueError(f"criterion: expected a scalar loss, got shape {tuple(loss.shape)}")
    backward(loss)
    cache.backward()
    return loss.detach()


class EmbeddingCache:
    """The two passes of `cached_backward`, for a loop that has a backward pass of its own.

    Making one is the first pass. Take a loss of `embeddings`, carry its gradient back to them, and call `backward`,
    the second pass, which adds to the gradients of the parameters.

    Args:
        model: as of `cached_backward`.
        inputs: as of `cached_backward`.
        chunk_size: as of `cached_backward`.
        embeddings_of: as of `cached_backward`.

    Attributes:
        embeddings: of all items, (items, ...), a leaf that asks for a gradient.

    Raises:
        ValueError, TypeError: as `cached_backward`.

    Examples:
        >>> model = nn.Linear(16, 8)
        >>> cache = EmbeddingCache(model, torch.randn(64, 2, 16), chunk_size=16)
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
        if not isinstance(chunk_size, int) or chunk_size < 1:
            raise ValueError(f"chunk_size: expected a whole number of items, at least 1, got {chunk_size}")
        if not isinstance(inputs, (Tensor, Mapping)):
            raise TypeError(f"inputs: expected a tensor or a mapping of keyword arguments, got {type(inputs).__name__}")
        self._model, self._embeddings_of, self._device = model, embeddings_of, _device(inputs)
        self._chunks = list(_chunks(inputs, chunk_size))
        self._states, outputs = [], []
        buffers = [buffer.clone() for buffer in model.buffers()]
        with torch.no_grad():
            for chunk in self._chunks:
                self._states.append(_random_state(self._device))
                outputs.append(embeddings_of(_call(model, chunk)))
                if not isinstance(outputs[-1], Tensor):
                    kind = type(outputs[-1]).__name__
                    raise TypeError(f"embeddings_of: expected a tensor, got {kind}; say which part of the output it is")
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        torch.clear_autocast_cache()  # the weights cast in the first pass have no graph
        self._lengths = [len(output) for output in outputs]
        self.embeddings = torch.cat(outputs).requires_grad_()

    def backward(self) -> None:
        """Carry the gradient of the embeddings on to the parameters, chunk by chunk.

        Raises:
            ValueError: if the embeddings have no gradient.
        """
        if self.embeddings.grad is None:
            raise ValueError("criterion: the loss does not depend on the embeddings")
        after_loss = _random_state(self._device)
        gradients = self.embeddings.grad.split(self._lengths)
        last = len(self._chunks) - 1
        for number, (chunk, state, gradient) in enumerate(zip(self._chunks, self._states, gradients, strict=True)):
            _set_random_state(state, self._device)
            if number == last:  # its backward pass is the one in which processes synchronise
                self._embed(chunk).backward(gradient)
            elif isinstance(self._model, nn.parallel.DistributedDataParallel):
                with self._model.no_sync():
                    self._embed(chunk).backward(gradient)
            elif processes() > 1:  # a wrapper around the model may be watching its parameters
                _accumulate(self._model, self._embed(chunk), gradient)
            else:
                self._embed(chunk).backward(gradient)
        _set_random_state(after_loss, self._device)

    def _embed(self, chunk: Inputs) -> Tensor:
        return self._embeddings_of(_call(self._model, chunk))


def _accumulate(model: nn.Module, embeddings: Tensor, gradient: Tensor) -> None:
    """Add to the parameters' gradients without running the hooks by which processes synchronise."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(embeddings, parameters, gradient, allow_unused=True)
    for parameter, own in zip(parameters, found, strict=True):
        if own is not None:
            parameter.grad = own if parameter.grad is None else parameter.grad + own


def _call(model: nn.Module, chunk: Inputs) -> Any:
    return model(**chunk) if isinstance(chunk, Mapping) else model(chunk)


def _chunks(inputs: Inputs, size: int) -> Iterator[Inputs]:
    tensors = _tensors(inputs)
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(f"inputs: expected tensors of one length (items, ...), got lengths {sorted(lengths)}")
    for start in range(0, lengths.pop(), size):
        if isinstance(inputs, Tensor):
            yield inputs[start : start + size]
        else:
            yield {name: value[start : start + size] if _is_cut(value) else value for name, value in inputs.items()}


def _tensors(inputs: Inputs) -> list[Tensor]:
    values = [inputs] if isinstance(inputs, Tensor) else inputs.values()
    return [value for value in values if _is_cut(value)]


def _is_cut(value: Any) -> bool:
    """Whether a chunk gets a part of the value: a scalar goes to every chunk as it is."""
    return isinstance(value, Tensor) and value.dim() > 0


def _device(inputs: Inputs) -> torch.device:
    return next((tensor.device for tensor in _tensors(inputs)), torch.device("cpu"))


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
