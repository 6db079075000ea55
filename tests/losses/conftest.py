"""Fixtures of the tests of losses."""

from __future__ import annotations

import pytest
from loss_batches import ROWS_PER_TILE

import ssc_toolkit.losses.tiled


@pytest.fixture
def small_tiles(monkeypatch):
    """Tiles so small that a small batch has several."""
    monkeypatch.setitem(ssc_toolkit.losses.tiled.PAIRS_PER_TILE, "cpu", 1)
    monkeypatch.setattr(ssc_toolkit.losses.tiled, "MIN_ROWS", ROWS_PER_TILE)
