"""Names, types, defaults and descriptions of the options of a command."""

from __future__ import annotations

import difflib
from argparse import SUPPRESS
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import Any, Generic, Protocol, TypeVar, get_args, get_origin, get_type_hints

from docstring_parser import parse

from ssc_toolkit.errors import InputError
from ssc_toolkit.old_names import OPTION_VALUES, OPTIONS


class Checked(Protocol):
    """Protocol of a class of options, which has a method that checks them."""

    def check(self) -> None:
        """Raise InputError if an option is invalid."""


Options = TypeVar("Options", bound=Checked)

SOME_OF = "some_of"
"""Key in the metadata of a field that contains some of the options of another class as a dictionary."""

COMMAND_LINE_ONLY = "command_line_only"
"""Key in the metadata of a flag that the user must type, because a config file may be from somebody else."""


@dataclass(frozen=True)
class Option:
    """Name, type and default of one option.

    Attributes:
        name: name of the option, with the group in front of a dot, such as "trainer.devices".
        hint: type of the value.
        help: description of the option for `--help`.
        default: default value, MISSING if the option is required, or SUPPRESS if an option that is not given has no
            value.
    """

    name: str
    hint: Any
    help: str
    default: Any

    @property
    def is_flag(self) -> bool:
        """Whether the value is true or false, or optionally None."""
        return self.hint is bool or set(get_args(self.hint)) == {bool, type(None)}

    @property
    def is_list(self) -> bool:
        """Whether the value can be a tuple."""
        return any(get_origin(part) is tuple for part in (self.hint, *get_args(self.hint)))


class Schema(Generic[Options]):
    """Options of a command, read from the fields of a dataclass and its docstring.

    A field whose type is a dataclass is a group of options. If another type is possible as well, as in `str |
    TrackSource`, a single value instead of the group is the value of its first option, and the other options are None.
    For example, `unlabeled: music` is the same as `unlabeled: {tracks: music}`. A field with the metadata `some_of` is
    a dictionary with some of the options of another class. A field whose type is a tuple of a dataclass is a list of
    groups of options; `items` contains their classes.

    Args:
        kind: the class of the options.

    Attributes:
        options: options by name.
        flags: options by name that only the command line can set, and no config file.
        groups: options of each group by name.
        items: classes of the items of lists of groups by name.
        texts: descriptions of options and groups by name.

    Examples:
        >>> from ssc_toolkit.options import PretrainOptions
        >>> Schema(PretrainOptions).options["trainer.devices"].default
        1
    """

    def __init__(self, kind: type[Options]) -> None:
        self.kind = kind
        self.options: dict[str, Option] = {}
        self.flags: dict[str, Option] = {}
        self.groups: dict[str, dict[str, Option]] = {}
        self.items: dict[str, type] = {}
        self.texts = _texts_of(kind)
        self._some_of: dict[str, Schema[Any]] = {}
        self._single: set[str] = set()
        hints = get_type_hints(kind)
        for field in fields(kind):  # type: ignore[arg-type]
            group = _group_of(hints[field.name])
            if COMMAND_LINE_ONLY in field.metadata:
                self.flags[field.name] = Option(field.name, hints[field.name], self.texts[field.name], SUPPRESS)
                continue
            if SOME_OF in field.metadata:
                self._some_of[field.name] = inner = Schema(field.metadata[SOME_OF])
                own = {f"{field.name}.{name}": _given(field, option) for name, option in inner.options.items()}
                self.groups[field.name] = own
            elif group is None:
                hint, item = hints[field.name], item_of(hints[field.name])
                if item is not None:
                    # Not `dict[str, Any]`, in whose values the parser imports classes that a config names.
                    self.items[field.name], hint = item, tuple[dict, ...]
                own = {field.name: Option(field.name, hint, self.texts[field.name], field.default)}
            else:
                inner = Schema(group)
                own = {f"{field.name}.{name}": _inside(field, option) for name, option in inner.options.items()}
                self.groups[field.name] = own
                if not {type(None), group}.issuperset(get_args(hints[field.name])):
                    self._single.add(field.name)
            self.options |= own

    def check_name(self, name: str) -> None:
        """Raise InputError if a name is not that of an option.

        The message suggests the most similar name, and lists the options of the group of the name.
        """
        if name in self.flags:
            raise InputError(
                f"{name}: expected --{name} on the command line, because a file must not set it, got {name}"
            )
        if name not in self.options:
            hint = suggest_name(name, self.names_near(name)) + self.list_group(name)
            raise InputError(f"{name[:100]!r} is not an option{hint}")

    def names_near(self, name: str) -> list[str]:
        """Return the names of options and groups among which an unknown option is searched.

        For an option of an unknown group, such as `lose.label_weight`, they are all options.
        """
        return [*self.options, *self.flags, *(group for group in self.groups if "." not in name and group != name)]

    def list_group(self, name: str) -> str:
        """Return a text that lists the options of the group of an unknown option, or an empty string without a group.

        Examples:
            >>> from ssc_toolkit.options import PretrainOptions
            >>> Schema(PretrainOptions).list_group("loss.wobble")
            '; loss has the options label_weight, label_weight_end, denominator, beta, tau_plus, sigma'
        """
        group, dot, _ = name.partition(".")
        if not dot or group not in self.groups or group in self._some_of:
            return ""
        return f"; {group} has the options {', '.join(self._names_in(group))}"

    def _names_in(self, group: str) -> list[str]:
        return [option.rpartition(".")[2] for option in self.groups[group]]

    def takes_single_value(self, name: str) -> bool:
        """Return whether `name` is that of a group that can be given as a single value, also inside of `some_of`."""
        outer, _, inner = name.partition(".")
        return name in self._single or (outer in self._some_of and self._some_of[outer].takes_single_value(inner))

    def whole_group(self, name: str, value: Any) -> dict[str, Any]:
        """Return the options of the group `name`, by their names in the group, if `value` is given for the whole group.

        The first option gets this value, and the others None.
        """
        outer, _, inner = name.partition(".")
        if outer in self._some_of:
            return self._some_of[outer].whole_group(inner, value)
        first, *others = self._names_in(name)
        return {first: value} | dict.fromkeys(others)

    def nested(self, *parts: Mapping[Any, Any]) -> dict[str, Any]:
        """Merge dictionaries of options by name. Later dictionaries override earlier ones.

        An option `group.option` is put in the dictionary of its group.

        Raises:
            InputError: for a name that is not an option.

        Examples:
            >>> from ssc_toolkit.options import PretrainOptions
            >>> Schema(PretrainOptions).nested({"trainer.devices": 2, "steps": 1}, {"steps": 3})
            {'steps': 3, 'trainer': {'devices': 2}}
        """
        whole: dict[str, Any] = {}
        for part in parts:
            part = {name: value for name, value in part.items() if value is not False or name not in self.flags}
            renamed = {name: _new_value(name, value) for name, value in self._with_new_names(part).items()}
            for key in sorted(renamed, key=lambda name: "." in name):  # a whole group precedes its options
                name, _, option = key.partition(".")
                if name in self.groups:
                    own = {option: renamed[key]} if option else self._group_content(name, renamed[key])
                    whole[name] = self._merged_group(name, whole.get(name, {}), own)
                else:
                    self.check_name(key)
                    whole[key] = renamed[key]
        return whole

    def _with_new_names(self, part: Mapping[Any, Any]) -> dict[str, Any]:
        """Return options by name with old names replaced by new names, also in groups of options."""
        found: dict[str, Any] = {}
        for key, value in part.items():
            if key in self.groups and isinstance(value, Mapping):
                names = {option: self._new_name(f"{key}.{option}") for option in value}
                moved = {option: new for option, new in names.items() if new != f"{key}.{option}"}
                found |= {new: value[option] for option, new in moved.items()}
                value = {option: own for option, own in value.items() if option not in moved}
            found[self._new_name(key)] = value
        return found

    def _new_name(self, key: Any) -> str:
        """Return the new name of an option of earlier versions, if the old name is not an option of this command."""
        new = OPTIONS.get(key, str(key))
        return new if new in self.options and key not in self.options else str(key)

    def _group_content(self, name: str, value: Any) -> Mapping[Any, Any]:
        if isinstance(value, Mapping):
            return value
        if self.takes_single_value(name):
            return self.whole_group(name, value)
        if value is None and name in self._some_of:
            return {}
        raise InputError(f"{name}: expected options by name, got {value!r:.100}")

    def _merged_group(self, name: str, before: Mapping[str, Any], own: Mapping[Any, Any]) -> dict[str, Any]:
        for option in own:
            if name not in self._some_of or str(option) not in self._some_of[name].groups:
                self.check_name(f"{name}.{option}")
        if name in self._some_of:
            try:
                return self._some_of[name].nested(before, own)
            except InputError as error:
                raise InputError(f"{name}: {error}") from error
        return {**before, **own}

    def built(self, values: Mapping[str, Any]) -> Options:
        """Create the options from values by name. The value of a group is a mapping of its options.

        Raises:
            InputError: if an option of a group is given, but not the first option of the group.
        """
        found = {}
        for field in fields(self.kind):  # type: ignore[arg-type]
            value = values.get(field.name, field.default)
            group = _group_of(get_type_hints(self.kind)[field.name])
            if field.name in self._some_of:
                value = _plain(value) or None
            elif group is not None:
                value = self._group(field, group, dict(vars(value)))
            found[field.name] = value
        return self.kind(**found)

    def _group(self, field: Any, group: type, values: dict[str, Any]) -> Any:
        name, first = field.name, next(iter(values))
        if name not in self._single:
            return group(**values)
        if all(value is None for option, value in values.items() if option != first):
            if field.default is not None or values[first] is None:
                return values[first]
        elif values[first] is None:
            given = next(option for option, value in values.items() if value is not None)
            raise InputError(f"{name}.{given}: expected {name}.{first} as well, got none")
        made = group(**values)
        if field.default is not None and all(getattr(made, option) is None for option in values if option != first):
            return getattr(made, first)  # the class moved another option to the first
        return made


def _new_value(name: str, value: Any) -> Any:
    """Return the new form of a value that earlier versions wrote for the option `name`, or the value itself."""
    known = OPTION_VALUES.get(name.rpartition(".")[2], {})
    return known.get(value, value) if isinstance(value, str) else value


def _given(field: Any, option: Option) -> Option:
    """Return `option`, which belongs to another class, as an option that sets one entry of the dictionary in `field`.

    The new option can be omitted.
    """
    return Option(f"{field.name}.{option.name}", option.hint, SUPPRESS, SUPPRESS)


def _plain(value: Any) -> Any:
    """Convert values from the parser to plain data: namespaces to dictionaries, and tuples to lists."""
    if isinstance(value, tuple):
        return list(value)
    return {name: _plain(inner) for name, inner in vars(value).items()} if hasattr(value, "__dict__") else value


def suggest_name(name: str, known: Collection[str]) -> str:
    """Return a text that suggests the most similar known name, or an empty string if no name is similar.

    Examples:
        >>> suggest_name("stepz", ["steps", "trainer.devices"]), suggest_name("device", ["steps", "trainer.devices"])
        ('; did you mean steps?', '; did you mean trainer.devices?')
        >>> suggest_name("wobble", ["steps", "trainer.devices"])
        ''
    """
    by_last = {one.rpartition(".")[2]: one for one in reversed(list(known))}
    renamed = by_last.get(name, OPTIONS.get(name))  # an option of a group, without its group, or an old name
    near = [renamed] if renamed in known else difflib.get_close_matches(name, known, 1, 0.7)
    if not near:
        near = [by_last[last] for last in difflib.get_close_matches(name.rpartition(".")[2], by_last, 1, 0.7)]
    return f"; did you mean {near[0]}?" if near else ""


def _inside(field: Any, option: Option) -> Option:
    """Return an option of the group in a field. Its default value is that in the default of the field.

    If this default is a single value, the default value of the option is that of the class of the group.
    """
    name = f"{field.name}.{option.name}"
    if field.default is None:
        return Option(name, option.hint | None, option.help, None)
    if field.default is MISSING:
        default = MISSING
    else:
        default = getattr(field.default, option.name) if is_dataclass(field.default) else option.default
    return Option(name, option.hint, option.help, default)


def item_of(hint: Any) -> type | None:
    """Return the dataclass of the items of a list of groups of options, such as `tuple[Group, ...]`, or None."""
    item = get_args(hint)[0] if get_origin(hint) is tuple else None
    return item if is_dataclass(item) and isinstance(item, type) else None


def _group_of(hint: Any) -> type | None:
    """Return the dataclass that a type hint is or contains, or None. A list of dataclasses contains none."""
    if item_of(hint) is not None:
        return None
    return next((part for part in (hint, *get_args(hint)) if isinstance(part, type) and is_dataclass(part)), None)


def _texts_of(kind: type) -> dict[str, str]:
    """Return the descriptions of fields by name, read from the docstrings of a dataclass and its base classes."""
    found = [parse(one.__doc__ or "").params for one in reversed(kind.__mro__)]
    return {text.arg_name: " ".join((text.description or "").split()) for own in found for text in own}
