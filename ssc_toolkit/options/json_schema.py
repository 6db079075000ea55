"""JSON Schemas of config files, with which editors complete and check options."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ssc_toolkit.options.schema import COMMAND_LINE_ONLY, SOME_OF, Schema

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def json_schema(kind: type[Any], title: str = "") -> dict[str, Any]:
    """Return the JSON Schema of config files with the options of a class.

    No option is required, because a config file can contain some of the options. An option of a group can be written in
    the group or with the name of the group and a dot.

    Args:
        kind: class of the options.
        title: title of the schema.

    Returns:
        The schema as plain data, in the dialect draft-07, which editors support.

    Examples:
        >>> from ssc_toolkit.options import PretrainOptions
        >>> json_schema(PretrainOptions)["properties"]["optimizer"]["properties"]["name"]["enum"]
        ['Adam', 'AdamW']
    """
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": title or kind.__name__, **_object(kind)}


def _object(kind: type[Any]) -> dict[str, Any]:
    """Return the schema of a mapping with options of a class."""
    hints, texts = get_type_hints(kind), Schema(kind).texts
    properties: dict[str, Any] = {}
    for field in fields(kind):
        if COMMAND_LINE_ONLY in field.metadata:
            continue
        own = _optional(_object(field.metadata[SOME_OF])) if SOME_OF in field.metadata else _value(hints[field.name])
        properties[field.name] = {"description": texts[field.name], **own}
        if field.default is not MISSING:
            properties[field.name]["default"] = _plain(field.default)
        group: dict[str, Any] = next(
            (part for part in (own, *own.get("anyOf", ())) if "properties" in part), {"properties": {}}
        )
        properties |= {f"{field.name}.{name}": inner for name, inner in group["properties"].items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(hint: Any) -> dict[str, Any]:
    """Return the schema of values of a type."""
    if get_origin(hint) in (Union, UnionType):
        return {"anyOf": [_value(part) for part in get_args(hint)]}
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if hint is dict or get_origin(hint) is dict:
        return {"type": "object"}
    if get_origin(hint) is list:
        return {"type": "array", "items": _value(get_args(hint)[0])}
    if get_origin(hint) is tuple:
        items = get_args(hint)
        if len(items) == 2 and items[1] is Ellipsis:
            return {"type": "array", "items": _value(items[0])}
        return {"type": "array", "items": [_value(item) for item in items], "minItems": len(items)}
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint)
    return {"type": _TYPES[hint]}


def _optional(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=asdict))
