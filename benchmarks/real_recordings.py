"""Development set of real recordings: music of seven games, and notes of fifteen instruments.

    python benchmarks/real_recordings.py get --out=real

The command downloads packages with `apt-get` and `npm`, installs nothing, and writes:

- `packages/`: audio files and license terms of each package; `licenses.md` lists them
- `music.csv` and `notes.csv`: track tables with labels, groups and splits
- `music/` and `notes/`: stores of the decoded audio

Rerun the same command to resume. The recordings have the licenses of their packages, and are not part of this library.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from package_files import AUDIO, Package, check_tools, fetch, license_of, terms_of

from ssc_toolkit.commands.prepare import prepare
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import atomic_path, lock_folder, make_writable_folder, write_text
from ssc_toolkit.options import PrepareOptions

GAMES = {
    "colobot": ("colobot-common-sounds", 20),
    "fillets-ng": ("fillets-ng-data", 15),
    "hyperrogue": ("hyperrogue-music", 18),
    "singularity": ("singularity-music", 16),
    "supertux": ("supertux-data", 46),
    "warzone2100": ("warzone2100-music", 30),
    "wesnoth": (r"wesnoth-[0-9]+\.[0-9]+-music", 36),
}
"""Debian package (a regular expression) and number of tracks of each game."""
INSTRUMENTS = {
    "bassoon": ("reed", 10),
    "cello": ("string", 36),
    "clarinet": ("reed", 10),
    "contrabass": ("string", 13),
    "flute": ("flute", 10),
    "french-horn": ("brass", 10),
    "guitar-acoustic": ("guitar", 37),
    "guitar-nylon": ("guitar", 28),
    "harp": ("harp", 23),
    "organ": ("organ", 21),
    "piano": ("piano", 85),
    "saxophone": ("reed", 32),
    "trombone": ("brass", 17),
    "trumpet": ("brass", 11),
    "violin": ("string", 15),
}
"""Family and number of notes of each instrument."""
WRONG_PITCH = {("cello", "As4"), ("clarinet", "Fs6"), ("guitar-nylon", "D5")}
"""Notes that are left out, because they sound a semitone away from the pitch in the file name."""
MINUTES = 646
MIN_SECONDS = 25.0
"""Shorter files of a game are sound effects and jingles."""
MIN_ARTIST_TRACKS = 6
FRACTIONS = {"train": 0.6, "valid": 0.2, "test": 0.2}
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
REGISTERS = {"low": 48, "middle": 72, "high": 128}
"""First MIDI number above each register."""
_NOTE = re.compile(r"([A-G])(s?)(\d)( v\d)?")
_VERSION = re.compile(r"[-_ ](enhanced|old|v\d)$")


def main() -> None:
    """Get the recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command = parser.add_subparsers(dest="command", required=True).add_parser("get", help="download and prepare")
    command.add_argument("--out", type=Path, required=True, help="folder for packages, tables and stores")
    command.add_argument("--only", choices=("music", "notes"), help="get only one of the two sets")
    command.add_argument("--sample_rate", type=int, default=16000, help="sample rate of the stores in hertz")
    options = parser.parse_args()
    wanted = ("music", "notes") if options.only is None else (options.only,)
    folder = make_writable_folder(options.out, "out").absolute()
    with lock_folder(folder, "out"):
        for name in wanted:
            check_tools(SOURCES[name])
        for name in wanted:
            get(name, folder, options.sample_rate)
        write_licenses(folder)


def get(name: str, folder: Path, sample_rate: int) -> None:
    """Download the packages of a set, and write its table and its store.

    Args:
        name: "music" or "notes".
        folder: output folder.
        sample_rate: sample rate of the store in hertz.
    """
    packages = make_writable_folder(folder / "packages", "out")
    tables = []
    for package in packages_of(name):
        tables.append(BUILDERS[name](package.name, fetch(package, packages)))
    table = pd.concat(tables, ignore_index=True)
    if name == "music":
        table = keep_frequent_artists(table)
        minutes = round(table["seconds"].sum() / 60)
        if minutes != MINUTES:
            warn(f"expected {MINUTES} minutes of music, got {minutes}")
    table = add_stratified_splits(table, CLASSES[name])
    table["path"] = [Path(path).relative_to(folder).as_posix() for path in table["path"]]
    with atomic_path(folder / f"{name}.csv") as temporary:
        table.to_csv(temporary, index=False, encoding="utf-8")
    classes = table[CLASSES[name]].nunique()
    print(
        f"{name}: {len(table)} files, {classes} classes of {CLASSES[name]}, {table['seconds'].sum() / 60:.0f} minutes"
    )
    prepare(PrepareOptions(tracks=str(folder / f"{name}.csv"), out=str(folder / name), sample_rate=sample_rate))


def packages_of(name: str) -> list[Package]:
    """Return the packages of a set."""
    if name == "music":
        return [Package(game, "apt", pattern) for game, (pattern, _) in GAMES.items()]
    return [Package(instrument, "npm", f"tonejs-instrument-{instrument}-mp3") for instrument in INSTRUMENTS]


def music_of(game: str, folder: Path) -> pd.DataFrame:
    """Return the rows of the tracks of a game that are long enough.

    Args:
        game: name of the game, a key of `GAMES`.
        folder: folder of its package.

    Returns:
        A table with `path`, `track_id`, `group`, `game`, `artist` and `seconds`.
    """
    found = [(path, *read_header(path)) for path in audio_of(folder)]
    kept = [(path, seconds, artist) for path, seconds, artist in found if seconds > MIN_SECONDS]
    check_count(game, len(kept), GAMES[game][1], f"tracks of more than {MIN_SECONDS:g} s")
    top = os.path.commonpath([path.parent for path, _, _ in kept]) if kept else folder
    rows = [
        {
            "path": str(path),
            "track_id": f"{game}/{path.relative_to(top).as_posix()}",
            "group": group_of(game, path),
            "game": game,
            "artist": artist,
            "seconds": round(seconds, 3),
        }
        for path, seconds, artist in kept
    ]
    return pd.DataFrame(rows)


def notes_of(instrument: str, folder: Path) -> pd.DataFrame:
    """Return the rows of the notes of an instrument.

    Args:
        instrument: name of the instrument, a key of `INSTRUMENTS`.
        folder: folder of its package.

    Returns:
        A table with `path`, `track_id`, `group`, `instrument`, `family`, `pitch` (MIDI number), `register` and
        `seconds`.
    """
    rows = []
    for path in audio_of(folder):
        pitch = pitch_of(path.stem)
        if pitch is None:
            warn(f"{instrument}: {path.name} is left out, because its name is not a note")
        elif (instrument, path.stem) not in WRONG_PITCH:
            rows.append(
                {
                    "path": str(path),
                    "track_id": f"{instrument}/{path.name}",
                    "group": group_of(instrument, path),
                    "instrument": instrument,
                    "family": INSTRUMENTS[instrument][0],
                    "pitch": pitch,
                    "register": next(name for name, limit in REGISTERS.items() if pitch < limit),
                    "seconds": round(read_header(path)[0], 3),
                }
            )
    check_count(instrument, len(rows), INSTRUMENTS[instrument][1], "notes")
    return pd.DataFrame(rows)


def pitch_of(name: str) -> int | None:
    """Return the MIDI number of a note from its name, or None for another name.

    Examples:
        >>> pitch_of("A4"), pitch_of("As4"), pitch_of("F2 v2"), pitch_of("index")
        (69, 70, 41, None)
    """
    found = _NOTE.fullmatch(name)
    return None if found is None else 12 * (int(found[3]) + 1) + SEMITONES[found[1]] + bool(found[2])


def group_of(prefix: str, path: Path) -> str:
    """Return the group of a track. Other versions of the track, such as "theme_old" of "theme", are in the group."""
    return f"{prefix}/{_VERSION.sub('', path.stem)}"


def read_header(path: Path) -> tuple[float, str | None]:
    """Return the duration of an audio file in seconds, and the artist from its tags; 0 for an unreadable file."""
    try:
        with soundfile.SoundFile(path) as file:
            return file.frames / file.samplerate, file.copy_metadata().get("artist") or None
    except (soundfile.LibsndfileError, ZeroDivisionError) as error:
        warn(f"{path} is left out, because it cannot be read ({error})")
        return 0.0, None


def audio_of(folder: Path) -> list[Path]:
    """Return the audio files below a folder, sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in AUDIO)


def keep_frequent_artists(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the artists of fewer than `MIN_ARTIST_TRACKS` tracks; their tracks are kept."""
    counts = table["artist"].map(Counter(table["artist"].dropna()))
    return table.assign(artist=table["artist"].where(counts >= MIN_ARTIST_TRACKS))


def add_stratified_splits(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the table with a column `split`, in which each class is divided by the same fractions.

    All rows of a group are in the same split. The split depends only on the labels and the names of the groups.

    Args:
        table: table with the columns `group` and `label`. The rows of a group have the same label.
        label: name of the label column.
    """
    split = {}
    bounds = np.cumsum(list(FRACTIONS.values()))
    for _, rows in table.groupby(label):
        groups = sorted(rows["group"].unique())
        places = (np.random.default_rng(0).permutation(len(groups)) + 0.5) / len(groups)
        names = np.array(list(FRACTIONS))[np.searchsorted(bounds[:-1], places)]
        split |= dict(zip(groups, names, strict=True))
    return table.assign(split=table["group"].map(split))


def write_licenses(folder: Path) -> None:
    """Write `licenses.md`: the version and the licenses of each package, and the files with the terms."""
    rows = ["| package | version | licenses | terms |", "|---|---|---|---|"]
    for package in sorted((folder / "packages").iterdir()):
        if (package / "version").is_file():
            name, version = (package / "version").read_text(encoding="utf-8").split()
            terms = ", ".join(f"`{path.relative_to(folder).as_posix()}`" for path in terms_of(package))
            rows.append(f"| {name} | {version} | {license_of(package)} | {terms} |")
    write_text(folder / "licenses.md", "\n".join(rows) + "\n")


def check_count(name: str, found: int, expected: int, what: str) -> None:
    """Warn if a package contains another number of files than expected."""
    if found != expected:
        warn(f"{name}: expected {expected} {what}, got {found}; scores differ from those of the complete set")


def warn(text: str) -> None:
    """Print a warning to the standard error."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


SOURCES = {"music": "apt", "notes": "npm"}
CLASSES = {"music": "game", "notes": "instrument"}
BUILDERS = {"music": music_of, "notes": notes_of}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("interrupted; rerun the same command to resume") from None
