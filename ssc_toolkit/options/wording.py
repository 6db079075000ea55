"""Simpler messages for errors of the command-line parser."""

from __future__ import annotations

import re

from ssc_toolkit.checks import nearest

_KINDS = {
    "int": "an integer written in digits",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "tuple": "a list, such as a,b",
}
"""Words for Python types in error messages, by the name of the type."""

_UNION = re.compile(r"Does not validate against any of the Union subtypes .*?Errors:(.*?) Given value type: .*?: ")


def simplify_message(message: str) -> str:
    """Return an error message of the command-line parser as one line, without names of Python types.

    Examples:
        >>> simplify_message("steps:  Expected a <class 'int'>. Got value: 1000.0")
        'steps: expected an integer written in digits, got 1000.0'
        >>> simplify_message("folds: Does not validate against any of the Union subtypes Subtypes: [int, NoneType] "
        ...                  "Errors: - Expected a int - Expected a NoneType Given value type: str Given value: four")
        'folds: expected an integer written in digits, got four'
        >>> simplify_message("encoder.name: Expected a typing.Literal['MelCNN', 'SampleCNN']. Got value: MelCN")
        "encoder.name: expected one of 'MelCNN', 'SampleCNN', got MelCN; did you mean MelCNN?"
    """
    message = re.sub(r'Parser key "([\w.]+)":', r"\1:", " ".join(message.split()))
    message = re.sub(r"the following arguments are required: (.*)", r"\1: expected a value, got none", message)
    message = re.sub(r"<class '(\w+)'>", r"\1", message)
    # For an optional value, keep only the part of the message about the expected type.
    optional = (
        r"Does not validate .*? Subtypes: \[.*?NoneType\] Errors: - (Expected a .*? Got value: .*?) - Expected .*"
    )
    message = re.sub(optional, r"\1", message)
    message = _UNION.sub(_describe_union, message)
    message = re.sub(r"Expected a typing\.Literal\[(.*?)\]\. Got value: ", r"expected one of \1, got ", message)
    kinds = "|".join(_KINDS)
    message = re.sub(
        rf"Expected a ({kinds})\. Got value: ", lambda found: f"expected {_KINDS[found[1]]}, got ", message
    )
    choices = re.search(r"(?:one of|or) ('.*'), got (.+)$", message)
    return message + nearest(choices[2], re.findall(r"'([^']+)'", choices[1])) if choices else message


def _describe_union(found: re.Match[str]) -> str:
    """Return the expected types of an option of several types, such as "expected an integer or 'groups', got "."""
    types = re.findall(r"- Expected a (?:typing\.Literal\[(.*?)\]|([\w.]+))", found[1])
    known = [
        f"one of {choices}" if "," in choices else choices or _KINDS.get(name, name)
        for choices, name in types
        if name != "NoneType"
    ]
    return f"expected {' or '.join(known)}, got "
