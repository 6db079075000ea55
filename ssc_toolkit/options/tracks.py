"""Options that specify the tracks of a command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import DATASETS, DEFAULT_CORPUS, EMBEDDING_SUFFIXES, STORE_FILE
from ssc_toolkit.paths import local_path, missing_hint, user_path


@dataclass(frozen=True, kw_only=True)
class TrackSource:
    """Source of a track table. The options of most commands inherit from it.

    Args:
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset.
        root: folder of the dataset, or folder to which paths in the CSV file are relative (by default the folder of the
            CSV file).
        variant: variant of the dataset, which determines its labels and splits.

    Examples:
        >>> TrackSource(tracks="gtzan", root="/data/gtzan")
        TrackSource(tracks='gtzan', root='/data/gtzan', variant=None)
    """

    tracks: str
    root: str | None = None
    variant: str | None = None

    @property
    def is_store(self) -> bool:
        """Whether the source is an audio store, in a folder or at a URL."""
        name = local_path(self.tracks, "tracks")
        return "://" in name or (Path(name) / STORE_FILE).is_file()

    def check(self) -> None:
        """Raise InputError if the source does not exist, or if `root` or `variant` does not apply to it."""
        name = local_path(self.tracks, "tracks")
        path, is_dataset = Path(name), name in DATASETS
        is_folder = path.is_dir() and not (path / STORE_FILE).is_file()
        if is_dataset and self.root is None:
            instead = f"; for the folder {name}, write ./{name}" if path.is_dir() else ""
            raise InputError(f"root: expected the folder of the dataset {name}, got none{instead}")
        if self.variant is not None and not is_dataset:
            raise InputError(f"variant: expected a dataset ({', '.join(DATASETS)}) to use it with, got {name}")
        if self.root is not None and not is_dataset and (name == DEFAULT_CORPUS or is_folder):
            raise InputError(f"root: expected a dataset or a CSV file to use it with, got {name}")
        if not is_dataset and name != DEFAULT_CORPUS and "://" not in name and not path.exists():
            raise InputError(
                f"tracks: there is no file or folder {name}; give a CSV file or a folder, {DEFAULT_CORPUS!r} for the "
                f"default corpus, or a dataset ({', '.join(DATASETS)}){missing_hint(name)}"
            )
        if path.suffix.lower() in EMBEDDING_SUFFIXES and path.is_file():
            raise InputError(
                f"tracks: expected a CSV file or a folder of audio, got {name}, a file of embeddings as `embed` "
                "writes it"
            )
        if self.root is not None and (is_dataset or path.is_file()):
            root = user_path(self.root, "root")
            if not root.is_dir():
                raise InputError(f"root: there is no folder {root}{missing_hint(root)}")


def as_source(source: str | TrackSource) -> TrackSource:
    """Return a track source, of which a text is the option `tracks`."""
    return source if isinstance(source, TrackSource) else TrackSource(tracks=source)


@contextmanager
def source_named(argument: str) -> Iterator[None]:
    """Context manager that adds the name of the argument with a track source to errors about this source.

    Args:
        argument: name of the argument with the source. If it is "tracks", errors are not changed.

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
