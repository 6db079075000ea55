"""The loss as a double loop over plain Python numbers, and label signals with weights from their definitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mir_eval.key import weighted_score
from torch import Tensor

from ssc_toolkit.targets import (
    GaussianKernel,
    KeySimilarity,
    LabelOverlap,
    MaxTarget,
    SameClass,
    SharedLabels,
    SimilarityMatrix,
    TaggramCosine,
    Target,
    TempoKernel,
    WeightedSum,
)

Weight = Callable[[int, int], float]


def naive_loss(
    embeddings: Tensor,
    items: Sequence[int],
    weight: Weight,
    temperature: float,
    decoupled: bool = False,
    keys: Tensor | None = None,
    key_items: Sequence[int] | None = None,
    *,
    ignored: Callable[[int, int], bool] = lambda i, k: False,
    label_weight: float = 1.0,
    beta: float = 0.0,
    tau_plus: float = 0.0,
    sigma: float | None = None,
) -> tuple[list[float], list[bool]]:
    """Loss of each anchor and whether it is valid.

    Args:
        embeddings: (N, D).
        items: item of each row.
        weight: target weight of an anchor's row and another row (of the keys, if given) of another item.
        temperature: divides the cosines.
        decoupled: whether positives are left out of the denominator.
        keys: (M, D), what the anchors are compared with instead of each other.
        key_items: item of each key.
        ignored: whether a pair of rows of different items takes no part.
        label_weight, beta, tau_plus, sigma: as of the loss.
    """
    unit = [_unit(row) for row in embeddings.double().tolist()]
    others = unit if keys is None else [_unit(row) for row in keys.double().tolist()]
    other_items = items if key_items is None else key_items
    found = []
    for i, anchor in enumerate(unit):
        is_view = {k: int(items[i]) == int(other_items[k]) for k in range(len(others))}
        rows = [k for k in is_view if (keys is not None or k != i) and (is_view[k] or not ignored(i, k))]
        cosines = {k: sum(a * b for a, b in zip(anchor, others[k], strict=True)) for k in rows}
        weights = {k: 1.0 if is_view[k] else label_weight * weight(i, k) for k in rows}
        found.append((cosines, weights))
    pulls = [
        sum(w[k] * math.exp(c[k] / sigma) for k in w) / sum(w.values()) for c, w in found if sigma and sum(w.values())
    ]
    losses, valid = [], []
    for cosines, weights in found:
        similarity = {k: cosine / temperature for k, cosine in cosines.items()}
        positives = [k for k in weights if weights[k] > 0]
        negatives = [k for k in weights if weights[k] == 0]
        total = sum(weights.values())
        valid.append(total > 0 and len(negatives if decoupled else weights) > 0)
        if not valid[-1]:
            losses.append(0.0)
            continue
        count, estimate = len(negatives), 0.0
        if negatives:
            hard = [math.exp((1 + beta) * similarity[k]) for k in negatives]
            mean = sum(hard) / sum(math.exp(beta * similarity[k]) for k in negatives)
            pulled = [weights[k] * math.exp((1 + beta) * similarity[k]) for k in positives]
            positive = sum(pulled) / sum(weights[k] * math.exp(beta * similarity[k]) for k in positives)
            estimate = max((mean - tau_plus * positive) / (1 - tau_plus), math.exp(-1 / temperature)) * count
        denominator = estimate + (0 if decoupled else sum(math.exp(similarity[k]) for k in positives))
        by_distance = {
            k: 2 - math.exp(cosines[k] / sigma) / (sum(pulls) / len(pulls)) if sigma else 1 for k in positives
        }
        attraction = sum(weights[k] * by_distance[k] * similarity[k] for k in positives) / total
        losses.append(math.log(denominator) - attraction)
    return losses, valid


def naive_mean(losses: list[float], valid: list[bool]) -> float:
    """Mean over the anchors that have a positive."""
    return sum(losses) / max(1, sum(valid))


def _unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in row))
    return [value / length for value in row]


class Signal(NamedTuple):
    """Labels of some items, whose are known, the target that reads them, and the weight of two items."""

    labels: Tensor | dict[str, Tensor]
    labeled: Tensor | dict[str, Tensor]
    target: Target | Callable
    weight: Weight

    @property
    def given(self) -> dict[str, Any]:
        """Labels and mask as arguments of a loss."""
        return {"labels": self.labels, "labeled": self.labeled}


def _masked(labeled: Tensor, weight: Weight) -> Weight:
    return lambda i, j: weight(i, j) if bool(labeled[i]) and bool(labeled[j]) else 0.0


def _classes(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    labels = torch.randint(3, (items,), generator=g)
    return Signal(
        labels, labeled, SameClass(), _masked(labeled, lambda i, j: float(labels[i].item() == labels[j].item()))
    )


def _tag_sets(items: int, g: torch.Generator) -> tuple[Tensor, list[set[int]]]:
    tags = torch.randint(0, 2, (items, 4), generator=g)
    return tags, [{c for c in range(4) if row[c]} for row in tags.tolist()]


def _shared(minimum: int):
    def signal(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
        tags, sets = _tag_sets(items, g)
        weight = _masked(labeled, lambda i, j: float(len(sets[i] & sets[j]) >= minimum))
        return Signal(tags, labeled, SharedLabels(minimum), weight)

    return signal


def _overlap(measure: str, class_weights: list[float] | None):
    def signal(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
        tags, sets = _tag_sets(items, g)
        by_class = class_weights or [1.0] * 4
        size = lambda classes: sum(by_class[c] for c in classes)  # noqa: E731

        def weight(i: int, j: int) -> float:
            if not sets[i] and not sets[j]:
                return 0.0
            if measure == "dice":
                return 2 * size(sets[i] & sets[j]) / (size(sets[i]) + size(sets[j]))
            return size(sets[i] & sets[j]) / size(sets[i] | sets[j])

        return Signal(tags.bool(), labeled, LabelOverlap(measure, class_weights), _masked(labeled, weight))

    return signal


def _fuzzy(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    rows = torch.rand(items, 4, generator=g, dtype=torch.float64).where(torch.rand(items, 4, generator=g) < 0.7, 0)
    by_class, values = [1.0, 2.0, 0.5, 4.0], rows.tolist()

    def weight(i: int, j: int) -> float:
        triples = list(zip(by_class, values[i], values[j], strict=True))
        whole = sum(v * (a + b) for v, a, b in triples)
        return 2 * sum(v * min(a, b) for v, a, b in triples) / whole if whole else 0.0

    return Signal(rows, labeled, LabelOverlap("dice", by_class), _masked(labeled, weight))


def _taggrams(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    rows = torch.rand(items, 4, generator=g, dtype=torch.float64)
    values = rows.tolist()

    def weight(i: int, j: int) -> float:
        product = sum(a * b for a, b in zip(values[i], values[j], strict=True))
        return product / (math.hypot(*values[i]) * math.hypot(*values[j]))

    return Signal(rows, labeled, TaggramCosine(), _masked(labeled, weight))


def _plane(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    labels = torch.randn(items, 2, generator=g, dtype=torch.float64)
    points = labels.tolist()
    weight = _masked(labeled, lambda i, j: math.exp(-(math.dist(points[i], points[j]) ** 2) / (2 * 0.7**2)))
    return Signal(labels, labeled, GaussianKernel(0.7), weight)


def _line(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    labels = torch.randn(items, generator=g, dtype=torch.float64)
    weight = _masked(labeled, lambda i, j: math.exp(-((float(labels[i] - labels[j])) ** 2) / 2))
    return Signal(labels, labeled, GaussianKernel(1.0), weight)


def _tempo(octave_blind: bool):
    def signal(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
        tempi = 60 * 4 ** torch.rand(items, generator=g, dtype=torch.float64)

        def weight(i: int, j: int) -> float:
            octaves = abs(math.log2(float(tempi[i] / tempi[j])))
            if octave_blind:
                octaves = min(abs(octaves - k) for k in range(4))
            return math.exp(-((octaves / 0.3) ** 2) / 2)

        return Signal(tempi, labeled, TempoKernel(0.3, octave_blind), _masked(labeled, weight))

    return signal


TONICS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")


def key_name(key: int) -> str:
    """A key as mir_eval spells it."""
    return f"{TONICS[key % 12]} {'minor' if key >= 12 else 'major'}"


def _keys(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    keys = torch.randint(24, (items,), generator=g)

    def weight(i: int, j: int) -> float:
        one, other = key_name(int(keys[i])), key_name(int(keys[j]))
        return max(weighted_score(one, other), weighted_score(other, one))

    return Signal(keys, labeled, KeySimilarity(), _masked(labeled, weight))


SIGNATURES = {name: n for n, name in enumerate(["C", "G", "D", "A", "E", "B", "Gb", "Db", "Ab", "Eb", "Bb", "F"])}
RELATIVES = {name: n for n, name in enumerate(["A", "E", "B", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D"])}


def _fifths(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    keys = torch.randint(24, (items,), generator=g)
    places = [(RELATIVES if key >= 12 else SIGNATURES)[TONICS[key % 12]] for key in keys.tolist()]

    def weight(i: int, j: int) -> float:
        steps = min(abs(places[i] - places[j] + turn) for turn in (-12, 0, 12))
        return math.exp(-((steps / 1.5) ** 2) / 2)

    return Signal(keys, labeled, KeySimilarity("fifths", 1.5), _masked(labeled, weight))


def _matrix(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    matrix = torch.rand(items, items, generator=g, dtype=torch.float64)
    rows = torch.randperm(items, generator=g)
    weight = _masked(labeled, lambda i, j: float(matrix[rows[i], rows[j]]))
    return Signal(rows, labeled, SimilarityMatrix(matrix), weight)


def _function(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
    years = torch.randint(1950, 2020, (items,), generator=g)
    target = lambda rows, columns: ((rows[:, None] - columns).abs() <= 10).double()  # noqa: E731
    return Signal(years, labeled, target, _masked(labeled, lambda i, j: float(abs(int(years[i] - years[j])) <= 10)))


def _several(combine: str):
    def signal(items: int, labeled: Tensor, g: torch.Generator) -> Signal:
        parts = {"class": _classes, "tags": _overlap("dice", None), "tempo": _tempo(False)}
        masks = {"class": labeled} | {name: torch.rand(items, generator=g) < 0.6 for name in ("tags", "tempo")}
        each = {name: make(items, masks[name], g) for name, make in parts.items()}
        shares = {"class": 0.5, "tags": 0.3, "tempo": 0.2}
        if combine == "union":
            target: Target = MaxTarget({name: part.target for name, part in each.items()})
        else:
            target = WeightedSum({name: (part.target, shares[name]) for name, part in each.items()})

        def weight(i: int, j: int) -> float:
            found = {name: part.weight(i, j) for name, part in each.items()}
            return max(found.values()) if combine == "union" else sum(shares[name] * w for name, w in found.items())

        return Signal({name: part.labels for name, part in each.items()}, masks, target, weight)

    return signal


SIGNALS = {
    "classes": _classes,
    "one shared label": _shared(1),
    "two shared labels": _shared(2),
    "dice": _overlap("dice", None),
    "dice, weighted": _overlap("dice", [1.0, 2.0, 0.5, 4.0]),
    "jaccard": _overlap("jaccard", None),
    "jaccard, weighted": _overlap("jaccard", [1.0, 2.0, 0.5, 4.0]),
    "dice of probabilities": _fuzzy,
    "cosine of probabilities": _taggrams,
    "points in a plane": _plane,
    "points on a line": _line,
    "tempo": _tempo(False),
    "tempo, octave-blind": _tempo(True),
    "keys by MIREX weights": _keys,
    "keys by fifths": _fifths,
    "matrix": _matrix,
    "function": _function,
    "union": _several("union"),
    "weighted sum": _several("weighted sum"),
}


class Batch(NamedTuple):
    """Embeddings (items, views, dim) in double precision and the labels of their items."""

    embeddings: Tensor
    signal: Signal

    def reference(self, temperature: float, decoupled: bool = False) -> tuple[list[float], list[bool]]:
        """Loss of each row and whether it is valid, by the double loop."""
        views = self.embeddings.shape[1]
        rows = [item for item in range(len(self.embeddings)) for _ in range(views)]
        weight = lambda i, j: self.signal.weight(rows[i], rows[j])  # noqa: E731
        return naive_loss(self.embeddings.flatten(0, 1), rows, weight, temperature, decoupled)


def random_batch(seed: int, items: int, views: int, dim: int, labeled_fraction: float, kind: str = "classes") -> Batch:
    """A batch drawn from a seed."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(items, views, dim, generator=generator, dtype=torch.float64)
    labeled = torch.rand(items, generator=generator) < labeled_fraction
    return Batch(embeddings, SIGNALS[kind](items, labeled, generator))
