"""The command `ssc-toolkit doctor`, which checks the installation and suggests a fix for each problem."""

from __future__ import annotations

import importlib
import importlib.util
import platform
from collections.abc import Sequence
from pathlib import Path

from ssc_toolkit import __version__
from ssc_toolkit.caches import clean_caches, find_cache_root, list_caches
from ssc_toolkit.commands.errors import EXTRAS
from ssc_toolkit.environment import installed_version
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.doctor import DoctorOptions
from ssc_toolkit.paths import user_path

TORCH_RANGE = "torch>=2.11,<2.15"
TORCHAUDIO_RANGE = "torchaudio==2.11.*"
_KNOWN_MISMATCH = (
    "torchaudio's last release, 2.11, is built for CUDA 13.0 and works with torch 2.11 to 2.14, but not with "
    "the CPU build of 2.13 and not with 2.15, which is built for CUDA 13.2"
)
_DISTRIBUTIONS = {"pytorch_lightning": "pytorch-lightning", "sklearn": "scikit-learn", "jinja2": "Jinja2"}


def doctor(options: DoctorOptions) -> None:
    """Print versions, devices, codecs and caches, and print a fix for each problem found.

    Args:
        options: options of the command, as on the command line.

    Raises:
        InputError: if the installation has a problem.
    """
    named = [user_path(folder, "folders") for folder in options.folders]
    if options.clean:
        _clean(named)
        return
    print(f"ssc_toolkit {__version__}, Python {platform.python_version()}, {platform.platform()}")
    problems = []
    for module in ("torch", "torchaudio", "numpy", "soundfile", "soxr", *EXTRAS):
        extra = f"  (optional: {EXTRAS[module]})" if module in EXTRAS else ""
        print(f"  {module:18} {_version(module) or 'not installed'}{extra}")
    problem = torchaudio_problem()
    if problem:
        problems.append(problem)
    else:
        _print_devices()
        _print_codecs()
    _print_caches(named)
    for problem in problems:
        print(f"problem: {problem}")
    if problems:
        raise InputError(f"{len(problems)} problem found; see above")
    print("no problem found")


def torchaudio_problem() -> str | None:
    """Return a line of text that says why torch and torchaudio are not compatible and how to fix it, or None."""
    fix = f"fix: pip install '{TORCH_RANGE}' '{TORCHAUDIO_RANGE}'"
    for module in ("torch", "torchaudio"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name == module:
                return f"{module} is not installed; {fix}"
            return f"{module} {_version(module)} cannot be imported ({error}); {fix}"
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            versions = f"torch {_version('torch')} and torchaudio {_version('torchaudio')}"
            return f"{versions} are not compatible: importing {module} failed ({reason}); {_KNOWN_MISMATCH}; {fix}"
    return None


def _version(module: str) -> str | None:
    return installed_version(_DISTRIBUTIONS.get(module, module))


def _clean(folders: Sequence[Path]) -> None:
    removed, busy = clean_caches(folders)
    for place in removed:
        print(f"removed {place.path} ({place.holds}, {place.bytes / 1e6:.1f} MB)")
    for path in busy:
        print(f"kept {path}: another process uses it, or you have no permission to remove it")
    print(f"freed {sum(place.bytes for place in removed) / 1e6:.1f} MB in {_shown(folders)}")


def _shown(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, [find_cache_root(), *folders]))


def _print_caches(folders: Sequence[Path]) -> None:
    places = list_caches(folders)
    print(f"  caches in {_shown(folders)}: {sum(place.bytes for place in places) / 1e6:.1f} MB")
    for place in places:
        print(f"    {place.path}  {place.bytes / 1e6:.1f} MB, {place.holds}")
    if places:
        print("    `ssc-toolkit doctor --clean` removes them")


def _print_devices() -> None:
    import torch

    print(f"  CPU with {torch.get_num_threads()} threads")
    for number in range(torch.cuda.device_count()):
        print(f"  CUDA device {number}: {torch.cuda.get_device_name(number)} (CUDA {torch.version.cuda})")
    if not torch.cuda.is_available():
        print("  no CUDA device")
    if torch.backends.mps.is_available():
        print("  Apple GPU (mps)")


def _print_codecs() -> None:
    import soundfile

    formats = soundfile.available_formats()
    wanted = ("WAV", "FLAC", "OGG", "MP3")
    print(
        f"  libsndfile {soundfile.__libsndfile_version__}: "
        + ", ".join(f"{name} {'yes' if name in formats else 'no'}" for name in wanted)
    )
    if "MP3" not in formats:
        print("  without MP3: MP3 files will be reported as unreadable; fix: pip install --upgrade soundfile")
