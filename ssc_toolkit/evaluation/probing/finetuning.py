"""Fine-tuning of an encoder together with a linear head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssc_toolkit.checks import check_fractions, check_integer
from ssc_toolkit.data.cells import Kind
from ssc_toolkit.data.labels import Labels
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.audio_loader import make_reader
from ssc_toolkit.evaluation.embedding.extract import embed_tracks, expand_rows
from ssc_toolkit.evaluation.embedding.models import WaveformModel, choose_window_seconds, find_device, is_trainable
from ssc_toolkit.evaluation.embedding.readout import apply_readout, choose_readout
from ssc_toolkit.evaluation.embedding.windows import count_windows
from ssc_toolkit.evaluation.probing.heads import Problem
from ssc_toolkit.evaluation.probing.heads.torch_head import TorchHead
from ssc_toolkit.evaluation.probing.probe import Probe, check_labels, label_signal, make_problem
from ssc_toolkit.evaluation.probing.training_rows import choose_training_rows
from ssc_toolkit.progress import progress_bar
from ssc_toolkit.seeds import make_generator

HEAD_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class FineTuned:
    """Result of `finetune`: a fine-tuned encoder and its linear head.

    Attributes:
        model: the fine-tuned copy of the encoder, with the weights that scored best on the validation set.
        probe: fitted probe that takes embeddings of `model`. `probe.head.settings` contains the step of the best
            weights.
    """

    model: Any
    probe: Probe


def finetune(
    model: WaveformModel,
    tracks: Tracks,
    column: str,
    window_seconds: float | None = None,
    *,
    kind: Kind | None = None,
    frame_pooling: str = "default",
    layers: str | Sequence[str] | None = None,
    labels: Labels | None = None,
    label_fraction: float = 1.0,
    steps: int = 1000,
    batch_size: int = 32,
    learning_rate: float = 1e-4,
    evaluate_every: int = 100,
    patience: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> FineTuned:
    """Fine-tune a copy of an encoder, together with a linear head, on labeled training tracks.

    The model and the head are trained with Adam on random windows of the labeled training tracks. The head standardizes
    embeddings with the mean and standard deviation of the training set before fine-tuning. Every `evaluate_every`
    steps, the validation set is scored on the embeddings from `embed_tracks`. The weights with the best score are
    returned. The test set is not used.

    Args:
        model: an encoder or any `nn.Module` with an attribute `sample_rate`. It is not changed.
        tracks: track table, data frame or path of a table, with the columns `path`, `seconds` and `split` and the label
            column.
        column: name of the label column.
        window_seconds: length of a window in seconds. By default, the window length of the model, as in `embed_tracks`.
        kind: as for `fit_probe`.
        frame_pooling: as for `embed_tracks`. The head takes the embeddings of this readout.
        layers: as for `embed_tracks`.
        labels: encoded labels of all tracks. None encodes the column.
        label_fraction: as for `fit_probe`.
        steps: maximum number of optimizer steps.
        batch_size: number of windows in a batch.
        learning_rate: learning rate of the encoder. The learning rate of the head is 1e-3.
        evaluate_every: number of steps between evaluations on the validation set.
        patience: number of evaluations without an improvement after which training stops.
        seed: seed of the head, of the batches, and of the selection of labeled tracks.
        progress: whether to show a progress bar.

    Returns:
        The fine-tuned copy of the encoder, and its head as a probe.

    Raises:
        InputError: if the model has no trainable weights, if the loss becomes NaN or infinite, or in the same cases as
            `fit_probe`.
    """
    for name, value in (("steps", steps), ("batch_size", batch_size), ("evaluate_every", evaluate_every)):
        check_integer(name, value, 1)
    check_fractions("label_fraction", [label_fraction])
    if not isinstance(model, nn.Module) or not is_trainable(model):
        raise InputError(f"encoder: expected a module with trainable weights, got {type(model).__name__}")
    tracks = as_track_table(tracks)
    labels = label_signal(tracks, column, kind) if labels is None else labels
    check_labels(tracks, labels, column)
    seconds = choose_window_seconds(model, window_seconds)
    readout = choose_readout(model, frame_pooling, layers)
    embedded = partial(_embedded, tracks=tracks, seconds=seconds, frame_pooling=frame_pooling, layers=layers)
    seen = (tracks["split"] != "test").to_numpy()
    frozen = embedded(model, chosen=seen)
    problem = make_problem(np.where(seen[:, None], frozen, 0.0), tracks, labels, column, label_fraction, seed)
    usable = np.isfinite(frozen).all(axis=1) & labels.labeled.numpy()  # the rows of test tracks in `frozen` are NaN
    is_train, is_valid = ((tracks["split"] == split).to_numpy() & usable for split in ("train", "valid"))
    train = choose_training_rows(np.flatnonzero(is_train), labels, label_fraction, seed)

    tuned = copy.deepcopy(model)
    head = _head(problem, seed).to(find_device(tuned))
    batches = _Windows(tracks, train, tuned, seconds, batch_size, seed)
    best = _Best(problem, tuned, head)
    groups: list[dict[str, Any]] = [
        {"params": tuned.parameters()},
        {"params": head.parameters(), "lr": HEAD_LEARNING_RATE},
    ]
    optimizer = torch.optim.Adam(groups, lr=learning_rate)
    tuned.train()
    with progress_bar(total=steps, desc="fine-tuning", unit="step", disable=not progress) as bar:
        for step in range(1, steps + 1):
            rows, waveforms = batches(step)
            loss = head.loss(apply_readout(tuned, waveforms, readout), labels.values[rows].to(waveforms.device))
            _step(optimizer, loss, step)
            bar.update()
            if step % evaluate_every == 0 or step == steps:
                best.look(step, embedded(tuned, chosen=is_valid)[is_valid])
                if step - best.step >= patience * evaluate_every:
                    break
    best.restore()
    return FineTuned(tuned.eval(), Probe(column, head, labels, "finetune"))


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, step: int) -> None:
    if not loss.isfinite():
        raise InputError(f"learning_rate: the loss is NaN or infinite at step {step}; choose a lower value")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


class _Best:
    """Copies of the weights of modules with the best score on the validation set so far in fine-tuning."""

    def __init__(self, problem: Problem, *modules: nn.Module) -> None:
        self.problem, self.modules = problem, modules
        self.step, self.quality = 0, -np.inf
        self.states: list[Mapping[str, Any]] = []

    def look(self, step: int, embeddings: np.ndarray) -> None:
        head = self.modules[-1]
        assert isinstance(head, TorchHead)
        quality = self.problem.quality(head.predict(embeddings))
        if not self.states or quality > self.quality:
            self.step, self.quality = step, quality
            self.states = [copy.deepcopy(module.state_dict()) for module in self.modules]
            head.settings = {"step": step}

    def restore(self) -> None:
        for module, state in zip(self.modules, self.states, strict=True):
            module.load_state_dict(state)


class _Windows:
    """Batches of random windows of labeled training tracks, which depend only on the seed and the step."""

    def __init__(
        self, tracks: TrackTable, rows: np.ndarray, model: nn.Module, seconds: float, batch_size: int, seed: int
    ) -> None:
        self.rate: int = model.sample_rate  # type: ignore[assignment]  # every WaveformModel has one
        self.window = round(seconds * self.rate)
        used = tracks.select(rows)
        self.spare = torch.from_numpy(count_windows(used, self.rate, self.window) * self.window - self.window)
        self.rows, self.read = torch.from_numpy(rows), make_reader(tracks, self.rate)
        self.batch_size, self.seed = batch_size, seed
        self.device = find_device(model)  # type: ignore[arg-type]

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the row numbers in the track table, (batch,), of random tracks, and a random window of each track.

        The windows are waveforms (batch, 1, samples).
        """
        generator = make_generator(self.seed, "fine-tuning", step)
        picked = torch.randint(len(self.rows), (self.batch_size,), generator=generator)
        starts = (torch.rand(self.batch_size, generator=generator) * (self.spare[picked] + 1)).long()
        rows = self.rows[picked]
        found = [self.read(row, start, self.window) for row, start in zip(rows.tolist(), starts.tolist(), strict=True)]
        return rows, torch.from_numpy(np.stack(found))[:, None].to(self.device)


def _head(problem: Problem, seed: int) -> TorchHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TorchHead(nn.Linear(problem.train_x.shape[1], len(problem.names)), problem)


def _embedded(model: Any, tracks: TrackTable, chosen: np.ndarray, seconds: float, **readout: Any) -> np.ndarray:
    """Compute embeddings (tracks, dim) of the tracks where the mask `chosen`, (tracks,), is True. Other rows are NaN.

    `seconds` is the length of a window.
    """
    some = embed_tracks(model, tracks.select(chosen), seconds, progress=False, **readout)
    return expand_rows(some, chosen)
