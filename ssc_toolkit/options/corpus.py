"""Options of the command `ssc-toolkit corpus`."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from typing import Any, Literal

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices
from ssc_toolkit.options.output_folder import check_note
from ssc_toolkit.paths import user_path

MIN_CLIPS = 40
"""Minimum number of clips of a corpus, which gives every split clips of every kind."""
CORPUS_NOTE = "corpus.json"
"""Name of the file with the settings of a corpus."""
CORPUS_PACKAGES = ("music21", "symusic", "pretty_midi", "midirenderer", "soxr")
"""Packages whose versions affect the rendered files."""
CORPUS_VERSION = 2
"""Version of the corpora. It is increased when the rendered files change."""


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Options of `corpus`, which renders a labeled corpus if it does not exist yet.

    The corpus needs no download. The command prints the path of its track table.

    Args:
        kind: "scores" for passages of real compositions, "notes" for single notes.
        clips: number of clips, at least 40.
        seed: seed of the random draws.
        folder: output folder; a folder in the user's cache by default.
        describe: also print the number of clips of each label, and copy a few clips to `examples`.
        examples: folder for the copied clips: one clip of each instrument family in the test set, named by its labels.
    """

    kind: Literal["scores", "notes"] = "scores"
    clips: int = 4000
    seed: int = 0
    folder: str | None = None
    describe: bool = False
    examples: str = "corpus-examples"

    def check(self) -> None:
        """Raise InputError if an option is invalid, or if the folder contains a corpus with other settings."""
        check_choices(self)
        check_integer("clips", self.clips, MIN_CLIPS)
        check_integer("seed", self.seed, 0)
        settings = corpus_settings(self.kind, self.clips, self.seed)
        if self.folder is not None and user_path(self.folder, "folder").is_dir():
            check_note(user_path(self.folder) / CORPUS_NOTE, settings, "folder", "corpus")


def corpus_settings(kind: str, clips: int, seed: int) -> dict[str, Any]:
    """Return all settings that affect the rendered files of a corpus.

    Args:
        kind: "scores" or "notes".
        clips: number of clips.
        seed: seed of the random choices.

    Raises:
        InputError: if one of the packages is not installed.
    """
    versions = read_package_versions()
    return {"kind": kind, "version": CORPUS_VERSION, "clips": clips, "seed": seed, "packages": versions}


def read_package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that render the corpora.

    Raises:
        InputError: if one of the packages is not installed.
    """
    try:
        return {name: importlib.metadata.version(name) for name in CORPUS_PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"the rendered corpora need the package {error.name}; fix: pip install 'ssc-toolkit[corpus]'"
        ) from error
