"""Tables of the screening from its files of results.

python benchmarks/screening_page.py docs/screening
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
from screening import BASELINES, OWN, READOUTS
from screening_settings import SETTINGS

from ssc_toolkit.files import write_text

SCREENED, CONFIRMED = 300, 1000
"""Numbers of steps of the runs of the screening, and of the runs that confirm its best settings."""
SCREENING_READOUT, DEFAULT_READOUT = "all layers, unit length", "all layers, scaled"
REFERENCES = ("self", "semi")
"""Settings that others are compared with: "self-..." with "self", and "semi-..." with "semi"."""
SEEDS = "seeds"


def main() -> None:
    """Write the tables next to the results."""
    folder = Path(sys.argv[1])
    write_text(folder / "readouts.md", readout_table(load(folder, CONFIRMED)))
    write_text(folder / "settings.md", setting_table(load(folder, SCREENED)))
    write_text(folder / "confirmed.md", confirmed_table(load(folder, CONFIRMED)))


def load(folder: Path, steps: int) -> pd.DataFrame:
    """Return the scores of the baselines and of the runs with a number of steps, with a column per method and task.

    Args:
        folder: folder of the results.
        steps: number of steps of the runs.

    Returns:
        A table with the index (setting, readout, seed) and columns such as "linear game".
    """
    rows = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["steps"] != steps and content["setting"] not in BASELINES:
            continue
        for readout, methods in content["scores"].items():
            values = {
                f"{method} {task}": next(iter(score.values()))
                for method, tasks in methods.items()
                for task, score in tasks.items()
            }
            rows.append({"setting": content["setting"], "readout": readout, "seed": content["seed"], **values})
    return pd.DataFrame(rows).set_index(["setting", "readout", "seed"])


def readout_table(scores: pd.DataFrame) -> str:
    """Return a table of the scores of baselines and of the self-supervised encoder, for each readout."""
    rows = [(name, OWN) for name in ("mfcc", "log-mel-full-band")]
    rows += [(name, readout) for name in ("random-full-band", "self-full-band") for readout in READOUTS]
    lines = _head(["encoder", "readout"], [*scores.columns, SEEDS])
    for name, readout in rows:
        found = scores[(scores.index.get_level_values(0) == name) & (scores.index.get_level_values(1) == readout)]
        if len(found):
            own = BASELINES.get(name) or SETTINGS[name].title
            shown = "mean and deviation" if readout == OWN else readout
            lines.append(_line([own, shown], [*map(_fixed, found.mean()), str(len(found))]))
    return "\n".join(lines) + "\n"


def setting_table(scores: pd.DataFrame) -> str:
    """Return a table of the differences to the reference settings, on the same seeds, with `SCREENING_READOUT`."""
    chosen = scores.xs(SCREENING_READOUT, level="readout")
    lines = _head(["setting", "less"], ["mean", *chosen.columns, "standard error of the mean", SEEDS])
    measured = chosen.index.get_level_values(0)
    for name, setting in SETTINGS.items():
        if name not in measured:
            continue
        others = [
            other
            for other in REFERENCES
            if other != name and other in measured and (name.startswith("semi") or other == "self")
        ]
        for other in others:
            differences = (chosen.loc[name] - chosen.loc[other]).dropna(how="all")
            by_seed = differences.mean(axis=1)
            cells = [by_seed.mean(), *differences.mean(), by_seed.sem()]
            lines.append(
                _line(
                    [setting.title, SETTINGS[other].title],
                    [*map(_signed, cells[:-1]), _error(cells[-1]), str(len(differences))],
                )
            )
    return "\n".join(lines) + "\n"


def confirmed_table(scores: pd.DataFrame) -> str:
    """Return a table of the scores of baselines and confirmed settings, with `DEFAULT_READOUT`, on their seeds."""
    lines = _head(["encoder"], ["mean", *scores.columns, SEEDS])
    for name, title in {**BASELINES, **{name: one.title for name, one in SETTINGS.items()}}.items():
        is_shown = scores.index.get_level_values(1).isin((OWN, DEFAULT_READOUT))
        found = scores[is_shown & (scores.index.get_level_values(0) == name)]
        if len(found):
            lines.append(_line([title], [_fixed(found.mean().mean()), *map(_fixed, found.mean()), str(len(found))]))
    return "\n".join(lines) + "\n"


def _head(names: list[str], numbers: list[str]) -> list[str]:
    return [_line(names, numbers), "|" + "---|" * len(names) + "---:|" * len(numbers)]


def _line(names: list[str], numbers: list[str]) -> str:
    return f"| {' | '.join([*names, *numbers])} |"


def _fixed(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1).replace("-", "\N{MINUS SIGN}")


def _error(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}".replace("0.", ".", 1)


if __name__ == "__main__":
    main()
