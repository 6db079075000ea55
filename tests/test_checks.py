"""Checks of numbers: what they accept, what they return, what they say."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssc_toolkit.checks import (
    check_fraction,
    check_fractions,
    check_integer,
    check_integer_range,
    check_number,
    check_positive,
    check_range,
)
from ssc_toolkit.errors import InputError

NOT_NUMBERS = [
    None,
    "3",
    b"3",
    True,
    np.bool_(True),
    torch.tensor(True),
    [],
    [1.0, 2.0],
    {},
    1j,
    torch.zeros(2),
    pytest.param(object(), id="object"),
]


@pytest.mark.parametrize("kind", [int, np.int8, np.uint16, np.int64, torch.tensor, np.array])
def test_integers_of_any_library_become_python_integers(kind):
    found = check_integer("steps", kind(7), 0, 9)
    assert found == 7
    assert type(found) is int


@pytest.mark.parametrize("kind", [float, int, np.float32, np.float64, np.int64, torch.tensor, np.array])
def test_numbers_of_any_library_become_python_floats(kind):
    for found in (check_number("a", kind(1)), check_positive("a", kind(1)), check_fraction("a", kind(1))):
        assert found == 1.0
        assert type(found) is float


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=str)
@pytest.mark.parametrize("check", [check_integer, check_number, check_positive, check_fraction])
def test_what_is_no_number_is_refused_by_name(check, value):
    with pytest.raises(InputError, match=r"^steps: expected "):
        check("steps", value)


@pytest.mark.parametrize("value", [2.5, 2.0, np.float32(2), torch.tensor(2.0), math.nan, math.inf])
def test_floats_are_no_integers(value):
    with pytest.raises(InputError, match="steps: expected an integer of at least 1, got"):
        check_integer("steps", value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_integer("a", 0), "a: expected an integer of at least 1, got 0"),
        (lambda: check_integer("a", 2**63), f"a: expected an integer from 1 to {2**63 - 1}, got {2**63}"),
        (lambda: check_integer("a", 9, 1, 8), "a: expected an integer from 1 to 8, got 9"),
        (lambda: check_integer("a", np.int64(-1), 0), "a: expected an integer of at least 0, got -1"),
        (lambda: check_number("a", math.inf), "a: expected a number, got inf"),
        (lambda: check_number("a", -1, 0, unit="seconds"), "a: expected a number of seconds of at least 0, got -1"),
        (lambda: check_number("a", 2, 0, 1), "a: expected a number from 0 to 1, got 2"),
        (lambda: check_number("a", 2, high=1), "a: expected a number up to 1, got 2"),
        (lambda: check_positive("a", 0.0), "a: expected a positive number, got 0.0"),
        (lambda: check_positive("a", np.float64(0), "hertz"), "a: expected a positive number of hertz, got 0.0"),
        (lambda: check_positive("a", 1e39, high=1e36), "a: expected a positive number below 1e+36, got 1e+39"),
        (lambda: check_fraction("a", 1.5), "a: expected a fraction from 0 to 1, got 1.5"),
        (lambda: check_fraction("a", 0, allow_zero=False), "a: expected a fraction above 0 and up to 1, got 0"),
        (lambda: check_fractions("a", [0.5, 2]), "a: expected a fraction above 0 and up to 1, got 2"),
        (lambda: check_range("a", (2, 1), 0, 9), "a: expected 0 <= low <= high <= 9, got (2, 1)"),
        (lambda: check_range("a", (1, 2, 3), 0, 9), "a: expected a number or (low, high), got (1, 2, 3)"),
        (lambda: check_range("a", (1, math.nan), 0, 9), "a: expected a number or (low, high), got (1, nan)"),
        (lambda: check_integer_range("a", (1, 2.5), 0, 9), "a: expected integers, got (1, 2.5)"),
    ],
)
def test_errors_say_what_was_expected_and_what_came(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message


def test_no_fractions_are_refused():
    with pytest.raises(InputError, match="a: expected a fraction"):
        check_fractions("a", [])


@given(st.floats(-10, 10), st.floats(-10, 10))
def test_ranges_within_their_bounds_come_back(one, other):
    low, high = sorted((one, other))
    for value in ((low, high), [low, high], torch.tensor([low, high], dtype=torch.float64), np.array([low, high])):
        assert check_range("a", value, -10, 10) == (low, high)
    assert check_range("a", low, -10, 10) == (low, low)


@given(st.integers(-10, 10), st.integers(-10, 10))
def test_whole_ranges_are_pairs_of_integers(one, other):
    low, high = sorted((one, other))
    for value in ((low, high), (float(low), float(high))):
        found = check_integer_range("a", value, -10, 10)
        assert found == (low, high)
        assert all(type(end) is int for end in found)
