"""Scores as records."""

from __future__ import annotations

import json
import math

from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.metrics.records import CLEAN, to_records
from ssc_toolkit.evaluation.probing.probe import Score

SCORE = Score(
    "average precision",
    Interval(0.3, 0.2, 0.4),
    {"roc_auc": 0.8, "other": math.nan},
    tracks=50,
    undefined_classes=2,
    intervals={"roc_auc": Interval(0.8, 0.7, 0.9)},
)


def test_a_record_for_each_metric_with_its_interval():
    records = to_records(
        SCORE, model="m", task="tags", method="mlp", corruption="mp3", severity=1.5, label_share=0.1, seed=3
    )
    assert [(r["metric"], r["value"], r["low"], r["high"]) for r in records] == [
        ("average precision", 0.3, 0.2, 0.4),
        ("roc_auc", 0.8, 0.7, 0.9),
        ("other", None, None, None),
    ]
    for record in records:
        told = {name: record[name] for name in ("model", "task", "method", "corruption", "severity")}
        assert told == {"model": "m", "task": "tags", "method": "mlp", "corruption": "mp3", "severity": 1.5}
        assert (record["label_share"], record["seed"], record["tracks"], record["undefined_classes"]) == (0.1, 3, 50, 2)
    assert json.loads(json.dumps(records, allow_nan=False)) == records


def test_severity_0_is_clean_whatever_the_corruption():
    (record, *_) = to_records(SCORE, model="m", task="tags", method="linear", corruption="mp3", severity=0.0)
    assert record["corruption"] == CLEAN
