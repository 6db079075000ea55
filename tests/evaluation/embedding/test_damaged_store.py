"""Embeddings of a store whose samples have changed since they were written."""

from __future__ import annotations

import numpy as np
import pytest
from audio_files import RATE
from folders import flip

from ssc_toolkit.data import AudioStore
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model, embed_tracks


def test_damaged_samples_are_not_embedded_or_cached(store, tmp_path):
    model = as_model(lambda waveforms: waveforms[..., :4].flatten(1), RATE, identity="first samples")
    folder, cache = tmp_path / "store", tmp_path / "cache"
    clean = embed_tracks(model, store.tracks, 0.5, progress=False)
    shard = next((folder / "shards").glob("*.pcm"))
    original = shard.read_bytes()
    flip(shard, len(original) // 2)
    with pytest.raises(InputError, match=rf"store: .*{shard.name} is damaged .*prepare --verify"):
        embed_tracks(model, AudioStore(folder).tracks, 0.5, cache=cache, progress=False)
    assert not list(cache.glob("*.npy"))
    shard.write_bytes(original)
    again = embed_tracks(model, AudioStore(folder).tracks, 0.5, cache=cache, progress=False)
    assert np.array_equal(again, clean)
