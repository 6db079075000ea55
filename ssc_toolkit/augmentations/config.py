"""Construction of transforms and chains from dictionaries."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Collection, Mapping
from typing import Any

from ssc_toolkit.augmentations.base import Augmentation


def from_config(
    config: Mapping[str, Any],
    classes: Mapping[str, type[Augmentation]] | None = None,
    *,
    open_files: bool = True,
) -> Augmentation:
    """Construct the transform or chain that a dictionary describes.

    Args:
        config: dictionary as `to_config` returns it: the key `name` holds the name of the class, and the other keys
            are its constructor arguments. A range may be a list. Omitted arguments have their default values.
        classes: additional classes by name. The classes of `ssc_toolkit.augmentations` are always available.
        open_files: whether a transform may open the audio files in its `files` argument; pass False for a
            dictionary from an untrusted source.

    Returns:
        A new transform or chain.

    Raises:
        ValueError: if the dictionary has no `name`, names an unknown class, has missing or unknown arguments, or
            has a `files` argument although `open_files` is False.

    Examples:
        >>> chain = from_config({"name": "Chain", "transforms": [{"name": "Gain", "gain_db": [-6, 0]}]})
        >>> from_config(chain.to_config()).to_config() == chain.to_config()
        True
    """
    if not isinstance(config, Mapping) or "name" not in config:
        raise ValueError(f"config: expected a dictionary with the name of a transform, got {config!r}")
    arguments = dict(config)
    name = arguments.pop("name")
    kind = find_transform(name, classes)
    if "transforms" in arguments:
        if not isinstance(arguments["transforms"], (list, tuple)):
            raise ValueError(f"config: expected the transforms of {name} as a list, got {arguments['transforms']!r}")
        arguments["transforms"] = [
            from_config(member, classes, open_files=open_files) for member in arguments["transforms"]
        ]
    parameters = inspect.signature(kind.__init__).parameters
    unknown = set(arguments) - set(parameters)
    if unknown:
        taken = ", ".join(key for key in parameters if key != "self")
        raise ValueError(f"config: expected arguments of {name} among {taken}, got {', '.join(sorted(unknown))}")
    missing = [
        key
        for key, parameter in parameters.items()
        if key != "self" and parameter.default is parameter.empty and key not in arguments
    ]
    if missing:
        raise ValueError(f"config: expected the arguments {', '.join(missing)} of {name}, got none")
    if not open_files and arguments.get("files") is not None:
        raise ValueError(f"config: expected no audio files to open, got {name} with {str(arguments['files'])[:200]}")
    return kind(**arguments)


def find_transform(
    name: Any, classes: Mapping[str, type[Augmentation]] | None = None, also: Collection[str] = ()
) -> type[Augmentation]:
    """Return the class of a transform or container by its name. No module is imported.

    Args:
        name: name of the class.
        classes: additional classes by name.
        also: further names that the caller accepts, for the error message.

    Raises:
        ValueError: if there is no such class. The message suggests the most similar name.
    """
    from ssc_toolkit import augmentations

    known = {key: getattr(augmentations, key) for key in augmentations.__all__} | dict(classes or {})
    kinds = {key: value for key, value in known.items() if _can_be_made(value)}
    if not isinstance(name, str) or name not in kinds:
        names = [*sorted(kinds), *also]
        near = difflib.get_close_matches(str(name), names, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"config: expected a transform among {', '.join(names)}, got {name!r:.100}{hint}")
    return kinds[name]


def _can_be_made(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Augmentation) and not inspect.isabstract(value)
