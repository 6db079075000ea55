"""Writing of embeddings and metadata to .npz and Parquet files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssc_toolkit.files import append_checksum, atomic_path, reading, verify_checksum
from ssc_toolkit.hashing import text_hash
from ssc_toolkit.npz_files import read_arrays
from ssc_toolkit.old_names import OLD_WINDOW_POOLINGS

METADATA = "ssc_toolkit"
"""Name under which files contain metadata as JSON, an array in .npz files and a schema key in .parquet files."""
_OLD_CHECKSUM = b"ssc_toolkit_checksum"
"""Schema key of the checksum of the metadata in .parquet files of earlier versions of this library."""


def write_embeddings(
    path: Path, embeddings: np.ndarray, columns: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write embeddings, additional columns and metadata to a file atomically.

    Args:
        path: path with the suffix .npz (readable by `numpy.load`) or .parquet (readable by pandas, DuckDB and others).
        embeddings: (N, dim) embeddings. They are stored as the array or column `embeddings`. A Parquet cell is a list
            of length dim.
        columns: additional columns (N,) by name.
        metadata: metadata whose values can be written as JSON.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "e.npz"
        >>> write_embeddings(file, np.zeros((2, 3)), {"paths": np.array(["a.wav", "b.wav"])}, {"pooling": "mean"})
        >>> np.load(file)["embeddings"].shape, read_metadata(file)
        ((2, 3), {'pooling': 'mean'})
    """
    text = json.dumps(metadata, ensure_ascii=False)
    with atomic_path(path) as temporary:
        if path.suffix == ".npz":
            with temporary.open("wb") as file:
                arrays: dict[str, Any] = {"embeddings": embeddings, **columns, METADATA: np.array(text)}
                np.savez(file, **arrays)
        else:
            _write_parquet(temporary, embeddings, columns, text)
        append_checksum(temporary)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the metadata dictionary of a file that `write_embeddings` wrote.

    The checksum of the whole file is verified. Files of earlier versions have no such checksum.

    Raises:
        InputError: if the file is missing or damaged.
    """
    path, advice = Path(path), "embed the tracks again"
    if path.suffix == ".npz":
        verify_checksum(path, "embeddings", advice, required=False)
        with reading("embeddings", path, advice):
            return _parsed(str(read_arrays(path, [METADATA])[METADATA]))
    from pyarrow import parquet

    with reading("embeddings", path, advice):
        kept = parquet.read_schema(path).metadata
        text = kept[METADATA.encode()]
        if _OLD_CHECKSUM not in kept:
            verify_checksum(path, "embeddings", advice)
        elif kept[_OLD_CHECKSUM] != text_hash(text).encode():
            raise ValueError("the checksum of its metadata differs")
        return _parsed(text)


def _parsed(text: str | bytes) -> dict[str, Any]:
    """Return the metadata in a JSON text. An old name of the pooling of windows is replaced by the new name."""
    metadata = json.loads(text)
    windows = metadata.get("windows")
    if isinstance(windows, dict) and "pooling" in windows:
        windows["pooling"] = OLD_WINDOW_POOLINGS.get(windows["pooling"], windows["pooling"])
    return metadata


def _write_parquet(path: Path, embeddings: np.ndarray, columns: Mapping[str, np.ndarray], text: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    flat = pa.array(np.ascontiguousarray(embeddings, dtype=np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    table = pa.table({**{name: pa.array(values) for name, values in columns.items()}, "embeddings": vectors})
    metadata: dict[bytes | str, bytes | str] = {METADATA: text}
    parquet.write_table(table.replace_schema_metadata(metadata), path, write_page_checksum=True)
