"""Options that say where tracks come from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ssc_toolkit.errors import InputError


@dataclass(frozen=True, kw_only=True)
class TrackSource:
    """Source of a track table. The options of most commands inherit from it.

    Args:
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset.
        root: folder that the paths in the CSV file are relative to (by default its own folder), or folder of the
            dataset.
        variant: variant of the dataset, which determines its labels and splits.

    Examples:
        >>> TrackSource(tracks="gtzan", root="/data/gtzan")
        TrackSource(tracks='gtzan', root='/data/gtzan', variant=None)
    """

    tracks: str
    root: str | None = None
    variant: str | None = None

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""


@contextmanager
def source_named(argument: str) -> Iterator[None]:
    """Raise errors about a track source under the name of the argument that holds it.

    Args:
        argument: name of the argument; for "tracks", errors stay as they are.

    Examples:
        >>> with source_named("unlabeled"):
        ...     raise InputError("root: there is no folder nowhere")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: unlabeled.root: there is no folder nowhere
    """
    try:
        yield
    except InputError as error:
        if argument == "tracks":
            raise
        name, _, rest = str(error).partition(":")
        known = {"tracks": argument, "root": f"{argument}.root", "variant": f"{argument}.variant"}
        raise InputError(f"{known.get(name, f'{argument}: {name}')}:{rest}") from error
