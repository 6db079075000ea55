"""Corruptions with stored draws, so that every model receives the same corrupted audio."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from ssc_toolkit import __version__
from ssc_toolkit.augmentations import Augmentation, Draw, from_config
from ssc_toolkit.data.track_table import Tracks, as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.files import append_checksum, atomic_path, reading, verify_checksum
from ssc_toolkit.hashing import new_digest
from ssc_toolkit.seeds import make_generator

_FORMAT = 2  # 1: the same seed gave other draws, which depended on the rows of the table
_ADVICE = "draw the corruptions again into another file or folder"


@dataclass(frozen=True)
class FixedCorruption:
    """A transform with its random draw for each track, at one sample rate.

    The draw of a track contains every random value, in hertz, decibels, milliseconds and seeds. The transform contains
    everything else. Both are stored. The corrupted audio therefore stays the same when the order of the tracks, the
    random generator, or the ranges of the presets in a later version change. A draw depends on the seed and the name of
    the track, and not on the other tracks. Models at another sample rate receive the
    same corrupted audio, resampled.

    Attributes:
        transform: the corruption.
        sample_rate: sample rate, in hertz, of the audio that the corruption is applied to.
        names: names of the tracks, as `track_names` returns them.
        drawn: the draw of each track.

    Examples:
        >>> from ssc_toolkit.augmentations import Gain
        >>> import pandas as pd
        >>> tracks = pd.DataFrame({"path": ["/music/a.wav", "/music/b.wav"]})
        >>> corruption = FixedCorruption.draw(Gain((-20, 0)), 16000, tracks, seed=0)
        >>> first, second = corruption.draw_for(tracks[::-1]).values["gain_db"].tolist()
        >>> [second, first] == corruption.draw_for(tracks).values["gain_db"].tolist()
        True
    """

    transform: Augmentation
    sample_rate: int
    names: tuple[str, ...]
    drawn: Draw

    @classmethod
    def draw(cls, transform: Augmentation, sample_rate: int, tracks: Tracks, seed: int = 0) -> Self:
        """Draw the random values of a corruption for every track of a table.

        Args:
            transform: the corruption, at one severity.
            sample_rate: sample rate of the corruption in hertz.
            tracks: track table, data frame or path, with `path` and, optionally, `track_id`.
            seed: seed of the draws. The same seed gives corresponding draws at every severity, and the same draws for
                tracks of the same name in other tables.
        """
        tracks = as_track_table(tracks)
        names = tuple(track_names(tracks))
        places = [int.from_bytes(new_digest(name.encode(), size=8).digest(), "little") >> 1 for name in names]
        drawn = transform.draw(len(names), make_generator(seed, "corruption"), places=places)
        return cls(transform, sample_rate, names, drawn)

    @classmethod
    def load(cls, path: str | Path, *, open_files: bool = False) -> Self:
        """Load a file that `save` wrote.

        Args:
            path: path of the file.
            open_files: open the audio files that the transform names, such as the recordings of `BackgroundNoise`.
                By default they are refused, because a file from an untrusted source must not choose which files are
                read.

        Raises:
            InputError: if the file is missing, damaged or of another format, or if it names audio files and
                `open_files` is False.
        """
        path = Path(path)
        verify_checksum(path, "draws", _ADVICE, required=False)  # earlier versions wrote none
        with reading("draws", path, _ADVICE):
            state = torch.load(path, weights_only=True)
            if state["format"] != _FORMAT:
                raise InputError(
                    f"draws: expected format {_FORMAT}, got format {state['format']} in {path}, which another version "
                    f"of this library wrote; {_ADVICE}, and score all models on them"
                )
            drawn = Draw.from_state_dict(state["draw"])
            names, rate = tuple(state["names"]), state["sample_rate"]
            if not all(isinstance(name, str) for name in names) or len(names) != len(drawn):
                raise ValueError(f"expected {len(drawn)} names, one for each draw, got {len(names)}")
            if type(rate) is not int or not 1000 <= rate <= 768_000:
                raise ValueError(f"expected a sample rate from 1000 to 768000 Hz, got {rate!r}")
            return cls(from_config(state["transform"], open_files=open_files), rate, names, drawn)

    def save(self, path: Path) -> None:
        """Save transform, sample rate, names and draws to a file atomically.

        `load` reads the file.

        Raises:
            ValueError: if the transform cannot be represented as plain data.
        """
        state = {
            "format": _FORMAT,
            "version": __version__,
            "transform": self.transform.to_config(),
            "sample_rate": self.sample_rate,
            "names": list(self.names),
            "draw": self.drawn.state_dict(),
        }
        content = io.BytesIO()  # torch.save does not report that a disk is full; write_bytes does
        torch.save(state, content)
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())
            append_checksum(temporary)

    def draw_for(self, tracks: Tracks) -> Draw:
        """Return the draws of the tracks of a table, in the order of its rows.

        Raises:
            InputError: if a track has no draw; the error names it.
        """
        places = {name: place for place, name in enumerate(self.names)}
        names = track_names(tracks)
        lacking = [name for name in names if name not in places]
        if lacking:
            raise InputError(
                f"draws: {len(lacking)} of {len(names)} tracks have no draw, such as {lacking[0]}; "
                "choose another file or folder for these tracks"
            )
        return self.drawn[torch.tensor([places[name] for name in names])]

    def fingerprint(self) -> str:
        """Return a hash of the transform, the sample rate, the draws and the names."""
        digest = new_digest(repr((self.transform.to_config(), self.sample_rate)).encode())
        _update(digest, self.drawn.state_dict())
        digest.update(repr(self.names).encode())
        return digest.hexdigest()


def _update(digest: Any, state: Any) -> None:
    """Hash nested dictionaries, lists and tensors."""
    if isinstance(state, torch.Tensor):
        digest.update(f"{state.dtype} {tuple(state.shape)}".encode() + state.contiguous().numpy().tobytes())
    elif isinstance(state, dict):
        for name in sorted(state):
            digest.update(name.encode())
            _update(digest, state[name])
    elif isinstance(state, list):
        for element in state:
            _update(digest, element)
    else:
        digest.update(repr(state).encode())
