"""Training steps of a copy of a module, which are measured before a training starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.data import ContrastiveDataset, JoinedDataset
from ssc_toolkit.losses.gradient_cache import RandomState
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.training import AUTO
from ssc_toolkit.training.checkpoints import model_bytes
from ssc_toolkit.training.data import NumberedBatches, SemiSupConDataModule
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.validation import ValidationSet

_STEPS = 3
_MAX_STEPS = 10
_MIN_SECONDS = 2.0  # after which no further step is timed, if there are three
_MAX_SECONDS = 10.0  # after which no further step is timed
_MEASURED_ITEMS = (2, 4)
_RATE = 1e-3  # if the learning rate is not chosen yet
_STEP_SECONDS = 0.005  # of the trainer
_WAVEFORM_COPIES = 8  # in the augmentation
_GRADIENTS = 1.3  # memory of the backward pass, in units of the stored activations
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Trial:
    """Training steps that are timed.

    Attributes:
        module: copy of the module to train, on the device.
        data: data module of the training batches.
        options: options of the training.
        device: device of the training.
        precision: precision of the steps, as `options.trainer.precision`. "auto" is measured as "32".
    """

    module: SemiSupConModule
    data: SemiSupConDataModule
    options: PretrainOptions
    device: torch.device
    precision: str = ""

    def __post_init__(self) -> None:
        self.precision = self.precision or self.options.trainer.precision
        for part in self.module.modules():
            if getattr(part, "gather", False):
                setattr(part, "gather", False)  # noqa: B010 - the other processes do not run these steps
        rate = _RATE if self.options.learning_rate == AUTO else self.module.learning_rate
        self._optimizer = self.module.make_optimizer(self.module.parameters(), lr=rate)
        self._batches = NumberedBatches(self.data.dataset, self.data.batch_sampler(), self.data.seed)

    def measure_bytes(self, items: int) -> int:
        """Return the memory in bytes of a step with some items at once, extrapolated from small steps."""
        batch = self._batches[0]
        counts = [min(count, len(batch["waveforms"])) for count in _MEASURED_ITEMS]
        small, large = (self._stored_bytes(_first_items(batch, count)) for count in counts)
        # What does not depend on the number of items, such as copies of the weights in half precision, cancels.
        per_item = (large - small) / (counts[1] - counts[0]) if counts[1] > counts[0] else large / counts[1]
        activations = (large + per_item * (items - counts[1])) * _GRADIENTS
        waveforms = 4 * batch["waveforms"][0].numel() * self.options.batch_size * _WAVEFORM_COPIES
        return round(activations + waveforms) + 3 * model_bytes(self.module)

    def _stored_bytes(self, batch: dict[str, Any]) -> int:
        """Run a step, and return the memory in bytes that its backward pass reads."""
        parameters = {weight.untyped_storage().data_ptr() for weight in self.module.parameters()}
        stored: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in parameters:
                stored[storage.data_ptr()] = storage.nbytes()
            return tensor

        chunk, self.module.chunk_size = self.module.chunk_size, None
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = self._loss(batch)
        self._optimize(loss)
        self.module.chunk_size = chunk
        return sum(stored.values())

    def time_step(self) -> float:
        """Return the mean duration of a step in seconds, with reading of the audio."""
        begin, times = time.monotonic(), []
        steps = self.options.steps * self.options.trainer.accumulate
        count = max(min(_STEPS, steps), min(_MAX_STEPS, steps // 20))
        for number in range(count):
            started = time.monotonic()
            batch = self._batches[number]
            read = time.monotonic() - started
            computed = self.compute_step(batch)
            workers = self.options.workers
            times.append(max(read / workers, computed) if workers else read + computed)
            passed = time.monotonic() - begin
            if passed > _MAX_SECONDS or (passed > _MIN_SECONDS and number + 1 >= _STEPS):
                break
        steady = times[1:] or times  # memory is allocated in the first step
        return self.options.trainer.accumulate * sum(steady) / len(steady) + _STEP_SECONDS

    def read_batch(self, number: int) -> dict[str, Any]:
        """Return the batch of a step of the training, on the CPU."""
        return self._batches[number]

    def compute_step(self, batch: dict[str, Any]) -> float:
        """Compute a step with a batch on the CPU, and return its duration in seconds."""
        started = time.monotonic()
        self._optimize(self._loss(batch))
        self._wait()
        return time.monotonic() - started

    def compute_gradient(self, batch: dict[str, Any]) -> Tensor:
        """Compute a step with a batch on the CPU, and return its gradient as a vector on the CPU."""
        self._backward(self._loss(batch))
        found = [weight.grad.flatten().float().cpu() for weight in self.module.parameters() if weight.grad is not None]
        self._update()
        return torch.cat(found) if found else torch.zeros(0)

    def time_validation(self, validation_set: ValidationSet) -> float:
        """Return the duration of a measurement on the validation set in seconds.

        The first measurement also reads the audio, so a second one is timed unless the first takes long.
        """
        for _ in range(2):
            begin = time.monotonic()
            validation_set.measure(self.module)
            seconds = time.monotonic() - begin
            if seconds > _MAX_SECONDS / 2:
                break
        return seconds

    def _loss(self, batch: dict[str, Any]) -> Tensor:
        moved = {name: _to(value, self.device) for name, value in batch.items()}
        with self._autocast():
            projection = self.module._project(self.module._augmented(moved, torch.Generator().manual_seed(0)))
            self.module.statistics(self.module.select_views(projection.detach()), moved)
            return self.module._loss_of(projection, moved)

    def _optimize(self, loss: Tensor) -> None:
        self._backward(loss)
        self._update()

    def _backward(self, loss: Tensor) -> None:
        if loss.requires_grad:  # a batch without positives has a constant loss
            loss.backward()
        if self.module._cache is not None:
            cache, self.module._cache = self.module._cache, None
            if loss.requires_grad:
                with self._autocast():
                    cache.backward()

    def _update(self) -> None:
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _autocast(self) -> torch.autocast:
        dtype = _DTYPES.get(self.precision)
        return torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def find_device(options: PretrainOptions) -> torch.device:
    """Return the device that the trainer uses in this process."""
    kind = options.trainer.accelerator
    if kind in ("auto", "gpu") and torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    if kind in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def random_states_kept(device: torch.device) -> Iterator[None]:
    """Context manager that restores the states of all global random generators on exit."""
    state = RandomState([device] if device.type == "cuda" else [])
    try:
        yield
    finally:
        state.restore()


@contextmanager
def unreadable_kept(dataset: ContrastiveDataset | JoinedDataset) -> Iterator[None]:
    """Context manager that restores, on exit, the record of the files of a dataset that could not be decoded."""
    parts = dataset.datasets if isinstance(dataset, JoinedDataset) else [dataset]
    before = [dict(part.unreadable) for part in parts]
    try:
        yield
    finally:
        for part, unreadable in zip(parts, before, strict=True):
            part.unreadable = unreadable


def _first_items(batch: dict[str, Any], count: int) -> dict[str, Any]:
    return {
        name: _first_items(value, count) if isinstance(value, dict) else value[:count] for name, value in batch.items()
    }


def _to(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {name: _to(inner, device) for name, inner in value.items()}
    return value.to(device) if isinstance(value, Tensor) else value
