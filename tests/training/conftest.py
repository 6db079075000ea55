"""Music to train on, shared by the tests of training, which only read it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from training_runs import make_tones


@pytest.fixture(scope="session")
def music(tmp_path_factory) -> Path:
    """A folder of tones with the table my.csv."""
    return make_tones(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    """A stand-in for the default corpus: its columns, on tones."""
    folder = make_tones(tmp_path_factory.mktemp("corpus"))
    table = pd.read_csv(folder / "my.csv").rename(columns={"note": "key", "range": "family"})
    table.to_csv(folder / "tracks.csv", index=False)
    return folder / "tracks.csv"
