"""Names, types, defaults and descriptions of the options in a class of options."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin, get_type_hints

from docstring_parser import parse

from ssc_toolkit.errors import InputError


class Checked(Protocol):
    """Options that can be checked."""

    def check(self) -> None:
        """Raise InputError for an invalid option."""


Options = TypeVar("Options", bound=Checked)

_RENAMED = {"unlabeled_root": "unlabeled.root", "unlabeled_variant": "unlabeled.variant"}
"""Names of options in earlier versions, which config files of runs may contain."""


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: name, with the group in front of a dot, such as "trainer.devices".
        hint: type of the value.
        help: description.
        default: default value, or MISSING if the option is required.
    """

    name: str
    hint: Any
    help: str
    default: Any

    @property
    def is_list(self) -> bool:
        """Whether the value is a tuple or may be one."""
        return any(get_origin(part) is tuple for part in (self.hint, *get_args(self.hint)))

    @property
    def is_free(self) -> bool:
        """Whether the value is a dictionary, in which any name may occur."""
        return any(get_origin(part) is dict for part in (self.hint, *get_args(self.hint)))


class Schema(Generic[Options]):
    """Options of a command, from the fields of a dataclass and its docstring.

    A field whose type is a dataclass is a group of options. If the default of the group is None, a single value in
    place of the group stands for its first option: `unlabeled: music` is the same as `unlabeled: {tracks: music}`.

    Args:
        kind: the class of the options.

    Attributes:
        options: options by name.
        groups: options of each group by name, and the description of the group.

    Examples:
        >>> from ssc_toolkit.options import PretrainOptions
        >>> Schema(PretrainOptions).options["trainer.devices"].default
        1
    """

    def __init__(self, kind: type[Options]) -> None:
        self.kind = kind
        self.options: dict[str, Option] = {}
        self.groups: dict[str, dict[str, Option]] = {}
        self.texts = _texts_of(kind)
        hints = get_type_hints(kind)
        for field in fields(kind):  # type: ignore[arg-type]
            group = _group_of(hints[field.name])
            if group is None:
                own = {field.name: Option(field.name, hints[field.name], self.texts[field.name], field.default)}
            else:
                inner = Schema(group).options
                own = {f"{field.name}.{name}": _inside(field, option) for name, option in inner.items()}
                self.groups[field.name] = own
            self.options |= own

    def check_name(self, name: str) -> None:
        """Raise InputError if a name is not an option; the error gives the nearest name."""
        first = self.options.get(name.partition(".")[0])
        if name not in self.options and not (first is not None and first.is_free):
            raise InputError(f"{name[:100]!r} is not an option{did_you_mean(name, self.options)}")

    def whole_group(self, name: str, value: Any) -> dict[str, Any]:
        """Return the options of a group for which a single value stands, by their names in the group."""
        first, *others = (option.rpartition(".")[2] for option in self.groups[name])
        return {first: value} | dict.fromkeys(others)

    def nested(self, *parts: Mapping[Any, Any]) -> dict[str, Any]:
        """Merge options by name. Later parts override earlier ones, and `group.option` is an option of the group.

        Raises:
            InputError: for a name that is not an option.

        Examples:
            >>> from ssc_toolkit.options import PretrainOptions
            >>> Schema(PretrainOptions).nested({"trainer.devices": 2, "steps": 1}, {"steps": 3})
            {'trainer': {'devices': 2}, 'steps': 3}
        """
        whole: dict[str, Any] = {}
        for part in parts:
            for key, value in part.items():
                key = _RENAMED.get(key, str(key))
                name, _, option = key.partition(".")
                if name not in self.groups:
                    self.check_name(key)
                    whole[key] = value
                    continue
                own = {option: value} if option else value
                if not isinstance(own, Mapping) and self.is_optional(name):
                    own = self.whole_group(name, value)
                if not isinstance(own, Mapping):
                    raise InputError(f"{name}: expected options by name, got {value!r:.100}")
                for inner in own:
                    self.check_name(f"{name}.{inner}")
                whole[name] = {**whole.get(name, {}), **own}
        return whole

    def built(self, values: Mapping[str, Any]) -> Options:
        """Return the options with these values, by name; the options of a group are a mapping.

        Raises:
            InputError: if an option of a group is given without the first one.
        """
        found = {}
        for field in fields(self.kind):  # type: ignore[arg-type]
            value = values[field.name]
            group = _group_of(get_type_hints(self.kind)[field.name])
            if group is not None:
                value = self._group(field.name, group, dict(vars(value)))
            found[field.name] = value
        return self.kind(**found)

    def _group(self, name: str, group: type, values: dict[str, Any]) -> Any:
        if not self.is_optional(name):
            return group(**values)
        if all(value is None for value in values.values()):
            return None
        first = next(iter(values))
        if values[first] is None:
            given = next(option for option, value in values.items() if value is not None)
            raise InputError(f"{name}.{given}: expected {name}.{first} as well, got none")
        return group(**values)

    def is_optional(self, name: str) -> bool:
        """Return whether a group may be left out, or be given as a single value."""
        return all(option.default is None for option in self.groups[name].values())


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a hint at the known name that is spelled most similarly, or an empty text.

    Examples:
        >>> did_you_mean("stepz", ["steps", "trainer.devices"]), did_you_mean("device", ["steps", "trainer.devices"])
        ('; did you mean steps?', '; did you mean trainer.devices?')
        >>> did_you_mean("wobble", ["steps", "trainer.devices"])
        ''
    """
    near = difflib.get_close_matches(name, known, 1, 0.7)
    if not near:
        by_last = {one.rpartition(".")[2]: one for one in reversed(list(known))}
        near = [by_last[last] for last in difflib.get_close_matches(name.rpartition(".")[2], by_last, 1, 0.7)]
    return f"; did you mean {near[0]}?" if near else ""


def _inside(field: Any, option: Option) -> Option:
    """Return an option of a group, whose default is that of the group."""
    name = f"{field.name}.{option.name}"
    if field.default is None:
        return Option(name, option.hint | None, option.help, None)
    default = MISSING if field.default is MISSING else getattr(field.default, option.name)
    return Option(name, option.hint, option.help, default)


def _group_of(hint: Any) -> type | None:
    """Return the dataclass in a type hint, or None if there is none."""
    return next((part for part in (hint, *get_args(hint)) if isinstance(part, type) and is_dataclass(part)), None)


def _texts_of(kind: type) -> dict[str, str]:
    """Return the descriptions of the fields in the docstrings of a class and of those that it inherits from."""
    found = [parse(one.__doc__ or "").params for one in reversed(kind.__mro__)]
    return {text.arg_name: " ".join((text.description or "").split()) for own in found for text in own}
