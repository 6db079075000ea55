"""Transforms and chains from plain dictionaries."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ssc_toolkit.augmentations.base import Augmentation


def from_config(
    config: Mapping[str, Any],
    classes: Mapping[str, type[Augmentation]] | None = None,
    *,
    open_files: bool = True,
) -> Augmentation:
    """The transform or chain that a dictionary describes.

    Args:
        config: `name` of a class and its arguments, as their `to_config` gives them; ranges may be lists, and
            what is left out has its default.
        classes: your own classes by name, beside those of `ssc_toolkit.augmentations`.
        open_files: open the audio files that a transform names; pass False for a dictionary of somebody else.

    Raises:
        ValueError: for a dictionary without a name, an unknown class, arguments that it does not take, or files that
            may not be opened.

    Examples:
        >>> chain = from_config({"name": "Chain", "transforms": [{"name": "Gain", "gain_db": [-6, 0]}]})
        >>> from_config(chain.to_config()).to_config() == chain.to_config()
        True
    """
    from ssc_toolkit import augmentations

    if not isinstance(config, Mapping) or "name" not in config:
        raise ValueError(f"config: expected a dictionary with the name of a transform, got {config!r}")
    arguments = dict(config)
    name = arguments.pop("name")
    known = {key: getattr(augmentations, key) for key in augmentations.__all__} | dict(classes or {})
    kinds = {key: value for key, value in known.items() if _can_be_made(value)}
    kind = kinds.get(name)
    if kind is None:
        raise ValueError(f"config: expected a transform among {', '.join(sorted(kinds))}, got {name!r}")
    if "transforms" in arguments:
        if not isinstance(arguments["transforms"], (list, tuple)):
            raise ValueError(f"config: the transforms of {name} are no list but {arguments['transforms']!r}")
        arguments["transforms"] = [
            from_config(member, classes, open_files=open_files) for member in arguments["transforms"]
        ]
    parameters = inspect.signature(kind.__init__).parameters
    unknown = set(arguments) - set(parameters)
    if unknown:
        taken = ", ".join(key for key in parameters if key != "self")
        raise ValueError(f"config: {name} takes {taken}; got {', '.join(sorted(unknown))}")
    missing = [
        key
        for key, parameter in parameters.items()
        if key != "self" and parameter.default is parameter.empty and key not in arguments
    ]
    if missing:
        raise ValueError(f"config: {name} needs {', '.join(missing)}")
    if not open_files and arguments.get("files") is not None:
        raise ValueError(f"config: {name} names audio files ({str(arguments['files'])[:200]}), which may not be opened")
    return kind(**arguments)


def _can_be_made(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Augmentation) and not inspect.isabstract(value)
