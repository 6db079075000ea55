"""Validation set of a training, with fixed segments of audio and fixed augmentations."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from ssc_toolkit.data import ContrastiveDataset, Labels, as_float
from ssc_toolkit.data.labels import list_classes_of_rows
from ssc_toolkit.evaluation import neighbor_agreement
from ssc_toolkit.evaluation.embedding.eval_mode import eval_mode
from ssc_toolkit.evaluation.metrics.classification import find_metrics
from ssc_toolkit.evaluation.probing.heads import Problem
from ssc_toolkit.evaluation.retrieval.geometry import effective_rank
from ssc_toolkit.hashing import short_hash
from ssc_toolkit.losses import CrossBatchMemory, SeparateHeadsLoss, contrastive_statistics
from ssc_toolkit.losses.arguments import LossArguments
from ssc_toolkit.losses.gradient_cache import RandomState
from ssc_toolkit.losses.unit_length import unit_length
from ssc_toolkit.options.validation import MEASURES, NEIGHBOR_AGREEMENT, PROBE_SCORE
from ssc_toolkit.samplers import label_budget
from ssc_toolkit.seeds import make_generator


class ValidationSet:
    """Fixed segments of validation tracks, and the measures of a `SemiSupConModule` on them.

    The segments and the random values of the augmentation depend only on the seed. They are read and computed once, at
    the first measurement, and stay in the memory of the CPU. A measurement runs the model in eval mode without
    gradients, and restores the modes of all its parts and the global random states of PyTorch, Python and NumPy. It has
    therefore no effect on the training.

    | measure | computed from |
    |---|---|
    | `val_loss` | projections of augmented views, in batches of equal size, with the loss of the module |
    | `val_alignment`, `val_uniformity` | projections of augmented views, as in `contrastive_statistics` |
    | `val_effective_rank` | projections of augmented views, scaled to length 1, as in `effective_rank` |
    | `val_neighbor_agreement` | representations of clean segments, as in `neighbor_agreement` |
    | `val_probe_score` | representations of clean segments: score of a linear probe |

    The loss is computed without the queue of a `CrossBatchMemory` and without the embeddings of other processes. The
    linear probe is ridge regression of the class indicators. It is fitted to segments of training tracks in each
    measurement, so it has no state. Its score is the accuracy, the mean average precision for several labels per track,
    or R² for numbers. Numbers have no `val_neighbor_agreement`.

    Args:
        dataset: dataset of the validation tracks, with the labels that the loss uses.
        labels: labels of these tracks for the measures that need labels, or None.
        training: dataset of the training tracks for the probe, or None.
        training_labels: labels of these tracks for the probe, or None.
        batch_size: number of tracks in a batch of the loss.
        max_tracks: maximum number of validation tracks, and of training tracks for the probe. Labeled tracks are
            selected first.
        seed: seed of the selection of tracks, the segments and the augmentation.

    Attributes:
        measures: names of the measures that the tracks and labels allow.

    Examples:
        >>> import tempfile, pandas, soundfile
        >>> from ssc_toolkit.encoders import ContrastiveModel, MelCNN
        >>> from ssc_toolkit.training import SemiSupConModule
        >>> path = tempfile.mkdtemp() + "/noise.wav"
        >>> soundfile.write(path, np.random.default_rng(0).normal(size=32000) / 10, 16000)
        >>> tracks = pandas.DataFrame({"path": [path] * 4, "seconds": [2.0] * 4})
        >>> validation = ValidationSet(ContrastiveDataset(tracks, 16000, view_seconds=0.5))
        >>> module = SemiSupConModule(ContrastiveModel(MelCNN()))
        >>> sorted(validation.measure(module))
        ['val_alignment', 'val_effective_rank', 'val_loss', 'val_uniformity']
    """

    def __init__(
        self,
        dataset: ContrastiveDataset,
        labels: Labels | None = None,
        training: ContrastiveDataset | None = None,
        training_labels: Labels | None = None,
        batch_size: int = 96,
        max_tracks: int = 256,
        seed: int = 0,
    ) -> None:
        self.dataset = dataset
        self.labels = labels
        self.training = training
        self.training_labels = training_labels
        self.batch_size = batch_size
        self.max_tracks = max_tracks
        self.seed = seed
        self.measures = self._list_measures()
        self._batch: dict[str, Any] | None = None
        self._augmented: Tensor | None = None
        self._probe: dict[str, Any] | None = None

    def _list_measures(self) -> list[str]:
        labeled = 0 if self.labels is None else int(self.labels.labeled.sum())
        has_probe = (
            self.training is not None and self.training_labels is not None and self.training_labels.labeled.any()
        )
        possible = {
            "val_alignment": self.dataset.views > 1,
            NEIGHBOR_AGREEMENT: labeled > 1 and self.labels is not None and self.labels.kind != "number",
            PROBE_SCORE: labeled > 1 and has_probe,
        }
        return [name for name in MEASURES if possible.get(name, True)]

    def describe(self) -> str:
        """Return a hash of the tracks and labels of the validation, to recognize other validation tracks."""
        labels = "" if self.labels is None else f"{self.labels.values.tolist()} {self.labels.labeled.tolist()}"
        return short_hash(f"{self.dataset.paths} {labels} {self.max_tracks}")

    def measure(self, module: Any) -> dict[str, float]:
        """Compute the measures of a `SemiSupConModule` by name. Measures that are undefined or infinite are omitted."""
        with _unchanged(module, self.seed):
            if self._batch is None:
                self._read()
                self._augmented = self._augment(module)
            assert self._batch is not None
            found = self._contrastive(module, self._batch)
            if self.labels is not None and {NEIGHBOR_AGREEMENT, PROBE_SCORE} & set(self.measures):
                found |= self._of_labels(module, self._batch, self.labels)
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _read(self) -> None:
        """Read the segments of the selected tracks."""
        count = len(self.dataset)
        known = torch.zeros(count, dtype=torch.bool) if self.labels is None else self.labels.labeled
        order = torch.randperm(count, generator=make_generator(self.seed, "validation", "tracks"))
        chosen = order[(~known[order]).int().argsort(stable=True)][: self.max_tracks]
        rows = order[torch.isin(order, chosen)]  # labeled and unlabeled tracks are mixed in the batches
        self._batch = self.dataset.batch(rows.tolist(), make_generator(self.seed, "validation", "views"))
        if self.training is None or self.training_labels is None or PROBE_SCORE not in self.measures:
            return
        labeled = self.training_labels.labeled.nonzero()[:, 0]
        values = list_classes_of_rows({"": self.training_labels[labeled]})
        if len(labeled) > self.max_tracks:  # tracks of every class
            labeled = labeled[label_budget(values, self.max_tracks / len(labeled), self.seed)][: self.max_tracks]
        self._probe = self.training.batch(labeled.tolist(), make_generator(self.seed, "validation", "probe"))

    def _augment(self, module: Any) -> Tensor:
        assert self._batch is not None
        generator = make_generator(self.seed, "validation", "augment")
        waveforms = self._batch["waveforms"]
        return torch.cat(
            [
                (views if module.augment is None else module.augment(views, generator=generator)).cpu()
                for views in (as_float(part.to(module.device)) for part in waveforms.split(self.batch_size))
            ]
        )

    def _contrastive(self, module: Any, batch: Mapping[str, Any]) -> dict[str, float]:
        """Compute the measures of the projections of the augmented views."""
        assert self._augmented is not None
        model = module.model
        projections = self._outputs(module, self._augmented, lambda views: model.projector(model.encoder(views)))
        losses, count = 0.0, len(projections)
        loss = _own_loss(module.loss)
        arguments = LossArguments.of(loss)
        for rows in torch.arange(count).tensor_split(math.ceil(count / self.batch_size)):
            given = {"items": batch["item"][rows].to(projections.device)}
            for name in ("labels", "labeled"):
                given[name] = _moved(batch.get(name), rows, projections.device)
            losses += float(arguments.call(loss, projections[rows], given)) * len(rows)
        projections = module.select_views(projections)
        statistics = contrastive_statistics(projections)
        unit = unit_length(projections.flatten(0, 1).float()).cpu().numpy()
        return {
            "val_loss": losses / count,
            "val_alignment": float(statistics["alignment"]),
            "val_uniformity": float(statistics["uniformity"]),
            "val_effective_rank": effective_rank(unit) if np.isfinite(unit).all() else math.nan,
        }

    def _of_labels(self, module: Any, batch: Mapping[str, Any], labels: Labels) -> dict[str, float]:
        """Compute the measures of the representations of clean segments."""
        own = labels[batch["item"]]
        embeddings = self._embeddings(module, batch)
        is_compared = NEIGHBOR_AGREEMENT in self.measures
        found = {NEIGHBOR_AGREEMENT: neighbor_agreement(embeddings, own)} if is_compared else {}
        if self._probe is not None and self.training_labels is not None:
            training = self.training_labels[self._probe["item"]]
            found[PROBE_SCORE] = _probe_score(self._embeddings(module, self._probe), training, embeddings, own)
        return found

    def _embeddings(self, module: Any, batch: Mapping[str, Any]) -> np.ndarray:
        """Compute the mean representation of the segments of each track of a batch, (items, dim)."""
        embed_waveforms = getattr(module.model.encoder, "embed_waveforms", module.model.encoder)
        return self._outputs(module, batch["waveforms"], embed_waveforms).float().mean(dim=1).cpu().numpy()

    def _outputs(self, module: Any, waveforms: Tensor, network: Callable[[Tensor], Tensor]) -> Tensor:
        """Apply a network to waveforms (items, views, 1, samples), some items at a time."""
        size = module.chunk_size or self.batch_size
        dtype = next(iter(module.model.parameters())).dtype
        parts = (as_float(part.to(module.device)).to(dtype) for part in waveforms.split(size))
        return torch.cat([network(part) for part in parts])


def _probe_score(x: np.ndarray, labels: Labels, valid_x: np.ndarray, valid_labels: Labels) -> float:
    """Fit a linear probe to training embeddings, and return its score on the labeled validation embeddings.

    Args:
        x: (N, dim) embeddings of labeled training tracks.
        labels: their labels.
        valid_x: (M, dim) embeddings of validation tracks.
        valid_labels: their labels.
    """
    known = valid_labels.labeled.numpy() & np.isfinite(valid_x).all(axis=1)
    if not known.any() or not np.isfinite(x).all():
        return math.nan
    truth = valid_labels.values.numpy()[known]
    problem = Problem(x, labels.values.numpy(), valid_x[known], truth, labels.kind, labels.names)
    model = make_pipeline(StandardScaler(), Ridge(alpha=float(len(x))))
    outputs = model.fit(problem.train_x.astype(float), problem.targets()).predict(problem.valid_x.astype(float))
    headline = next(iter(find_metrics(labels.kind, labels.names).values()))
    return headline.value(outputs.reshape(len(truth), -1), truth)


def _own_loss(loss: Any) -> Any:
    """Return a loss without the queue of earlier batches and without the rows of other processes."""
    if isinstance(loss, SeparateHeadsLoss):
        return SeparateHeadsLoss(_own_loss(loss.views), _own_loss(loss.labels), loss.label_weight)
    if isinstance(loss, CrossBatchMemory):
        loss = loss.loss
    if getattr(loss, "gather", False):
        loss = copy.copy(loss)
        loss.gather = False
    return loss


def _moved(value: Any, rows: Tensor, device: torch.device) -> Any:
    """Return the given rows of a tensor, or of each tensor in a dictionary, on a device."""
    if isinstance(value, Mapping):
        return {name: _moved(tensor, rows, device) for name, tensor in value.items()}
    return None if value is None else value[rows].to(device)


@contextmanager
def _unchanged(module: nn.Module, seed: int) -> Iterator[None]:
    """Context manager in which a module is in eval mode, and the global random generators start from a seed.

    On exit, the modes of all parts and the states of the generators are restored.
    """
    device = next(iter(module.parameters())).device
    state = RandomState([device] if device.type == "cuda" else [])
    try:
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  # augmentations of other libraries may use it
        # Tensors that are cached inside must be usable by autograd, which inference mode does not allow.
        with eval_mode(module), torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        state.restore()
