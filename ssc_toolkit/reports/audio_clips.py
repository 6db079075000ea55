"""Short audio clips of tracks, encoded for an HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import soundfile

from ssc_toolkit.audio import resample
from ssc_toolkit.data import TrackTable, UnreadableAudio, read_audio
from ssc_toolkit.data.store.reader import AudioStore
from ssc_toolkit.progress import progress_bar

CLIP_SECONDS = 3.0
CLIP_RATE = 16000
BYTES_A_CLIP = 12_600
"""Size in bytes of a clip in an HTML page: three seconds at 24 kb/s, plus one third for the base64 encoding."""
_LAME_LEVEL = 0.9  # compression level of libsndfile, 0 to 1; it gives 24 kb/s at 16 kHz


def encode_clips(tracks: TrackTable, rows: Sequence[int], progress: bool = True) -> dict[int, str]:
    """Encode three seconds from the middle of each track as a data URI (mono MP3, 16 kHz, 24 kb/s).

    Every browser can play MP3.

    Args:
        tracks: track table with the columns `path` and `seconds`, of audio files or of an audio store.
        rows: row numbers of the tracks to encode.
        progress: whether to show a progress bar.

    Returns:
        Data URI by row number. Tracks that cannot be decoded are omitted.
    """
    store = None if tracks.store is None else AudioStore(tracks.store)
    uris = {}
    for row in progress_bar(rows, desc="encoding clips", unit="clip", disable=not progress):
        start = max(0.0, (float(tracks["seconds"].iloc[row]) - CLIP_SECONDS) / 2)
        try:
            samples = _middle(tracks["path"].iloc[row], start, store)
        except UnreadableAudio:
            continue
        uris[row] = "data:audio/mpeg;base64," + base64.b64encode(_mp3(samples)).decode()
    return uris


def _middle(path: str, start_seconds: float, store: AudioStore | None) -> np.ndarray:
    if store is None:
        return read_audio(path, CLIP_RATE, round(start_seconds * CLIP_RATE), round(CLIP_SECONDS * CLIP_RATE))
    rate = store.sample_rate
    segment = store.read(store.rows_of([path]), [round(start_seconds * rate)], round(CLIP_SECONDS * rate))
    return resample(segment[0].numpy(), rate, CLIP_RATE)


def _mp3(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(
        file,
        np.clip(samples, -1, 1),
        CLIP_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=_LAME_LEVEL,
        bitrate_mode="CONSTANT",
    )
    return file.getvalue()
