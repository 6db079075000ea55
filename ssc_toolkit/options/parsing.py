"""Parsers of options from the command line, YAML files and plain data."""

from __future__ import annotations

import json
import re
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING
from functools import reduce
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Any, Generic, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.files import check_text, check_texts, read_options
from ssc_toolkit.options.json_schema import json_schema
from ssc_toolkit.options.schema import Option, Options, Schema, suggest_name
from ssc_toolkit.options.wording import simplify_message

_OF_THE_PARSER = ("config", "help", "print_config", "print_schema")
_HOME = re.compile(r"(?:(?<=^)|(?<=[,=\[]))~(?=/|$)")
"""Pattern of a `~` for the home folder in a value. Shells replace it only at the beginning of a word."""


_FAULTS = ("out", "workers", "trainer")
"""Names of options whose errors may be caused by the disk or another process instead of the value of the option."""


class CommandLine(Generic[Options]):
    """Parsed arguments of a command.

    Options on the command line override options in `--config` files, in any order.

    Args:
        kind: class of the options.
        arguments: arguments after the name of the command.
        prog: name of the command for `--help`.
        about: what the command does, for `--help`.

    Attributes:
        options: instance of `kind` with the parsed options.

    Raises:
        InputError: for an unknown option, a value of the wrong type, or an invalid config file.
        SystemExit: with status 0, after `--help`, `--print_config` or `--print_schema`.

    Examples:
        >>> from ssc_toolkit.options import EmbedOptions
        >>> CommandLine(EmbedOptions, ["music", "--encoder=runs/a/encoder", "--out=a.npz"]).options.tracks
        'music'
    """

    def __init__(self, kind: type[Options], arguments: Sequence[str], prog: str = "", about: str = "") -> None:
        schema = Schema(kind)
        if "--print_schema" in arguments:
            print(json.dumps(json_schema(kind, f"Config of {prog}" if prog else ""), indent=1, ensure_ascii=False))
            raise SystemExit(0)
        spelled = _spelled(schema, arguments)
        configs = [text.removeprefix("--config=") for text in spelled if text.startswith("--config=")]
        flags = _flags(schema, spelled)
        self._configs = {config: _read_config(schema, config) for config in configs}
        self._arguments = [text for text in spelled if _name_of(text) not in (*schema.flags, "config")]
        content = schema.nested(*self._configs.values())
        try:
            base = _checked(schema, content, required=False) if content else None
            is_printed = any(_name_of(text) == "print_config" for text in self._arguments)
            found = _parser(schema, prog, about, has_help=not is_printed).parse_args(
                self._arguments, namespace=base, env=False
            )
        except ArgumentError as error:
            raise InputError(f"{simplify_message(str(error))}; --help explains the options") from error
        with self.config_named():
            self.options = schema.built(_with_items(schema, {**vars(found), **flags}))

    def check(self) -> None:
        """Raise InputError if an option is invalid. The message names the config file if the option comes from one."""
        with self.config_named():
            self.options.check()

    @contextmanager
    def config_named(self) -> Iterator[None]:
        """Context manager that adds the config file to messages of errors about options from this file."""
        try:
            yield
        except InputError as error:
            name = str(error).partition(":")[0]
            group, _, option = re.sub(r"\[\d+\]", "", name).partition(".")
            if name not in _FAULTS and not any(
                text.startswith((f"--{name}=", f"--{name}.")) for text in self._arguments
            ):
                for config, content in reversed(self._configs.items()):
                    value = content.get(group, {})
                    if group in content and (not option or option in value):
                        raise InputError(f"config: {config}: {error}") from error
            raise


def parse_mapping(kind: type[Options], content: Mapping[Any, Any]) -> Options:
    """Convert plain data, such as the content of a YAML file, to options.

    Raises:
        InputError: for an unknown option, or a value of the wrong type.

    Examples:
        >>> from ssc_toolkit.options import PretrainOptions
        >>> plain = {"tracks": "scores", "out": "runs/one", "trainer": {"precision": "bf16"}}
        >>> parse_mapping(PretrainOptions, plain).trainer.precision
        'bf16'
    """
    schema = Schema(kind)
    return schema.built(_with_items(schema, vars(_checked(schema, schema.nested(content)))))


def _with_items(schema: Schema[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by name, in which the items of lists of groups of options are instances of their classes.

    Raises:
        InputError: for an unknown option of an item, or a value of the wrong type.
    """
    found = dict(values)
    for name, kind in schema.items.items():
        try:
            found[name] = tuple(
                parse_mapping(kind, item) if isinstance(item, Mapping) else item for item in values.get(name) or ()
            )
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
    return found


def _read_config(schema: Schema[Any], config: str) -> dict[str, Any]:
    """Read the options in a YAML config file as plain data, and check their names and types."""
    content = read_options(Path(config), "config")
    try:
        content = schema.nested(content)
        _checked(schema, content, required=False)
    except InputError as error:
        raise InputError(f"config: {config}: {error}") from error
    return content


def _checked(schema: Schema[Any], content: Mapping[str, Any], *, required: bool = True) -> Any:
    """Check the types of the options in `content`, and return their converted values by name.

    If `required` is False, required options can be missing, and defaults are not added.
    """
    check_texts(dict(content))
    try:
        return _parser(schema, required=required).parse_object(dict(content), env=False, defaults=required)
    except (ArgumentError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(simplify_message(str(error))) from error


def _parser(
    schema: Schema[Any], prog: str = "", about: str = "", *, required: bool = True, has_help: bool = True
) -> ArgumentParser:
    """Return a parser of the options in `schema`.

    `prog` and `about` are shown by `--help`. If `required` is False, no option is required. `has_help` is
    False for `--print_config`, because the parser prints no options that are hidden from `--help`.

    Options of groups are added one by one, because the parser's own groups would read other files and import classes
    that a config names.
    """
    parser = ArgumentParser(prog=prog, description=about, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "--config", action="config", help="YAML file with options; options on the command line override it"
    )
    groups = {name: parser.add_argument_group(f"{name}: {schema.texts[name]}") for name in schema.groups}
    required_first = sorted(schema.options.items(), key=lambda item: item[1].default is not MISSING)
    for name, option in required_first:
        is_required = option.default is MISSING
        keywords = {"required": required} if is_required else {"default": option.default}
        place = groups.get(name.partition(".")[0], parser) if "." in name else parser
        text = option.help.replace("%", "%%") if has_help else ""
        place.add_argument(f"--{name}", type=_plain_dictionaries(option.hint), help=text, **keywords)
    parser.add_argument(
        "--print_schema",
        action="store_true",
        default=SUPPRESS,
        help="print a JSON Schema of config files, with which editors complete and check options",
    )
    for flag in schema.flags.values():  # only for --help, because _flags parses them
        parser.add_argument(f"--{flag.name}", type=flag.hint, help=flag.help, default=flag.default)
    return parser


def _plain_dictionaries(hint: Any) -> Any:
    """Return a type hint with `dict` for `dict[str, Any]`, in whose values the parser imports classes by their names.

    Examples:
        >>> _plain_dictionaries(list[dict[str, Any] | str] | None)
        list[dict | str] | None
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is dict:
        return dict
    if origin in (Union, UnionType):
        return reduce(or_, map(_plain_dictionaries, inner))
    if origin in (list, tuple):
        return origin[tuple(map(_plain_dictionaries, inner))]
    return hint


def _name_of(argument: str) -> str:
    """Return the name of the option in an argument of the form `--name=value`."""
    return argument.removeprefix("--").partition("=")[0]


def _flags(schema: Schema[Any], spelled: Sequence[str]) -> dict[str, bool]:
    """Return the values of the flags that only the command line can set, by name."""
    found = {}
    for name, _, value in (text.removeprefix("--").partition("=") for text in spelled):
        if name in schema.flags:
            if value not in ("true", "false"):
                raise InputError(f"{name}: expected true or false, got {value}")
            found[name] = value == "true"
    return found


def _spelled(schema: Schema[Any], arguments: Sequence[str]) -> list[str]:
    """Convert command-line arguments to the form `--name=value`, and expand flags, lists, home folders and groups.

    Raises:
        InputError: for an unknown option, or for an option without a value.
    """
    waiting = list(arguments)
    leading = next((name for name in ("file", "tracks", "run") if name in schema.options), None)
    if waiting and leading and not waiting[0].startswith("-"):
        waiting[0] = f"--{leading}={waiting[0]}"
    spelled: list[str] = []
    whole_groups: list[str] = []
    while waiting:
        text = waiting.pop(0)
        name, equals, value = text.removeprefix("--").partition("=")
        if text in ("-h", "--help") or (text.startswith("--") and name == "print_config"):
            spelled.append(text)
            continue
        option = _known(schema, text, name)
        if not equals and option is not None and option.is_flag and waiting[:1] not in (["true"], ["false"]):
            value = "true"
        elif not equals and waiting and not waiting[0].startswith("--"):
            value = waiting.pop(0)
        if not value:
            raise InputError(f"--{name} is empty; give a value or leave it out")
        check_text(name, value)
        value = _HOME.sub(lambda _: str(Path.home()), value)
        if schema.takes_single_value(name):
            own = schema.whole_group(name, value)
            whole_groups += [f"--{name}.{inner}={'null' if text is None else text}" for inner, text in own.items()]
        else:
            spelled.append(f"--{name}={value if option is None else _as_list(option, value)}")
    return [*whole_groups, *spelled]  # `--group.option` adds to `--group`, in any order


def _known(schema: Schema[Any], text: str, name: str) -> Option | None:
    """Return the option of a command with a name, or None for the name of a group or an option such as `--config`.

    `text` is the argument on the command line, for error messages.
    """
    if not text.startswith("--"):
        raise InputError(f"expected options as --name=value, got {text[:200]!r}; --help explains the options")
    if schema.takes_single_value(name) or name == "config":
        return None
    if name in schema.flags:
        return schema.flags[name]
    try:
        schema.check_name(name)
    except InputError as error:
        hint = suggest_name(name, [*schema.names_near(name), *_OF_THE_PARSER]).replace(
            "mean ", "mean --"
        ) + schema.list_group(name)
        raise InputError(f"--{name[:100]} is not an option{hint or '; --help explains the options'}") from error
    return schema.options.get(name)


def _as_list(option: Option, value: str) -> str:
    """Convert the value of a list option on the command line to YAML. For example, `a,b` becomes `["a", "b"]`."""
    if not option.is_list or value.startswith("[") or value == "null":
        return value
    is_text = any(str in get_args(part) for part in (option.hint, *get_args(option.hint)))
    parts = [part.strip() for part in value.split(",")]
    return f"[{', '.join(json.dumps(part, ensure_ascii=False) if is_text else part for part in parts)}]"
