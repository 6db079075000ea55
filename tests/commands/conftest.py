"""Music that the tests of commands read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audio_files import write_tones


@pytest.fixture(scope="session")
def music(tmp_path_factory) -> Path:
    """Forty tones of one second with classes, tags, numbers and groups, and two tables of ten of them."""
    folder = tmp_path_factory.mktemp("music")
    hertz = np.tile([220.0, 440.0], 20) * np.random.default_rng(0).uniform(1, 1.1, 40)
    pitch = ["low", "high"] * 20
    table = pd.DataFrame(
        {
            "path": write_tones(folder, hertz.tolist(), 16000),
            "split": ["train"] * 20 + ["valid"] * 10 + ["test"] * 10,
            "pitch": pitch,
            "tags": [f"tone|{name}" for name in pitch],
            "hertz": hertz,
            "group": [f"g{number // 4}" for number in range(40)],
            "nothing": None,
        }
    )
    table.to_csv(folder / "my.csv", index=False)
    table[:10].drop(columns="split").to_csv(folder / "other.csv", index=False)
    (folder / "further").mkdir()
    again = table[:10].assign(path=[f"further/../{path}" for path in table["path"][:10]])
    again[::-1].drop(columns="split").to_csv(folder / "again.csv", index=False)
    return folder
