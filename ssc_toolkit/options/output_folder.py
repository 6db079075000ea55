"""Output folders that contain a file (a note) with their settings, so that no folder is used for two purposes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import (
    clear_leftovers,
    is_leftover,
    lock_folder,
    make_writable_folder,
    read_checked_json,
    write_checked_json,
)


def has_other_files(folder: Path, note: str) -> bool:
    """Return whether a folder contains anything but its lock and temporary files of the file with the name `note`."""
    return not all(path.name == ".lock" or is_leftover(path, note) for path in folder.iterdir())


def check_note(note: Path, settings: Mapping[str, Any], argument: str, kind: str) -> None:
    """Raise InputError unless an output folder is empty, or a file in it contains the same settings.

    Args:
        note: JSON file in the folder that contains the settings with which the folder was written.
        settings: expected settings.
        argument: name of the argument that gave the folder.
        kind: name of what the folder contains, such as "demonstration".
    """
    folder = note.parent
    if not note.exists():
        if has_other_files(folder, note.name):
            raise InputError(f"{argument}: {folder} is not empty and contains no {kind}; choose another folder")
        return
    found = read_checked_json(note, argument, "restore it, or choose another folder", required=False)
    if found != json.loads(json.dumps(settings)):
        raise InputError(
            f"{argument}: {folder} contains a {kind} with other settings (see {note.name}); choose another folder"
        )


@contextmanager
def claim_folder(
    note: Path, settings: Mapping[str, Any], argument: str, kind: str, *, wait: bool = False
) -> Iterator[Path]:
    """Context manager that creates and locks the folder of a note, writes the note, and yields the path of the folder.

    The arguments and errors are the same as for `check_note`.

    Args:
        wait: whether to wait for another process that uses the folder. If False, this raises an InputError.
    """
    folder = make_writable_folder(note.parent, argument)
    check_note(note, settings, argument, kind)
    with lock_folder(folder, argument, wait=wait):
        check_note(note, settings, argument, kind)
        clear_leftovers(folder)
        if not note.exists():
            write_checked_json(note, settings)
        yield folder
