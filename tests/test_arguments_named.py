"""Arguments of another kind: the error names the argument."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from ssc_toolkit.encoders import LogMel, MelCNN, Projector, ShortChunkCNN
from ssc_toolkit.losses import (
    NTXentLoss,
    RankNContrastLoss,
    SemiSupConLoss,
    class_balanced_weights,
    semi_supcon_loss,
)
from ssc_toolkit.samplers import (
    BalancedBatchSampler,
    MixedStream,
    RandomSegments,
    SameLabelTracks,
    SameSegment,
    SampledIndex,
    SemiSupervisedBatchSampler,
    WeightedViews,
    label_budget,
    uncovered_classes,
    with_labeled,
)
from ssc_toolkit.targets import (
    GaussianKernel,
    KeySimilarity,
    LabelOverlap,
    SameClass,
    SharedLabels,
    SimilarityMatrix,
    TempoKernel,
    WeightedSum,
)

VIEWS = torch.randn(4, 2, 8)
HOT = torch.eye(4, dtype=torch.complex64)
LENGTHS = torch.full((5,), 1000)


@pytest.mark.parametrize("value", ["yes", "no", 1, 0, None, torch.tensor([True, False])])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda value: SemiSupConLoss(gather=value), "gather"),
        (lambda value: NTXentLoss(gather=value), "gather"),
        (lambda value: semi_supcon_loss(VIEWS, gather=value), "gather"),
        (lambda value: TempoKernel(0.1, octave_blind=value), "octave_blind"),
        (lambda value: MixedStream([1], [2], cycle=value), "cycle"),
        (lambda value: MixedStream([1], [2], split_workers=value), "split_workers"),
        (lambda value: LogMel(16000, standardize=value), "standardize"),
        (lambda value: LogMel(16000, center=value), "center"),
        (lambda value: ShortChunkCNN(residual=value), "residual"),
        (lambda value: Projector(4, bias=value), "bias"),
        (lambda value: MelCNN().gradient_checkpointing_(value), "enabled"),
    ],
)
def test_flags_are_true_or_false(make, name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected True or False, got"):
        make(value)


def test_flags_of_numpy_are_flags():
    assert SemiSupConLoss(gather=np.bool_(False)).gather is False
    assert TempoKernel(0.1, octave_blind=np.True_).octave_blind is True


@pytest.mark.parametrize(
    "call",
    [
        lambda: SemiSupConLoss(target=SharedLabels())(VIEWS, HOT),
        lambda: SemiSupConLoss(target=LabelOverlap())(VIEWS, HOT),
        lambda: SemiSupConLoss(target=GaussianKernel(1.0))(VIEWS, HOT),
        lambda: SemiSupConLoss(target=TempoKernel(1.0))(VIEWS, HOT[0]),
        lambda: SemiSupConLoss()(VIEWS, HOT[0]),
        lambda: RankNContrastLoss()(VIEWS, HOT[0]),
        lambda: class_balanced_weights(HOT[0]),
        lambda: label_budget(HOT, 0.5),
        lambda: label_budget(HOT.to_sparse(), 0.5),
        lambda: label_budget(HOT[0], 0.5),
        lambda: uncovered_classes(HOT, torch.tensor([0])),
        lambda: BalancedBatchSampler(HOT, 1, 1),
        lambda: SameLabelTracks(HOT),
    ],
)
def test_complex_labels_are_refused(call):
    with pytest.raises(TypeError, match=r"^labels: .*expect.*got torch\.complex64"):
        call()


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: LabelOverlap(class_weights="ab"), TypeError, "class_weights: expected a tensor of numbers, got str"),
        (lambda: LabelOverlap(class_weights={"a": 1}), TypeError, "class_weights: .*got dict"),
        (lambda: LabelOverlap(class_weights=["a", "b"]), TypeError, "class_weights: .*got list"),
        (lambda: LabelOverlap(class_weights=[[1], [1, 2]]), TypeError, "class_weights: .*got list"),
        (lambda: LabelOverlap(class_weights=torch.ones(3) * 1j), TypeError, "class_weights: .*complex64"),
        (lambda: LabelOverlap(class_weights=3.0), ValueError, "class_weights"),
        (lambda: SimilarityMatrix("ab"), TypeError, "matrix: .*got str"),
        (lambda: SimilarityMatrix(None), TypeError, "matrix: .*got NoneType"),
        (lambda: SimilarityMatrix([[1.0], [1.0, 2.0]]), TypeError, "matrix: .*got list"),
        (lambda: KeySimilarity("fifths", bandwidth_fifths="a"), ValueError, "bandwidth_fifths: .*'a'"),
        (lambda: WeightedSum([SameClass()]), TypeError, "targets: expected a dict.*list"),
        (lambda: WeightedSum({"a": (SameClass(), "x")}), ValueError, "targets: weight of signal 'a': .*'x'"),
        (lambda: WeightedSum({"a": (SameClass(), None)}), ValueError, "targets: weight of signal 'a': .*None"),
        (lambda: class_balanced_weights([0, 1]), TypeError, "labels: .*list"),
        (lambda: class_balanced_weights(torch.tensor([0, 1]), beta="x"), ValueError, "beta: .*'x'"),
        (lambda: class_balanced_weights(torch.tensor([0, 1]), counts=HOT[0]), ValueError, "counts: .*complex64"),
        (lambda: WeightedViews(3), ValueError, "samplers: .*3"),
        (lambda: WeightedViews([(SameSegment(), "x")]), ValueError, "samplers: weight: .*'x'"),
        (lambda: WeightedViews([("x", 1.0)]), ValueError, "samplers: .*'x'"),
        (lambda: WeightedViews([(SameSegment(), float("inf"))]), ValueError, "samplers: weight: .*inf"),
        (lambda: RandomSegments(overlap="a"), ValueError, "overlap: .*'a'"),
        (lambda: RandomSegments("a", sample_rate=10), ValueError, "min_gap_seconds: .*'a'"),
        (lambda: RandomSegments(1, "a", sample_rate=10), ValueError, "max_gap_seconds: .*'a'"),
        (lambda: RandomSegments(1, sample_rate="a"), ValueError, "sample_rate: .*'a'"),
        (lambda: SameSegment()(LENGTHS, 10.5, 2), ValueError, "view_length: .*10.5"),
        (lambda: SameSegment()(LENGTHS, 10, 2.5), ValueError, "views: .*2.5"),
        (lambda: SameSegment()([10], 5, 2), TypeError, "track_lengths: .*list"),
        (lambda: SameLabelTracks(torch.tensor([0, 0]), segments=3), TypeError, "segments: .*int"),
        (lambda: MixedStream([1], [2], start=1.5), TypeError, "start: .*1.5"),
        (lambda: MixedStream([1], [2], start=-1), ValueError, "start: .*-1"),
    ],
)
def test_arguments_of_another_kind_are_named(call, kind, words):
    with pytest.raises(kind, match=f"^{words}"):
        call()


@pytest.mark.parametrize("name", ["labeled_fraction", "label_budget"])
@pytest.mark.parametrize("value", ["x", None, True, float("nan"), 1.5])
def test_fractions_of_a_batch_sampler_are_numbers(name, value):
    with pytest.raises(ValueError, match=f"^{name}: expected a fraction from 0 to 1, got"):
        SemiSupervisedBatchSampler(range(4), range(4, 9), 2, **{name: value})


class Squares(Dataset):
    """A dataset that takes a list of indices too, and nothing else."""

    def __len__(self):
        return 10

    def __getitem__(self, index):
        assert type(index) in (int, list)
        return [one**2 for one in index] if isinstance(index, list) else index**2


@pytest.mark.parametrize(
    "index",
    [slice(3, 5), slice(None), 1.5, "3", "ab", None, True, [slice(0, 1)], [1.5], [True, False], torch.ones(10).bool(),
     np.array([0.5]), torch.tensor(1.5), {1, 2}, (0, "a")],
)  # fmt: skip
def test_an_index_that_has_no_flag_is_refused(index):
    with pytest.raises(TypeError, match=r"^index: expected"):
        with_labeled(Squares())[index]


@pytest.mark.parametrize(
    "index", [[1, 2], (1, 2), range(1, 3), torch.tensor([1, 2]), np.array([1, 2]), [np.int64(1), torch.tensor(2)]]
)
def test_several_integers_are_an_index(index):
    items, labeled = with_labeled(Squares())[index]
    assert items == [1, 4]
    assert labeled.tolist() == [True, True]


@pytest.mark.parametrize("index", [3, np.int64(3), torch.tensor(3), np.array(3), SampledIndex(3, True)])
def test_an_integer_of_any_kind_is_an_index(index):
    assert with_labeled(Squares())[index] == (9, True)


def test_flags_of_a_list_are_kept():
    items, labeled = with_labeled(Squares())[[SampledIndex(2, False), SampledIndex(3, True)]]
    assert items == [4, 9]
    assert labeled.tolist() == [False, True]
    assert with_labeled(Squares())[[]][1].dtype == torch.bool
