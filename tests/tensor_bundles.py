"""TensorFlow checkpoints that are written byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

MAGIC = 0xDB4775248B80FB57


def slow_crc32c(content: bytes) -> int:
    """CRC-32C by its definition, byte after byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    state = 0xFFFFFFFF
    for byte in content:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state ^ 0xFFFFFFFF


def masked(content: bytes) -> int:
    checksum = slow_crc32c(content)
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) % 2**32


def varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer: an integer, or a length and bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(
    array: np.ndarray,
    offset: int,
    *,
    kind: int = 1,
    shard: int = 0,
    size: int | None = None,
    shape: bytes | None = None,
) -> bytes:
    """The value of a variable in the index."""
    content = array.tobytes()
    if shape is None:
        shape = b"".join(field(2, field(1, length)) for length in array.shape)
    where = field(3, shard) * bool(shard) + field(4, offset) + field(5, len(content) if size is None else size)
    return field(1, kind) + field(2, shape) + where + varint(6 << 3 | 5) + struct.pack("<I", masked(content))


def block(pairs: list[tuple[bytes, bytes]], kind: int = 0, interval: int = 4) -> bytes:
    """Sorted keys and values. Keys are stored without the beginning that they share with the key before."""
    content, restarts, before = b"", [], b""
    for number, (key, value) in enumerate(pairs):
        shared = 0
        if number % interval == 0:
            restarts.append(len(content))
        else:
            while shared < min(len(key), len(before)) and key[shared] == before[shared]:
                shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return sealed(content + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)), kind)


def sealed(content: bytes, kind: int = 0) -> bytes:
    """A block with its kind of compression and its checksum."""
    content += bytes([kind])
    return content + struct.pack("<I", masked(content))


def table(blocks: list[bytes], handles: list[bytes] | None = None) -> bytes:
    """The index file that consists of blocks."""
    content, own = b"", []
    for data in blocks:
        own.append(varint(len(content)) + varint(len(data) - 5))
        content += data
    statistics = varint(len(content)) + varint(8)
    content += block([])
    listed = block([(b"k%d" % number, handle) for number, handle in enumerate(handles or own)])
    footer = statistics + varint(len(content)) + varint(len(listed) - 5)
    return content + listed + footer.ljust(40, b"\0") + struct.pack("<Q", MAGIC)


HEADER = (b"", field(1, 1) + field(3, field(1, 1)))


def bundle(variables: Mapping[str, np.ndarray], per_block: int = 7) -> tuple[bytes, bytes]:
    """Index and data of float32 variables. Other arrays have the type of 64-bit integers."""
    pairs, data = [HEADER], b""
    for name, array in sorted(variables.items()):
        pairs.append((name.encode(), entry(array, len(data), kind=1 if array.dtype == np.float32 else 9)))
        data += array.tobytes()
    return table([block(pairs[begin : begin + per_block]) for begin in range(0, len(pairs), per_block)]), data


def write_bundle(folder: Path, variables: Mapping[str, np.ndarray]) -> None:
    """Write the files that the package `musicnn` has for a model."""
    folder.mkdir(parents=True)
    index, data = bundle(variables)
    (folder / ".index").write_bytes(index)
    (folder / ".data-00000-of-00001").write_bytes(data)
