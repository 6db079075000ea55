"""Permission for code that options name, such as `--encoder=module:function`, and the import of this code.

No other module imports code by a name from an option or a file.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.schema import COMMAND_LINE_ONLY

_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True, kw_only=True)
class CodeOptions:
    """Options of the commands that can run code of the user.

    Args:
        allow_code: allow options to name Python code, such as --encoder=module:function. The module is imported and
            run. A config file cannot set this option.
    """

    allow_code: bool = field(default=False, metadata={COMMAND_LINE_ONLY: True})


def is_import_path(source: str) -> bool:
    """Return whether a text has the form module:name, where the module can be in a package.

    Examples:
        >>> is_import_path("package.module:function"), is_import_path("runs/one/encoder")
        (True, False)
    """
    return _IMPORT_PATH.fullmatch(source) is not None


def check_code(argument: str, source: str, allow_code: bool) -> None:
    """Raise InputError unless the user allows to import and run code. Nothing is imported.

    Args:
        argument: name of the argument that names the code, for the error message.
        source: name of the code, such as "module:function".
        allow_code: option `allow_code` of the command.

    Examples:
        >>> check_code("encoder", "my_module:make_model", allow_code=True)
    """
    if allow_code is not True:
        raise InputError(
            f"{argument}: expected --allow_code with {source[:200]}, because it runs Python code, got none; "
            "add --allow_code (allow_code=True in Python) only if you trust this code"
        )


def import_code(argument: str, source: str, allow_code: bool) -> Any:
    """Import the class or function that a text of the form module:name names, if the user allows it.

    A module that is not installed is imported from the working folder. Modules in the working folder do not replace
    installed modules, also not those that the module imports.

    Args:
        argument: name of the argument that names the code, for the error message.
        source: name of the code, such as "package.module:function".
        allow_code: option `allow_code` of the command.

    Raises:
        InputError: if the code is not allowed, or if the text has another form.
        Exception: any exception that the module raises.

    Examples:
        >>> import_code("encoder", "math:sqrt", allow_code=True)(4.0)
        2.0
    """
    with _imported(argument, source, allow_code) as found:
        return found


def call_code(argument: str, source: str, allow_code: bool, **arguments: Any) -> Any:
    """Import a class or function as `import_code` does, call it with keyword arguments, and return the result.

    Modules that the function imports when it is called can be in the working folder as well.

    Raises:
        InputError: if the code is not allowed, or if `source` has another form.
        Exception: any exception that the module or the function raises.

    Examples:
        >>> call_code("target", "fractions:Fraction", allow_code=True, numerator=1, denominator=2)
        Fraction(1, 2)
    """
    with _imported(argument, source, allow_code) as found:
        return found(**arguments)


@contextmanager
def _imported(argument: str, source: str, allow_code: bool) -> Iterator[Any]:
    if not is_import_path(source):
        raise InputError(f"{argument}: expected module:name, got {source[:200]!r}")
    check_code(argument, source, allow_code)
    module, name = source.split(":")
    with _working_folder_last(module.partition(".")[0]):
        yield getattr(importlib.import_module(module), name)


@contextmanager
def _working_folder_last(package: str) -> Iterator[None]:
    """Context manager that adds the working folder to the end of `sys.path`, if it alone contains a package."""
    importlib.invalidate_caches()
    here = str(Path.cwd())
    is_known = package in sys.modules or importlib.util.find_spec(package) is not None
    if is_known or PathFinder.find_spec(package, [here]) is None:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
