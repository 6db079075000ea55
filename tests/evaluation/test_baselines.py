"""Baselines that need no training."""

from __future__ import annotations

import torch

from ssc_toolkit.evaluation import LogMelStatistics

RATE = 8000


def test_log_mel_statistics_do_not_depend_on_training():
    statistics = LogMelStatistics(sample_rate=RATE)
    waveforms = torch.randn(2, 1, RATE)
    assert torch.equal(statistics(waveforms), LogMelStatistics(sample_rate=RATE)(waveforms))
    assert not list(statistics.parameters())
