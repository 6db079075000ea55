"""Tracks whose embeddings are known."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import RATE, write_audio

from ssc_toolkit.data import check_audio, load_tracks


@pytest.fixture
def tracks(tmp_path):
    """Tracks of 1, 2 and 2.5 seconds whose level grows by .1 each second."""
    for number, seconds in enumerate((1.0, 2.0, 2.5)):
        samples = 0.1 * (1 + np.floor(np.arange(round(seconds * RATE)) / RATE))
        write_audio(tmp_path / f"{number}.wav", samples)
    return check_audio(load_tracks(tmp_path), progress=False)
