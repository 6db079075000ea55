"""Pages and pictures that are made when the site is built."""

from __future__ import annotations

from typing import Any


def add(files: Any, config: Any, name: str, content: str | bytes) -> None:
    """Put a file into the site, in the place of one of that name, which readers of the repository see."""
    from mkdocs.structure.files import File

    standing_in = files.get_file_from_path(name)
    if standing_in is not None:
        files.remove(standing_in)
    files.append(File.generated(config, name, content=content))
