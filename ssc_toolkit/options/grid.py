"""Grids of studies: several values for each of some options, and all combinations of these values."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.schema import Schema

MAX_RUNS = 1000
"""Maximum number of combinations of a grid."""
_MAX_TEXT = 40


def read_grid(content: Any, where: str) -> dict[str, Any]:
    """Return the values of each option of a grid, by the dotted name of the option.

    Args:
        content: `grid` of a study file. A group of options may be a dictionary of the options in it.
        where: beginning of error messages.

    Raises:
        InputError: if a name is not that of an option of `pretrain`, or if an option has no values.

    Examples:
        >>> read_grid({"loss": {"label_weight": [1, 0.2]}, "encoder.max_hz": [5000, 8000]}, "grid")
        {'loss.label_weight': [1, 0.2], 'encoder.max_hz': [5000, 8000]}
    """
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where}: expected lists of values by option, got {content!r:.100}")
    schema, found = Schema(PretrainOptions), {}
    for name, values in _flat(content, schema):
        if name not in schema.groups:
            try:
                schema.check_name(name)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
        if name in found:
            raise InputError(f"{where}: {name} occurs twice")
        found[name] = values
    return found


def _flat(content: Mapping[Any, Any], schema: Schema[Any]) -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for name, values in content.items():
        if name in schema.groups and isinstance(values, Mapping):
            flat += [(f"{name}.{option}", own) for option, own in values.items()]
        else:
            flat.append((str(name), values))
    return flat


def check_values(name: str, values: Any, where: str) -> list[Any]:
    """Return the values of an option of a grid.

    Raises:
        InputError: unless they are a list of different values.
    """
    if not isinstance(values, list) or not values:
        raise InputError(f"{where}: {name}: expected a list of values, got {values!r:.100}")
    if len({as_text(value) for value in values}) < len(values):
        raise InputError(f"{where}: {name}: expected different values, got {', '.join(map(as_text, values))[:100]}")
    return values


def grid_points(grid: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Return all combinations of the values of a grid, by a name that can be part of a file name.

    Raises:
        InputError: if the values of an option are not a list of different values, or if there are too many combinations.

    Examples:
        >>> grid_points({"loss.label_weight": [1, 0.2], "views": [2]}, "grid")
        {'label_weight=1,views=2': {'loss.label_weight': 1, 'views': 2}, 'label_weight=0.2,views=2': {'loss.label_weight': 0.2, 'views': 2}}
    """  # noqa: E501
    lists = {name: check_values(name, values, where) for name, values in grid.items()}
    if (count := math.prod(map(len, lists.values()))) > MAX_RUNS:
        raise InputError(f"{where}: expected at most {MAX_RUNS} combinations, got {count}")
    shorts = [name.rpartition(".")[2] for name in lists]
    labels = [
        [f"{short if shorts.count(short) == 1 else name}={text}" for text in _name_texts(values)]
        for short, (name, values) in zip(shorts, lists.items(), strict=True)
    ]
    names = [",".join(parts) for parts in itertools.product(*labels)]
    points = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    return dict(zip(names, points, strict=True))


def as_text(value: Any) -> str:
    """Return the text of a value in tables: that of a number or text itself, and JSON for other values."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def _name_texts(values: list[Any]) -> list[str]:
    """Return a different short text without special characters for each value, or its number in the list."""
    plain = (re.sub(r"^[^\w.+-]+|[^\w.+-]+$", "", as_text(value)) for value in values)
    texts = [re.sub(r"[^\w.+-]+", "-", text) for text in plain]
    folded = {text.casefold() for text in texts}
    if len(folded) < len(texts) or "" in folded or max(map(len, texts)) > _MAX_TEXT:
        return [str(number) for number in range(1, len(values) + 1)]
    return texts
