"""Error messages of the command line for missing packages and for files that cannot be written."""

from __future__ import annotations

import errno

EXTRAS = {
    "pytorch_lightning": "train",
    "tensorboard": "train",
    "sklearn": "eval",
    "matplotlib": "eval",
    "mir_eval": "eval",
    "jinja2": "eval",
    "pyarrow": "eval",
    "music21": "corpus",
    "symusic": "corpus",
    "pretty_midi": "corpus",
    "midirenderer": "corpus",
    "joblib": "corpus",
    "mutagen": "tags",
}
"""Names of the extras of this package that install optional modules, by module."""

_ADVICE = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "your quota is used up: free some space, or choose another disk",
    errno.EFBIG: "the file would be larger than this disk or `ulimit -f` allows; choose another disk",
    errno.EROFS: "the disk is read only; choose another folder",
    errno.EACCES: "you have no permission to write there; choose another folder",
    errno.EPERM: "you have no permission to write there; choose another folder",
    errno.EISDIR: "a folder has the name of the file; remove it, or choose another folder",
    errno.ENOTDIR: "a file has the name of a folder; remove it, or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk reports an error; choose another disk",
}
"""Advice for errors of the operating system when a file is written, by error number."""


def user_message(error: Exception) -> str | None:
    """Return the message of an error that the user can fix, such as a full disk, or None for any other error.

    Args:
        error: error that a command raised.

    Examples:
        >>> user_message(ModuleNotFoundError("no sklearn", name="sklearn"))
        "this needs sklearn, which is not installed; fix: pip install 'ssc-toolkit[eval]'"
        >>> user_message(OSError(errno.ENOSPC, "No space left on device", "a.npz"))
        'cannot write a.npz (No space left on device); free some space, or choose another disk'
    """
    if isinstance(error, ModuleNotFoundError):
        return _missing_extra(error)
    if isinstance(error, OSError):
        return _unwritten(error)
    return None


def _missing_extra(error: ModuleNotFoundError) -> str | None:
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        return None
    return f"this needs {module}, which is not installed; fix: pip install 'ssc-toolkit[{EXTRAS[module]}]'"


def _unwritten(error: OSError) -> str | None:
    if error.errno is None and error.filename is not None:  # NumPy raises errors without a number
        advice = "free some space, or choose another disk"
    elif error.errno in _ADVICE:
        advice = _ADVICE[error.errno]
    else:
        return None
    reason = error.strerror or error.args[0] if error.args else type(error).__name__
    return f"cannot write {error.filename or 'a file'} ({reason}); {advice}"
