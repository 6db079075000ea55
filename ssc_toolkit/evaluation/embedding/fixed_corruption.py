"""Corruptions with stored random values, so that every model receives the same corrupted audio."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from ssc_toolkit import __version__
from ssc_toolkit.augmentations import Augmentation, Draw, from_config
from ssc_toolkit.data.track_table import Tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.files import append_checksum, atomic_path, reading, verify_checksum
from ssc_toolkit.hashing import integer_hash, new_digest
from ssc_toolkit.seeds import make_generator

_FORMAT = 2  # 1: the same seed gave other draws, which depended on the rows of the table
_ADVICE = "draw the corruptions again into another file or folder"


@dataclass(frozen=True)
class FixedCorruption:
    """A random transform, together with the values that were drawn for each track.

    The draw of a track contains the random values of the transform for this track, such as gains and cutoff
    frequencies. The transform and the draws are stored. The corrupted audio therefore stays the same if the order of
    the tracks, the random generator, or the ranges of a preset change. The corruption is computed at one sample rate.
    For models with other sample rates, the corrupted audio is resampled.

    Attributes:
        transform: the transform that corrupts the audio.
        sample_rate: sample rate, in hertz, of the audio that the transform is applied to.
        names: names of the tracks from `track_names`.
        drawn: one draw per track, a `Draw` each, in the order of `names`.

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
        """Draw the random values of a transform for every track of a table.

        Args:
            transform: transform that corrupts the audio.
            sample_rate: sample rate, in hertz, of the audio that the transform is applied to.
            tracks: track table, data frame or path of a table, with the column `path` and, optionally, `track_id`.
            seed: seed of the random values. Transforms that differ only in the ranges of their values get the same
                underlying random numbers for the same seed, and so do tracks of the same name in different tables.
        """
        tracks = as_track_table(tracks)
        names = tuple(track_names(tracks))
        drawn = transform.draw(len(names), make_generator(seed, "corruption"), places=list(map(integer_hash, names)))
        return cls(transform, sample_rate, names, drawn)

    @classmethod
    def load(cls, path: str | Path, *, open_files: bool = False) -> Self:
        """Load a fixed corruption from a file that `save` wrote.

        Args:
            path: path of the file.
            open_files: whether to open the audio files that the transform refers to, such as the recordings of
                `BackgroundNoise`. By default, a reference to an audio file is an error, because a file from an
                untrusted source must not determine which files are read.

        Raises:
            InputError: if the file is missing, damaged or of another format, or if it refers to audio files and
                `open_files` is False.
        """
        path = Path(path)
        verify_checksum(path, "draws", _ADVICE, required=False)  # earlier versions wrote no checksum
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
        """Save the transform, its sample rate, the names of the tracks and the random values to a file atomically.

        Args:
            path: path of the file. `load` reads it.

        Raises:
            ValueError: if the transform cannot be represented as numbers, text, lists and dictionaries.
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
        """Return the stored random values for the tracks of a table as one `Draw`, in the order of its rows.

        Raises:
            InputError: if there are no stored values for a track. The error names the first such track.
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
        """Return a hash of the transform, its sample rate, its random values and the names of the tracks."""
        digest = new_digest(repr((self.transform.to_config(), self.sample_rate)).encode())
        _update(digest, self.drawn.state_dict())
        digest.update(repr(self.names).encode())
        return digest.hexdigest()


def _update(digest: Any, state: Any) -> None:
    """Update the hash `digest` with the content of nested dictionaries, lists and tensors."""
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
