"""Numbers of the counter-based generator: their definition, their distribution, and what they depend on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from seeded import generator

from ssc_toolkit.augmentations import Chain, ExampleGenerator, Gain, OneOf, PolarityInversion, SomeOf

COUNT = 40_000
BITS = 2**64 - 1
STEP = 0x9E3779B97F4A7C15
LEAST_P = 1e-3  # of a test whose seeds are fixed, so that it passes always or never


def finalize(value: int) -> int:
    """The finalizer of SplitMix64, in integers of Python."""
    value &= BITS
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & BITS
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & BITS
    return value ^ (value >> 31)


def positions(*places: int) -> np.ndarray:
    return np.array(places, dtype=np.uint64)


def of_seed(seed: int, count: int = COUNT) -> ExampleGenerator:
    return ExampleGenerator.from_torch(generator(seed), count)


def test_the_reference_gives_the_published_sequence():
    # The first outputs of SplitMix64 for the seed 1234567, as in its test vectors.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [finalize(1234567 + STEP * k) for k in (1, 2, 3)] == expected


@pytest.mark.parametrize("seed", [0, 1, -5, 2**63 + 11])
def test_numbers_follow_their_definition(seed):
    places = (0, 1, 2, 977, 2**40 + 3)
    made = ExampleGenerator(seed, positions(*places))
    found = [made.uniform(dtype=torch.float64), made.uniform(size=2, dtype=torch.float64)]
    found = torch.cat([found[0][:, None], found[1]], dim=1)
    for row, place in zip(found.tolist(), places, strict=True):
        start = finalize(finalize(seed) + STEP * place)
        assert row == [(finalize(start + STEP * k) >> 11) / 2**53 for k in (1, 2, 3)]
    member = ExampleGenerator(seed, positions(5)).member(2)
    same = ExampleGenerator(finalize(seed) + 3 * STEP, positions(5))
    assert torch.equal(member.uniform(size=4), same.uniform(size=4))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform(seed, dtype):
    numbers = of_seed(seed).uniform((-3.0, 5.0), dtype=dtype)
    assert numbers.dtype == dtype
    assert scipy.stats.kstest(numbers.numpy(), "uniform", (-3, 8)).pvalue > LEAST_P
    assert numbers.min() >= -3
    assert numbers.max() <= 5
    logarithms = of_seed(seed).log_uniform((0.1, 10.0)).log10()
    assert scipy.stats.kstest(logarithms.numpy(), "uniform", (-1, 2)).pvalue > LEAST_P


@pytest.mark.parametrize("bounds", [(0, 1), (-2, 4), (3, 3), (0, 999), (0, 2**31 - 1), (0, 2**53 - 2)])
def test_integers_are_uniform_with_both_ends(bounds):
    low, high = bounds
    numbers = of_seed(1).integers(bounds)
    assert numbers.dtype == torch.int64
    assert low <= int(numbers.min())
    assert int(numbers.max()) <= high
    if high - low < 1000:
        counts = torch.bincount(numbers - low, minlength=high - low + 1)
        assert high == low or scipy.stats.chisquare(counts.numpy()).pvalue > LEAST_P
    else:
        unit = (numbers.double() - low + 0.5) / (high - low + 1)
        assert scipy.stats.kstest(unit.numpy(), "uniform").pvalue > LEAST_P


def pairs() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of numbers that must be independent."""
    first, second = of_seed(0), of_seed(1)
    numbers = first.uniform(size=3)
    other = second.uniform(size=3)
    container = of_seed(0)
    members = [container.member(number).uniform() for number in range(3)]
    views = ExampleGenerator.from_torch(generator(0), 2 * COUNT, views=2)
    state = generator(0)
    steps = [ExampleGenerator.from_torch(state, COUNT).uniform() for _ in range(2)]
    return {
        "neighboring examples": (numbers[:-1, 0], numbers[1:, 0]),
        "distant examples": (numbers[: COUNT // 2, 0], numbers[COUNT // 2 :, 0]),
        "parameters": (numbers[:, 0], numbers[:, 1]),
        "a parameter and the next but one": (numbers[:, 0], numbers[:, 2]),
        "a parameter and the next of the next example": (numbers[:-1, 0], numbers[1:, 1]),
        "consecutive seeds": (numbers[:, 0], other[:, 0]),
        "consecutive seeds, other parameters": (numbers[:, 0], other[:, 1]),
        "consecutive steps": (steps[0], steps[1]),
        "members": (members[0], members[1]),
        "a member and its member": (members[0], container.member(0).member(0).uniform()),
        "a container and its member": (of_seed(0).uniform(), members[0]),
        "an item and its first view": (views.of_items().uniform(), views.uniform()[::2]),
        "views of an item": (views.uniform()[::2], views.uniform()[1::2]),
    }


@pytest.mark.parametrize("name", pairs())
def test_pairs_of_numbers_are_independent(name):
    one, other = (numbers.double().numpy() for numbers in pairs()[name])
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))
    table, *_ = np.histogram2d(one, other, bins=16, range=[[0, 1], [0, 1]])
    assert scipy.stats.chisquare(table.ravel()).pvalue > LEAST_P


def test_many_consecutive_seeds_are_uncorrelated():
    numbers = np.stack([of_seed(seed, 4000).uniform().numpy() for seed in range(100)])
    apart = np.corrcoef(numbers)[np.triu_indices(100, k=1)] * np.sqrt(4000)
    assert scipy.stats.kstest(apart, "norm").pvalue > LEAST_P
    first = numbers[:, 0]  # the same example of all seeds
    assert scipy.stats.kstest(first, "uniform").pvalue > LEAST_P


def test_every_bit_of_a_position_changes_half_of_the_bits():
    rows = np.arange(2000, dtype=np.uint64)
    for bit in (0, 1, 7, 20, 40, 62):
        one, other = (
            ExampleGenerator(3, rows ^ np.uint64(flip)).integers((0, 2**52 - 1)).numpy() for flip in (0, 1 << bit)
        )
        changed = np.unpackbits((one ^ other).view(np.uint8)).sum() / len(rows)
        assert changed == pytest.approx(26, abs=4 * np.sqrt(13 / len(rows)))


def test_choices_of_containers_are_independent_and_uniform():
    chain = Chain([OneOf([Gain(), Gain(), PolarityInversion()], p=0.5), SomeOf([Gain(), Gain(), Gain()], count=(1, 2))])
    draw = chain.draw(COUNT, generator(2))
    picked = draw.children[0].values["picked"]
    some = draw.children[1].values["picked"]
    subset = (some.long() * torch.tensor([1, 2, 4])).sum(1)
    table = torch.stack([torch.bincount(subset[picked == kind], minlength=8)[1:7] for kind in range(3)])
    assert scipy.stats.chi2_contingency(table.numpy()).pvalue > LEAST_P
    assert scipy.stats.chisquare(table.sum(1).numpy()).pvalue > LEAST_P
    # One or two members with probability 1/2 each, and three subsets of each size.
    assert scipy.stats.chisquare(table.sum(0).numpy()).pvalue > LEAST_P
    for one, other in itertools.combinations(draw.children[0].children[:2] + draw.children[1].children, 2):
        gains = torch.stack([one.values["gain_db"], other.values["gain_db"]])
        assert abs(float(torch.corrcoef(gains)[0, 1])) < 4 / COUNT**0.5


@pytest.mark.parametrize(
    ("places", "error", "words"),
    [
        ([0.5, 1.0], TypeError, "places: expected integers, got torch.float32"),
        (torch.tensor([True, False]), TypeError, "places: expected integers, got torch.bool"),
        (["a", "b"], TypeError, r"places: expected integers, got \['a', 'b'\]"),
        ([0, 1, 2], ValueError, r"places: expected one for each of 2 items, got \(3,\)"),
        ([[0, 1]], ValueError, r"places: expected one for each of 2 items, got \(1, 2\)"),
        (3, ValueError, r"places: expected one for each of 2 items, got \(\)"),
        ([0, -1], ValueError, "places: expected integers of at least 0, got -1"),
    ],
)
def test_bad_places_are_rejected(places, error, words):
    for call in (
        lambda: Gain().draw(4, generator(), views=2, places=places),
        lambda: Gain()(torch.zeros(2, 2, 1, 10), places=places),
    ):
        with pytest.raises(error, match=f"^{words}$"):
            call()
