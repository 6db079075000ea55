"""Who may lean on whom, and what the light parts must not pull in."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ssc_toolkit

PACKAGE = Path(ssc_toolkit.__file__).parent
LEAVES = {
    "audio",
    "caches",
    "checks",
    "csv_files",
    "decoding",
    "environment",
    "errors",
    "files",
    "hashing",
    "npz_files",
    "old_names",
    "options",
    "paths",
    "processes",
    "preflight",
    "progress",
    "seeds",
    "tracing",
}
MAY_USE = {
    "targets": set(),
    "losses": {"targets"},
    "augmentations": set(),
    "samplers": set(),
    "encoders": set(),
    "data": {"samplers"},
    "evaluation": {"data", "samplers", "encoders", "augmentations", "losses", "targets"},
    "training": {"evaluation", "data", "samplers", "encoders", "augmentations", "losses", "targets"},
    "reports": {"evaluation", "data", "samplers", "encoders", "augmentations", "losses", "targets"},
    "commands": {
        "training",
        "reports",
        "evaluation",
        "data",
        "samplers",
        "encoders",
        "augmentations",
        "losses",
        "targets",
    },
    "cli": {"commands"},
    "audio": set(),
    "caches": set(),
    "checks": set(),
    "csv_files": set(),
    "decoding": set(),
    "paths": set(),
    "environment": set(),
    "errors": set(),
    "files": set(),
    "hashing": set(),
    "npz_files": set(),
    "old_names": set(),
    "options": set(),
    "processes": set(),
    "preflight": set(),
    "progress": set(),
    "seeds": set(),
    "tracing": set(),
}
HEAVY = {
    "torchaudio",
    "torch_audiomentations",
    "pandas",
    "pytorch_lightning",
    "lightning_fabric",
    "sklearn",
    "matplotlib",
}
LIGHT_ROOMS = ("targets", "losses", "augmentations", "samplers")


def imports_of(file: Path) -> set[str]:
    """Rooms of this package that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = [node.value] if node.value.startswith("ssc_toolkit.") and " " not in node.value else []
        found |= {name.split(".")[1] for name in names if name.startswith("ssc_toolkit.") and name.count(".") >= 1}
    return found & set(MAY_USE)


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in PACKAGE.rglob("*.py"):
        room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            found.setdefault(room, []).append(file)
    return found


def test_every_room_is_known():
    assert set(rooms()) == set(MAY_USE)


@pytest.mark.parametrize("room", sorted(MAY_USE))
def test_arrows_point_down(room):
    allowed = MAY_USE[room] | LEAVES | {room}
    for file in rooms()[room]:
        assert imports_of(file) <= allowed, file


def test_the_leaves_use_no_room():
    for leaf in LEAVES:
        for file in rooms()[leaf]:
            assert imports_of(file) <= LEAVES


WITHOUT_HEAVY = [*LIGHT_ROOMS, "encoders"]
IMPORTED = [*sorted(rooms()), "losses.functional", "data.corpus"]
IMPORT_EACH = """
import importlib, json, os, sys
import numpy, torch  # once: they take seconds, and every room may use them

found = {}
for room in sys.argv[1:]:
    if room == "heavy":
        import pandas, pytorch_lightning, sklearn.neighbors
        continue
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            importlib.import_module(f"ssc_toolkit.{room}")
            told = {"error": None, "packages": sorted({name.partition(".")[0] for name in sys.modules})}
        except BaseException as error:
            told = {"error": repr(error), "packages": []}
        with open(writing, "w") as file:
            json.dump(told, file)
        os._exit(0)
    os.close(writing)
    with open(reading) as file:
        found[room] = json.load(file)
    os.wait()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, dict]:
    """What the import of each room gave in a process of its own that had imported no other room."""
    others = [room for room in IMPORTED if room not in WITHOUT_HEAVY]
    command = [sys.executable, "-c", IMPORT_EACH, *WITHOUT_HEAVY, "heavy", *others]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("room", WITHOUT_HEAVY)
def test_light_rooms_pull_in_nothing_heavy(imported, room):
    assert {"ssc_toolkit", "torch"} <= set(imported[room]["packages"])
    assert not HEAVY & set(imported[room]["packages"])


@pytest.mark.parametrize("room", IMPORTED)
def test_every_room_imports_on_its_own(imported, room):
    assert imported[room]["error"] is None


def module_imports() -> dict[str, set[str]]:
    """Modules of this package that each of its modules imports, at any depth of its code but not only for types."""
    files = {}
    for file in PACKAGE.rglob("*.py"):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    found: dict[str, set[str]] = {}
    for name, file in files.items():
        tree = ast.parse(file.read_text())
        for_types = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        targets = {
            module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node not in for_types
            for alias in node.names
            for module in [f"{node.module}.{alias.name}"]
            for module in [module if module in files else node.module]
        }
        found[name] = targets & files.keys() - {name}
    return found


def test_no_module_imports_itself_through_others():
    imports = module_imports()
    imports["ssc_toolkit.augmentations.config"].discard("ssc_toolkit.augmentations")  # finds all transforms by name
    assert len(imports) > 200
    while leaves := [name for name, own in imports.items() if not own & imports.keys()]:
        for name in leaves:
            del imports[name]
    assert not imports
