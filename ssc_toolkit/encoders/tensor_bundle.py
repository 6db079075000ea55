"""Reading of tensors from TensorFlow checkpoints ("tensor bundles") without TensorFlow, and without running code.

A checkpoint consists of an index and of data. The index is a sorted table in the format of LevelDB, whose keys are the
names of the variables. Each value is a protocol buffer with the data type, shape, position and checksum of a tensor.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_FOOTER_BYTES, _MAGIC = 48, 0xDB4775248B80FB57
_TRAILER_BYTES = 5  # of a block: kind of compression and checksum
_MAX_INDEX_BYTES = 2**20
_MAX_NAME_BYTES = 2**12
_MAX_NAMES_BYTES = 2**22  # of all names in the index, without compression of their beginnings
_MAX_DIMENSIONS = 8
_FLOAT = 1  # number of the data type float32
_POLYNOMIAL = 0x82F63B78  # CRC-32C, bits reversed
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5  # wire types of protocol buffers


class _Entry(NamedTuple):
    """Position of a tensor in the data, in bytes."""

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int


def read_tensor_bundle(index: bytes, data: bytes, names: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """Read float32 tensors from a TensorFlow checkpoint.

    Sizes and positions are checked against the lengths of `index` and `data`, and checksums (CRC-32C) are verified.

    Args:
        index: content of the file `*.index`, up to 1 MiB.
        data: content of the file `*.data-00000-of-00001`.
        names: names of the variables to read. Other variables are ignored.

    Returns:
        The tensors by name.

    Raises:
        ValueError: if the index or a tensor is damaged, if a name is missing or not float32, or if the checkpoint is
            compressed, in big-endian order or has several data files.
    """
    entries = _read_index(index, names)
    if missing := sorted(set(names) - entries.keys()):
        raise ValueError(f"no variable named {', '.join(missing[:3])}")
    return {name: _read_tensor(name, entries[name], data) for name in names}


def _read_tensor(name: str, entry: _Entry, data: bytes) -> NDArray[np.float32]:
    if entry.kind != _FLOAT or entry.shard != 0:
        raise ValueError(f"{name} is not a float32 tensor of the first data file")
    if entry.offset + entry.size > len(data):
        raise ValueError(f"{name} ends at byte {entry.offset + entry.size} of {len(data)}")
    if math.prod(entry.shape) * 4 != entry.size:
        raise ValueError(f"{name} has {entry.size} bytes, which is not the size of the shape {entry.shape}")
    content = data[entry.offset : entry.offset + entry.size]
    if _mask(crc32c(content)) != entry.checksum:
        raise ValueError(f"the checksum of {name} is wrong")
    return np.frombuffer(content, "<f4").astype(np.float32).reshape(entry.shape)


def _read_index(index: bytes, names: Collection[str]) -> dict[str, _Entry]:
    """Return the entries of variables by name. Other variables are not kept."""
    if not _FOOTER_BYTES <= len(index) <= _MAX_INDEX_BYTES:
        raise ValueError(f"the index has {len(index)} bytes")
    footer = index[-_FOOTER_BYTES:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("this is not the index of a TensorFlow checkpoint")
    position = 0
    for _ in range(2):  # the first block contains statistics, which are not used
        _, position = _varint(footer, position)
    wanted = {name.encode(): name for name in names}
    entries: dict[str, _Entry] = {}
    header: bytes | None = None
    for key, value in _pairs(index, footer[position:-8]):
        if not key:
            header = value
        elif header is None:
            raise ValueError("the index has no header")
        elif key in wanted:
            entries[wanted[key]] = _entry(value)
    if header is None:
        raise ValueError("the index has no header")
    fields = dict(_fields(header))
    if fields.get(1) != 1 or fields.get(2, 0) != 0:
        raise ValueError("expected one data file with little-endian numbers")
    return entries


def _pairs(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the sorted keys and the values of all blocks, whose handles are in the block at `handle`."""
    before: bytes | None = None
    length = total = 0
    for _, inner in _block(index, handle):
        is_empty = True
        total += _varint(inner, _varint(inner, 0)[1])[0]
        if total > len(index):
            raise ValueError("the blocks of the index overlap, or it is truncated or damaged")
        for key, value in _block(index, inner):
            # Sorted keys also ensure that no block with keys is read twice.
            if before is not None and key <= before:
                raise ValueError("the names in the index are not sorted")
            before, is_empty = key, False
            length += len(key)
            if length > _MAX_NAMES_BYTES:
                raise ValueError(f"the names in the index have more than {_MAX_NAMES_BYTES} bytes")
            yield key, value
        if is_empty:
            raise ValueError("a block of the index has no entries")


def _entry(message: bytes) -> _Entry:
    found: dict[int, int | bytes] = dict(_fields(message))
    shape = found.get(2, b"")
    numbers = {field: found.get(field, 0) for field in (1, 3, 4, 5, 6)}
    if not isinstance(shape, bytes) or not all(isinstance(number, int) for number in numbers.values()):
        raise ValueError("an entry of the index is damaged")
    kind, shard, offset, size, checksum = (int(number) for number in numbers.values())
    dimensions = []
    for field, value in _fields(shape):
        if field != 2 or not isinstance(value, bytes):
            raise ValueError("the shape of a tensor is unknown")
        dimensions.append(dict(_fields(value)).get(1, 0))
        if not isinstance(dimensions[-1], int) or len(dimensions) > _MAX_DIMENSIONS:
            raise ValueError("the shape of a tensor is damaged")
    return _Entry(kind, tuple(int(size) for size in dimensions), shard, offset, size, checksum)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the numbers and values of the fields of a protocol buffer."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        wire = tag & 7
        if wire == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if wire == _BYTES:
            length, position = _varint(message, position)
        elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
            length = 4 if wire == _FOUR_BYTES else 8
        else:
            raise ValueError("an entry of the index is damaged")
        content, position = _take(message, position, length)
        yield tag >> 3, content if wire == _BYTES else int.from_bytes(content, "little")


def _block(index: bytes, handle: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a block. The handle consists of its offset and size."""
    offset, position = _varint(handle, 0)
    size, _ = _varint(handle, position)
    block, _ = _take(index, offset, size + _TRAILER_BYTES)
    if block[size] != 0:
        raise ValueError("the index is compressed")
    if _mask(crc32c(block[: size + 1])) != struct.unpack("<I", block[size + 1 :])[0]:
        raise ValueError("the checksum of the index is wrong")
    if size < 4:
        raise ValueError("a block of the index is too short")
    # The block ends with positions at which keys are stored in full, and their number. They are not needed.
    end = size - 4 - 4 * struct.unpack("<I", block[size - 4 : size])[0]
    if end < 0:
        raise ValueError("a block of the index is too short")
    entries, position, key = block[:end], 0, b""
    while position < end:
        shared, position = _varint(entries, position)
        own, position = _varint(entries, position)
        length, position = _varint(entries, position)
        rest, position = _take(entries, position, own)
        if shared > len(key) or shared + own > _MAX_NAME_BYTES:
            raise ValueError("a name in the index is damaged")
        key = key[:shared] + rest
        value, position = _take(entries, position, length)
        yield key, value


def _take(content: bytes, position: int, length: int) -> tuple[bytes, int]:
    """Return `length` bytes from a position, and the position after them."""
    if position + length > len(content):
        raise ValueError("the index is truncated or damaged")
    return content[position : position + length], position + length


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """Return an integer of 7 bits per byte, the lowest first, and the position after it."""
    number = 0
    for shift in range(0, 70, 7):
        (byte,), position = _take(content, position, 1)
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError("a number in the index is damaged")


def crc32c(content: bytes) -> int:
    """Return the checksum CRC-32C of bytes.

    The bytes are divided into about as many parts as the parts have bytes. The checksums of all parts are computed at
    once, and combined.

    Examples:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    if len(content) < 4:
        return ~_update(~0 & 0xFFFFFFFF, content) & 0xFFFFFFFF
    values = np.frombuffer(content, np.uint8).copy()
    values[:4] ^= 0xFF  # the initial value of the checksum
    length = math.isqrt(len(values))
    padding = -len(values) % length
    parts = np.concatenate([np.zeros(padding, np.uint8), values]).reshape(-1, length)
    count = len(parts)
    # 32 more parts consist of zeros. Each begins with one bit, and shows where `length` zeros move this bit.
    parts = np.concatenate([parts, np.zeros((32, length), np.uint8)])
    states = np.concatenate([np.zeros(count, np.uint32), np.left_shift(np.uint32(1), np.arange(32, dtype=np.uint32))])
    table = _table()
    for column in np.ascontiguousarray(parts.T):
        states = table[(states ^ column) & 0xFF] ^ (states >> 8)
    shifts = states[count:].tolist()
    total = 0
    for after in states[:count].tolist():
        for bit in range(32):
            if total >> bit & 1:
                after ^= shifts[bit]
        total = after
    return ~total & 0xFFFFFFFF


def _update(state: int, content: bytes) -> int:
    for byte in content:
        state = int(_table()[(state ^ byte) & 0xFF]) ^ (state >> 8)
    return state


@cache
def _table() -> NDArray[np.uint32]:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, (values >> 1) ^ np.uint32(_POLYNOMIAL), values >> 1)
    return values


def _mask(checksum: int) -> int:
    """Return a checksum in the form in which these files store it."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
