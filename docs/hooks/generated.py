"""Pages and pictures that are generated when the site is built."""

from __future__ import annotations

from typing import Any


def add(files: Any, config: Any, name: str, content: str | bytes) -> None:
    """Add a file to the site. It replaces a file of the same name, which is shown only in the repository."""
    from mkdocs.structure.files import File

    standing_in = files.get_file_from_path(name)
    if standing_in is not None:
        files.remove(standing_in)
    files.append(File.generated(config, name, content=content))
