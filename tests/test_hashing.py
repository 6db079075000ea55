"""Hashes that stores, caches and runs of before hold: they never change."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pandas as pd
import pytest
import torch

from ssc_toolkit.data import TrackTable
from ssc_toolkit.data.corpus.build import hash_content
from ssc_toolkit.data.store.parquet import hash_table, to_arrow
from ssc_toolkit.evaluation.embedding.cache import hash_audio
from ssc_toolkit.evaluation.provenance import split_hash
from ssc_toolkit.hashing import file_hash, lines_hash, new_digest, short_hash, stream_digest, text_hash
from ssc_toolkit.seeds import make_generator
from ssc_toolkit.training.dataset_factory import hash_training_table

TABLE = pd.DataFrame({"path": ["/a/x.wav", "/a/y.wav"], "split": ["train", "test"], "bpm": [90.5, None]})


@pytest.mark.parametrize("size", [8, 16])
def test_hashes_are_blake2b_of_text_and_files(tmp_path, size):
    content = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "a").write_bytes(content)
    expected = hashlib.blake2b(content, digest_size=size).hexdigest()
    assert (
        file_hash(tmp_path / "a", size) == text_hash(content, size) == new_digest(content, size).hexdigest() == expected
    )
    assert stream_digest(io.BytesIO(b"jazz" + content), size).hexdigest() == text_hash(b"jazz" + content, size)
    assert text_hash("\u00fcber") == hashlib.blake2b("\u00fcber".encode(), digest_size=16).hexdigest()


def test_short_hashes_are_sha256():
    assert short_hash("jazz") == hashlib.sha256(b"jazz").hexdigest()[:16]
    assert lines_hash(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest()[:16]


def test_stored_hashes_are_those_of_before(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"audio")
    assert hash_audio(TrackTable(pd.DataFrame({"path": [str(tmp_path / "a.wav")]}))) == [
        "c986e5b0617d9abbfd786ca73f99feb9"
    ]
    assert split_hash(TABLE) == "19e6e93e42544e49"
    assert hash_training_table(TrackTable(TABLE)) == "bb5de7188aa934f9"
    assert hash_table(to_arrow(TABLE)) == "ddfca853151cc6a7886c10ba00625858"
    assert hash_content({"kind": "scores", "clips": 40}) == "4dca153385"
    assert torch.randint(2**62, (1,), generator=make_generator(3, "augment", 7)).item() == 821431241013944227
