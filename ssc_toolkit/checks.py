"""Functions that check arguments and convert them to plain Python values."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Collection, Iterable, Sequence, Sized
from typing import TYPE_CHECKING, Any

from ssc_toolkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

MAX_SAMPLE_RATE = 768_000
"""Maximum sample rate of audio in hertz."""
MAX_PROJECTOR_DEPTH = 100
"""Maximum number of linear layers of a projector."""
MAX_FINITE = 1e36
"""Largest accepted value of a number without another limit, such as the learning rate.

Ten times this value is still finite in float32.
"""

_MAX_INTEGER = 2**63 - 1
_MAX_SHOWN = 200

Range = tuple[float, float] | Sequence[float] | float
"""Type of a range: a pair (low, high), or a single number for both."""


def check_bool(name: str, value: Any) -> bool:
    """Check a boolean of Python or NumPy, and return it as a Python bool.

    Args:
        name: name of the argument.
        value: value that the user passed.

    Raises:
        InputError: if the value is not a boolean, such as the text "no".

    Examples:
        >>> check_bool("gather", "no")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: gather: expected True or False, got 'no'
    """
    is_numpy = type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0
    if isinstance(value, bool) or (is_numpy and _is_bool(value)):
        return bool(value)
    raise InputError(f"{name}: expected True or False, got {_shown(value)}")


def check_integer(name: str, value: Any, low: int = 1, high: int = _MAX_INTEGER) -> int:
    """Check an integer of Python, NumPy or PyTorch, and return it as a Python integer.

    Args:
        name: name of the argument.
        value: value that the user passed.
        low: lower bound, included.
        high: upper bound, included.

    Raises:
        InputError: if the value is not an integer, or is outside the bounds. Floats and booleans are not accepted.

    Examples:
        >>> import numpy as np
        >>> check_integer("channels", np.int64(32))
        32
        >>> check_integer("channels", 2.5)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: channels: expected an integer of at least 1, got 2.5
    """
    number = _as_index(value)
    if number is None or not low <= number <= high:
        is_open = high == _MAX_INTEGER and (number is None or number < low)
        bounds = f"of at least {low}" if is_open else f"from {low} to {high}"
        raise InputError(f"{name}: expected an integer {bounds}, got {_shown(value)}")
    return number


def as_integer(name: str, value: Any, low: int | None = None) -> int:
    """Convert an integer of Python, NumPy or PyTorch to a Python int.

    Args:
        name: name of the argument for the error message.
        value: the integer.
        low: lower bound, included; None for no bound.

    Raises:
        TypeError: for any other value, including bools.
        ValueError: if the integer is below the bound.

    Examples:
        >>> import numpy as np
        >>> as_integer("seed", np.int64(3))
        3
        >>> as_integer("seed", True)
        Traceback (most recent call last):
        TypeError: seed: expected an integer, got True
    """
    number = _as_index(value)
    if number is None:
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if low is not None and number < low:
        raise ValueError(f"{name}: expected an integer of at least {low}, got {number}")
    return number


def as_tensor(name: str, values: Any, expected: str = "a tensor of numbers") -> Tensor:
    """Convert an array, list or tensor to a tensor.

    Args:
        name: name of the argument for the error message.
        values: the array, list or tensor.
        expected: description of the values for the error message.

    Raises:
        TypeError: if the values cannot be converted.
    """
    import torch  # not at the top, because the command line checks options without PyTorch

    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected {expected}, got {type(values).__name__}") from None


def check_number(name: str, value: Any, low: float = -math.inf, high: float = math.inf, unit: str = "") -> float:
    """Check a finite number of Python, NumPy or PyTorch, and return it as a Python float.

    Args:
        name: name of the argument.
        value: value that the user passed.
        low: lower bound, included.
        high: upper bound, included.
        unit: unit of the number for the error message, such as "hertz".

    Raises:
        InputError: if the value is not a finite number, or is outside the bounds.

    Examples:
        >>> check_number("min_hz", float("nan"), 0, unit="hertz")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: min_hz: expected a number of hertz of at least 0, got nan
    """
    number = _real(value)
    if not low <= number <= high or math.isinf(number):
        raise InputError(f"{name}: expected a number{_of(unit)}{_bounds(low, high)}, got {_shown(value)}")
    return number


def check_positive(name: str, value: Any, unit: str = "", high: float = math.inf) -> float:
    """Check a finite number above 0, and return it as a Python float.

    Args:
        name: name of the argument.
        value: value that the user passed.
        unit: unit of the number for the error message, such as "hertz".
        high: upper bound, excluded.

    Raises:
        InputError: if the value is not a finite number above 0, or is not below `high`.

    Examples:
        >>> check_positive("view_seconds", float("inf"))
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: view_seconds: expected a positive number, got inf
    """
    number = _real(value)
    if not 0 < number < high:
        bound = f" below {high:g}" if high <= number < math.inf else ""
        raise InputError(f"{name}: expected a positive number{_of(unit)}{bound}, got {_shown(value)}")
    return number


def check_fraction(name: str, value: Any, *, allow_zero: bool = True) -> float:
    """Check a number from 0 to 1, and return it as a Python float.

    Args:
        name: name of the argument.
        value: value that the user passed.
        allow_zero: whether 0 is allowed.

    Raises:
        InputError: if the value is not a number from 0 to 1, or is 0 although `allow_zero` is False.

    Examples:
        >>> check_fraction("label_budget", 0, allow_zero=False)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: label_budget: expected a fraction above 0 and up to 1, got 0
    """
    number = _real(value)
    if not 0 <= number <= 1 or (number == 0 and not allow_zero):
        bounds = "from 0 to 1" if allow_zero else "above 0 and up to 1"
        raise InputError(f"{name}: expected a fraction {bounds}, got {_shown(value)}")
    return number


def check_fractions(name: str, values: Iterable[float]) -> None:
    """Raise InputError unless there is at least one value, and all values are above 0 and at most 1.

    The message begins with `name`, the name of the argument.
    """
    for value in list(values) or [math.nan]:
        check_fraction(name, value, allow_zero=False)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Raise InputError unless a value is one of several choices.

    The message begins with `name`, the name of the argument.

    Examples:
        >>> check_choice("reduction", "max", ("mean", "sum", "none"))
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: reduction: expected one of mean, sum, none, got 'max'
    """
    known = list(choices)
    if value not in known:
        raise InputError(f"{name}: expected one of {', '.join(map(str, known))}, got {value!r}{nearest(value, known)}")


def check_names(name: str, values: Iterable[str], known: Collection[str]) -> None:
    """Raise InputError unless there is at least one value, and all values are in `known`.

    The message begins with `name`, the name of the argument.

    Examples:
        >>> check_names("methods", ["forest"], ("linear", "knn"))
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: methods: expected some of linear, knn, got 'forest'
    """
    for value in list(values) or [""]:
        if value not in known:
            raise InputError(f"{name}: expected some of {', '.join(known)}, got {value!r}{nearest(value, known)}")


def nearest(value: Any, known: Iterable[Any]) -> str:
    """Return a text that suggests the choice with the most similar spelling, or an empty text if none is similar.

    Examples:
        >>> nearest("melcn", ("MelCNN", "SampleCNN")), nearest("forest", ("linear", "knn"))
        ('; did you mean MelCNN?', '')
    """
    by_lower = {str(choice).lower(): str(choice) for choice in known}
    near = difflib.get_close_matches(str(value)[:100].lower(), by_lower, 1, 0.6)
    return f"; did you mean {by_lower[near[0]]}?" if near else ""


def check_range(name: str, value: Range, low: float, high: float) -> tuple[float, float]:
    """Check a (low, high) range, and return it as two Python floats. A single number is used for both.

    Args:
        name: name of the argument.
        value: a number, or a sequence or tensor of two numbers.
        low: lower bound of the range, included.
        high: upper bound of the range, included.

    Raises:
        InputError: if the value is not a range, or is not within the bounds.

    Examples:
        >>> check_range("gain_db", (-6, 0), -60, 60), check_range("gain_db", 3, -60, 60)
        ((-6.0, 0.0), (3.0, 3.0))
        >>> check_range("gain_db", (0, -6), -60, 60)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: gain_db: expected -60 <= low <= high <= 60, got (0, -6)
    """
    is_pair = isinstance(value, Sequence) or bool(getattr(value, "ndim", 0))
    ends: list[Any] = list(value) if is_pair else [value, value]  # type: ignore[arg-type]
    numbers = [_real(end) for end in ends]
    if len(numbers) != 2 or any(map(math.isnan, numbers)):
        raise InputError(f"{name}: expected a number or (low, high), got {_shown(value)}")
    if not low <= numbers[0] <= numbers[1] <= high:
        raise InputError(f"{name}: expected {low:g} <= low <= high <= {high:g}, got ({numbers[0]:g}, {numbers[1]:g})")
    return numbers[0], numbers[1]


def check_integer_range(name: str, value: Range, low: int, high: float) -> tuple[int, int]:
    """Check a range as `check_range` does, and return it as two integers. Whole floats such as 2.0 are accepted."""
    begin, end = check_range(name, value, low, high)
    if begin != int(begin) or end != int(end):
        raise InputError(f"{name}: expected integers, got ({begin:g}, {end:g})")
    return int(begin), int(end)


def check_length(name: str, values: Sized | None, count: int, of: str) -> None:
    """Raise InputError unless `values` is None or has `count` elements.

    In the message, `name` is the argument, and `of` is what the elements belong to.
    """
    if values is not None and len(values) != count:
        raise InputError(f"{name}: expected {count}, one for each of the {of}, got {len(values)}")


def check_embeddings(embeddings: Any, count: int, name: str = "embeddings", of: str = "labels") -> np.ndarray:
    """Check the shape of embeddings, and return them as an array.

    Args:
        embeddings: (count, dim) embeddings.
        count: expected number of rows.
        name: name of the argument.
        of: name of what the rows represent, such as "tracks", for the error message.

    Raises:
        InputError: if the shape is not (count, dim).

    Examples:
        >>> import numpy as np
        >>> check_embeddings(np.zeros((3, 8)), 4, of="tracks")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: embeddings: expected (4, dim), a row for each of the tracks, got (3, 8)
    """
    import numpy as np  # not at the top, because the command line checks options without NumPy

    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) != count:
        raise InputError(f"{name}: expected ({count}, dim), a row for each of the {of}, got {embeddings.shape}")
    return embeddings


def _as_index(value: Any) -> int | None:
    """Return an integer of Python, NumPy or PyTorch as a Python int, or None for any other value."""
    try:
        return None if _is_bool(value) else int(operator.index(value))
    except (TypeError, RuntimeError):  # a tensor of several numbers raises RuntimeError
        return None


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _real(value: Any) -> float:
    """Return a number as a float, or NaN for any other value, such as a text or boolean."""
    try:
        return math.nan if isinstance(value, str | bytes) or _is_bool(value) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return math.nan


def _shown(value: Any) -> str:
    plain = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    return repr(plain)[:_MAX_SHOWN]


def _of(unit: str) -> str:
    return f" of {unit}" if unit else ""


def _bounds(low: float, high: float) -> str:
    if low == -math.inf:
        return "" if high == math.inf else f" up to {high:g}"
    return f" of at least {low:g}" if high == math.inf else f" from {low:g} to {high:g}"
