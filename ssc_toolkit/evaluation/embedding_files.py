"""Embeddings in a file that says how they came about."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssc_toolkit.files import atomic_path

SUFFIXES = (".npz", ".parquet")
METADATA = "ssc_toolkit"
"""Name of the metadata: of an array with JSON text in .npz, of a key of the schema in .parquet."""


def write_embeddings(
    path: Path, embeddings: np.ndarray, columns: Mapping[str, np.ndarray], metadata: Mapping[str, Any]
) -> None:
    """Write embeddings, what belongs to each, and metadata, atomically.

    Args:
        path: ends in .npz (NumPy's `load` opens it) or .parquet (pandas, DuckDB and others do).
        embeddings: (N, dim); column `embeddings`, in Parquet a list of fixed length.
        columns: (N,) each, by name.
        metadata: fit for JSON.

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


def read_metadata(path: Path) -> dict[str, Any]:
    """The metadata of a file that `write_embeddings` wrote."""
    if path.suffix == ".npz":
        with np.load(path) as content:
            return json.loads(str(content[METADATA]))
    from pyarrow import parquet

    return json.loads(parquet.read_schema(path).metadata[METADATA.encode()])


def _write_parquet(path: Path, embeddings: np.ndarray, columns: Mapping[str, np.ndarray], text: str) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    flat = pa.array(np.ascontiguousarray(embeddings, dtype=np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
    table = pa.table({**{name: pa.array(values) for name, values in columns.items()}, "embeddings": vectors})
    parquet.write_table(table.replace_schema_metadata({METADATA: text}), path)
