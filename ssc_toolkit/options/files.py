"""Reader of YAML files with options, which accepts only plain data of limited size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading

_MAX_BYTES = 1_000_000
_MAX_NODES = 20_000
_MAX_DEPTH = 50


def read_options(path: Path, argument: str) -> dict[str, Any]:
    """Read options from a YAML file as a dictionary by name, without running any code in it.

    Args:
        path: path of the file.
        argument: name of the argument that gave the file, for the error message.

    Raises:
        InputError: if the file cannot be read, is not YAML, contains a name twice, is too large before or after its
            aliases are expanded, or is not a mapping from names to values.
    """
    with reading(argument, path, "correct it"):
        if path.exists() and not path.is_file():
            raise InputError(f"{argument}: {path} is not a file")
        try:
            content = _parsed(path)
        except _TooLarge as error:
            raise InputError(f"{argument}: {path}: {error}; divide it into several files") from error
        except yaml.YAMLError as error:
            raise InputError(f"{argument}: {path} is not a YAML file of plain values ({_reason(error)})") from error
    if not isinstance(content, dict):
        raise InputError(f"{argument}: {path}: expected options by name, got {type(content).__name__}")
    return content


def check_text(argument: str, text: str) -> None:
    """Raise InputError if a text is YAML that becomes too large or too deep when its lists and aliases are expanded.

    The command-line parser reads the value of each option as YAML, also the texts in a config file.

    Args:
        argument: name of the option, for the error message.
        text: value of the option.

    Examples:
        >>> check_text("labels", "[key, family]")
    """
    if not any(character in text for character in "[{&-?:"):
        return
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is not None:
            _check(node, {})
    except RecursionError as error:
        raise InputError(f"{argument}: expected at most {_MAX_DEPTH} nested lists, got more") from error
    except _TooLarge as error:
        raise InputError(f"{argument}: {error}") from error
    except (yaml.YAMLError, ValueError):  # it is a text, and the parser treats it as a text
        return
    finally:
        loader.dispose()


def check_texts(content: Any, name: str = "") -> None:
    """Raise InputError if plain data contains a text that `check_text` rejects. `name` begins the names of options."""
    if isinstance(content, str):
        check_text(name or "value", content)
    elif isinstance(content, dict):
        for key, value in content.items():
            check_texts(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, list | tuple):
        for value in content:
            check_texts(value, name)


class _TooLarge(Exception):
    """Error for a file that exceeds a limit. Its message states the limit."""


def _reason(error: yaml.YAMLError) -> str:
    """Return the message of a YAML error as one line, with its line and column in the file."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
    return " ".join(f"{place}{reason}".split())[:300]


def _parsed(path: Path) -> Any:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise _TooLarge(f"expected at most {_MAX_BYTES:,} bytes, got a larger file")
    loader = yaml.SafeLoader(raw.decode("utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check(node: yaml.Node, sizes: dict[int, int], depth: int = 1) -> int:
    """Check a YAML node and the nodes in it, and return their number after aliases are expanded.

    `sizes` stores these numbers by the id of the node.

    Raises:
        ValueError: if a node contains itself, or if a name occurs twice.
        _TooLarge: if there are too many nodes, or if they are nested too deeply.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("a part of it contains itself")
        return sizes[id(node)]
    if depth > _MAX_DEPTH:
        raise _TooLarge(f"expected at most {_MAX_DEPTH} nested lists, got more")
    sizes[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.items():
            if count > 1:
                raise ValueError(f"the name {name[:100]!r} occurs twice")
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    size = 1 + sum(_check(child, sizes, depth + 1) for child in children)
    if size > _MAX_NODES:
        raise _TooLarge(f"expected at most {_MAX_NODES:,} names and values in all, got more")
    sizes[id(node)] = size
    return size
