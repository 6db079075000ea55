"""NSynth dataset: 305,979 single notes of 4 s (Engel et al. 2017).

The splits are the official ones. No instrument of the training set is in the validation or test set. Pitches are MIDI
numbers from 9 to 120. The family synth_lead has notes only in the training set. It is a class, but macro averages on
the test set omit it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ssc_toolkit.csv_files import read_text
from ssc_toolkit.data.recipes.base import SPLITS, LabelColumn, NeededFile, Recipe, RecipeTask, read_shipped_list
from ssc_toolkit.errors import make_malformed_error

_HOST = "https://magenta.tensorflow.org/datasets/nsynth"
_FIELDS = {"pitch": "pitch", "instrument": "instrument_family_str"}


class NSynth(Recipe):
    """Recipe of NSynth. The label is one of 112 pitches or one of 11 instrument families."""

    name = "nsynth"
    variants = tuple(_FIELDS)

    def needs(self, variant: str) -> tuple[NeededFile, ...]:
        return tuple(
            need
            for split in SPLITS
            for need in (
                NeededFile(f"nsynth-{split}/examples.json", f"nsynth-{split}.jsonwav.tar.gz from {_HOST}"),
                NeededFile(f"nsynth-{split}/audio", "the notes as .wav, in the same archive"),
            )
        )

    def task(self, variant: str) -> RecipeTask:
        names = tuple(map(str, range(9, 121))) if variant == "pitch" else read_shipped_list("nsynth_families")
        return RecipeTask(
            labels={variant: LabelColumn("class", names)},
            metrics=("accuracy",),
            source="official folders nsynth-train, nsynth-valid and nsynth-test",
            counts=(289205, 12678, 4096),
        )

    def tracks(self, root: Path, variant: str) -> pd.DataFrame:
        names = set(self.task(variant).labels[variant].names)
        rows = []
        for split in SPLITS:
            path = self.find(root, variant, f"nsynth-{split}/examples.json")
            for note, fields in _notes(path).items():
                label = str(_field(path, note, fields, _FIELDS[variant]))
                if label not in names:
                    raise make_malformed_error(path, None, f"a known {_FIELDS[variant]} for {note}", label)
                instrument = _field(path, note, fields, "instrument_str")
                audio = (f"nsynth-{split}/audio/{note}.wav",)
                rows.append({"track_id": note, "split": split, "group": instrument, variant: label, "audio": audio})
        return pd.DataFrame(rows, columns=["track_id", "split", "group", variant, "audio"])


def _notes(path: Path) -> dict[str, dict[str, Any]]:
    try:
        notes = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise make_malformed_error(path, error.lineno, "JSON", error.msg) from error
    if not isinstance(notes, dict):
        raise make_malformed_error(path, None, "an object with a note in each field", type(notes).__name__)
    return notes


def _field(path: Path, note: str, fields: Any, name: str) -> Any:
    if not isinstance(fields, dict) or name not in fields:
        raise make_malformed_error(path, None, f"a field {name!r} of {note}", fields)
    return fields[name]
