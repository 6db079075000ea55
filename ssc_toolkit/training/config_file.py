"""Read files of options: plain data in YAML, bounded in size."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading

_MAX_BYTES = 1_000_000
_MAX_NODES = 20_000


def read_options(path: Path, argument: str) -> dict[str, Any]:
    """Read options by name from a YAML file; nothing in it is run.

    Args:
        path: of the file.
        argument: the argument that led to it, for the error.

    Raises:
        InputError: if it cannot be read, is not YAML, holds a name twice, is larger than any list of options (also
            after its aliases are expanded), or holds anything but options by name.
    """
    with reading(argument, path, "correct it"):
        if path.exists() and not path.is_file():
            raise InputError(f"{argument}: {path} is not a file")
        try:
            content = _parsed(path)
        except yaml.YAMLError as error:
            raise InputError(f"{argument}: {path} is no YAML file ({' '.join(str(error).split())[:300]})") from error
    if not isinstance(content, dict):
        raise InputError(f"{argument}: {path} should hold options by name, got {type(content).__name__}")
    return content


def _parsed(path: Path) -> Any:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES} bytes")
    loader = yaml.SafeLoader(raw.decode("utf-8"))
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of nodes below a node, aliases expanded.

    Raises:
        ValueError: for too many, for a node that holds itself, and for a name that comes twice.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("a part of it holds itself")
        return sizes[id(node)]
    sizes[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for name, count in names.items():
            if count > 1:
                raise ValueError(f"{name[:100]!r} comes twice")
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    size = 1 + sum(_check(child, sizes) for child in children)
    if size > _MAX_NODES:
        raise ValueError(f"it holds more than {_MAX_NODES} values")
    sizes[id(node)] = size
    return size
