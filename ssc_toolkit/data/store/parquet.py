"""Reading and writing of Parquet files whose name contains a hash of their table.

The same table can give different files with different versions of pyarrow. The hash is therefore computed from the
names, types and values of the columns, and not from the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import atomic_path
from ssc_toolkit.hashing import file_hash, new_digest

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIX = ".parquet"


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """Convert a data frame to an Arrow table. The types of the columns are kept.

    Missing cells become nulls, and cells that are sets, tuples or arrays become lists. A column with values of several
    types becomes text.

    Args:
        frame: data frame with unique column names. Its index is dropped.

    Raises:
        InputError: if two columns have the same name.

    Examples:
        >>> frame = pd.DataFrame({"artist": pd.array([9007199254740993, None], "Int64"), "tags": [["jazz"], None]})
        >>> [str(kind) for kind in to_arrow(frame).schema.types]
        ['int64', 'list<item: string>']
    """
    import pyarrow as pa

    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"tracks: expected unique column names, got {twice!r} twice")
    return pa.table({name: _array(frame.iloc[:, place]) for place, name in enumerate(names)})


def _array(cells: pd.Series) -> pa.Array:
    import pyarrow as pa

    if isinstance(cells.dtype, pd.CategoricalDtype):
        cells = cells.astype(cells.cat.categories.dtype)
    if cells.dtype == object:
        cells = cells.map(_plain)
    try:
        array = pa.array(cells, from_pandas=True)
    except (
        pa.ArrowException,
        OverflowError,
        TypeError,
        ValueError,
    ):  # cells of several types, or integers beyond 64 bits
        array = pa.array(cells.map(_text, na_action="ignore").astype(object), pa.large_string(), from_pandas=True)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _plain(cell: Any) -> Any:
    """Convert a table cell to a type that Arrow supports: sets, tuples and arrays to lists, paths to text."""
    if isinstance(cell, set | frozenset):
        return sorted(cell, key=str)
    if isinstance(cell, tuple | np.ndarray):
        return list(cell)
    if isinstance(cell, Path):
        return str(cell)
    return cell


def _text(cell: Any) -> str:
    return str(cell).encode(errors="backslashreplace").decode()


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """Convert an Arrow table to a data frame.

    Integer columns with missing values have the dtype `Int64`. Boolean columns with missing values, and columns of
    lists, have the dtype `object`.
    """
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_integer(kind) and column.null_count:
            columns[name] = pd.array(column.to_pylist(), dtype=f"{'U' * pa.types.is_unsigned_integer(kind)}Int64")
        elif pa.types.is_nested(kind) or (pa.types.is_boolean(kind) and column.null_count):
            cells = np.empty(len(column), dtype=object)
            cells[:] = column.to_pylist()
            columns[name] = cells
        else:
            columns[name] = column.to_pandas()
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))


def hash_table(table: pa.Table) -> str:
    """Return a hash of the column names, types and values of a table, as 32 hexadecimal digits.

    Examples:
        >>> whole, real = to_arrow(pd.DataFrame({"a": [1, 2]})), to_arrow(pd.DataFrame({"a": [1.0, 2.0]}))
        >>> hash_table(whole) == hash_table(whole.slice(0)), hash_table(whole) == hash_table(real)
        (True, False)
    """
    digest = new_digest()
    for name, column in zip(table.column_names, table.columns, strict=True):
        digest.update(f"{name}\0{len(column)}\0".encode())
        _update(digest, column.combine_chunks())
    return digest.hexdigest()


def _update(digest: Any, array: Any) -> None:
    """Update a hash with the type, nulls and values of an Arrow array. It does not depend on the memory layout."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kind = array.type
    if pa.types.is_dictionary(kind):
        return _update(digest, array.dictionary_decode())
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(b"list")
        digest.update(
            pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False).astype("<i8").tobytes()
        )
        return _update(digest, pc.list_flatten(array))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind):
        digest.update(b"bytes" if pa.types.is_binary(kind) else b"text")
        cells = array.drop_null().cast(pa.large_binary())
        _, offsets, content = cells.buffers()
        if not len(cells):
            return None
        ends = np.frombuffer(offsets, dtype="<i8")[cells.offset : cells.offset + len(cells) + 1]
        digest.update((ends - ends[0]).tobytes())
        if content is not None:
            digest.update(memoryview(content)[ends[0] : ends[-1]])
        return None
    digest.update(str(kind).encode())
    if pa.types.is_null(kind):
        return None
    values = array.drop_null()
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind):
        digest.update(np.ascontiguousarray(values.to_numpy(zero_copy_only=False)).tobytes())
    else:  # dates, decimals and structures, which are rare in track tables
        digest.update(repr(values.to_pylist()).encode(errors="surrogatepass"))
    return None


def write_table(folder: Path, stem: str, table: pa.Table) -> tuple[str, str]:
    """Write a table atomically to a file whose name contains the hash of the table.

    If a valid file with this name exists, it is kept.

    Args:
        folder: folder of the file.
        stem: beginning of the file name.
        table: table to write.

    Returns:
        The file name, and the checksum of the file.
    """
    from pyarrow import parquet

    name = f"{stem}-{hash_table(table)}{SUFFIX}"
    path = folder / name
    try:
        read_table(path, name)
    except Exception:  # the file is missing or damaged
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary, compression="zstd")
    return name, file_hash(path)


def read_table(path: Path, name: str) -> pa.Table:
    """Read a table, and verify that it matches the hash in its file name.

    Args:
        path: path of the file.
        name: name that `write_table` gave the file, which contains the hash. The file may have been renamed.

    Raises:
        ValueError: if the table does not match the hash.
        pyarrow.ArrowException: if the file is not a Parquet file.
    """
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:  # `parquet.read_table` would add columns for folder names
        table = file.read()
    if len(set(table.column_names)) < table.num_columns or hash_table(table) not in name:
        raise ValueError("its content differs from its name")
    return table
