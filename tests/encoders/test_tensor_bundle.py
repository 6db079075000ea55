"""TensorFlow checkpoints: whole, damaged and hostile."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tensor_bundles import HEADER, block, bundle, entry, field, sealed, slow_crc32c, table, varint

from ssc_toolkit.encoders.tensor_bundle import crc32c, read_tensor_bundle

RANDOM = np.random.default_rng(0)
VARIABLES = {
    "conv2d/kernel": RANDOM.standard_normal((3, 4, 1, 5), dtype=np.float32),
    "conv2d/bias": RANDOM.standard_normal(5, dtype=np.float32),
    "conv2d_1/kernel": RANDOM.standard_normal((3, 1, 2, 200), dtype=np.float32),
    "beta1_power": np.float32(0.9).reshape(()),
    "empty": np.zeros((0, 3), np.float32),
    **{f"dense_{number}/bias": RANDOM.standard_normal(number + 1, dtype=np.float32) for number in range(20)},
}


def test_variables_of_several_blocks_are_read():
    for per_block in (1, 3, 100):
        found = read_tensor_bundle(*bundle(VARIABLES, per_block), list(VARIABLES))
        for name, array in VARIABLES.items():
            assert found[name].dtype == np.float32
            np.testing.assert_array_equal(found[name], array)


def test_only_named_variables_are_read():
    index, data = bundle(VARIABLES | {"global_step": np.array(7)})
    assert list(read_tensor_bundle(index, data, ["empty"])) == ["empty"]
    with pytest.raises(ValueError, match="global_step is not a float32 tensor"):
        read_tensor_bundle(index, data, ["global_step"])
    with pytest.raises(ValueError, match="no variable named other"):
        read_tensor_bundle(index, data, ["other"])


def test_checksums_equal_those_of_the_definition():
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    for length in (*range(40), 1000, 4097):
        content = RANDOM.bytes(length)
        assert crc32c(content) == slow_crc32c(content)


def test_a_flipped_bit_never_changes_a_tensor():
    index, data = bundle({name: VARIABLES[name] for name in ("conv2d/kernel", "conv2d/bias", "beta1_power")}, 2)
    whole = read_tensor_bundle(index, data, ["conv2d/kernel", "conv2d/bias", "beta1_power"])
    refused = 0
    for content, is_index in ((index, True), (data, False)):
        for offset in range(len(content)):
            damaged = bytearray(content)
            damaged[offset] ^= 0x10
            files = (bytes(damaged), data) if is_index else (index, bytes(damaged))
            try:
                found = read_tensor_bundle(*files, list(whole))
            except ValueError:
                refused += 1
                continue
            assert all(np.array_equal(found[name], whole[name]) for name in whole), offset
    assert refused > len(data) + len(index) - 60  # the unused statistics and the padding are not checked


def test_truncated_files_are_refused():
    index, data = bundle({"a": VARIABLES["conv2d/bias"]})
    for length in range(len(index)):
        with pytest.raises(ValueError, match="index"):
            read_tensor_bundle(index[:length], data, ["a"])
    for length in range(len(data)):
        with pytest.raises(ValueError, match="a ends at byte"):
            read_tensor_bundle(index, data[:length], ["a"])


ARRAY = np.arange(6, dtype=np.float32)
FITTING = entry(ARRAY, 0)


def index_with(value: bytes = FITTING, header: bytes = HEADER[1]) -> bytes:
    return table([block([(b"", header), (b"a", value)])])


ONE_BLOCK = block([HEADER, (b"a", FITTING)])
LARGE = field(2, field(1, 2**40)) * 3
HOSTILE = {
    "offset after the end": (index_with(entry(ARRAY, 10**15)), "a ends at byte"),
    "offset of 70 bits": (index_with(entry(ARRAY, 2**69)), "a ends at byte"),
    "size of another shape": (index_with(entry(ARRAY, 0, size=20)), "not the size of the shape"),
    "large shape": (index_with(entry(ARRAY, 0, shape=LARGE)), "not the size of the shape"),
    "negative length": (index_with(entry(ARRAY, 0, shape=field(2, field(1, 2**64 - 6)))), "not the size"),
    "many dimensions": (index_with(entry(ARRAY, 0, shape=field(2, field(1, 1)) * 1000)), "shape of a tensor"),
    "unknown shape": (index_with(entry(ARRAY, 0, shape=field(3, 1))), "shape of a tensor is unknown"),
    "length as bytes": (index_with(entry(ARRAY, 0, shape=field(2, field(1, b"1")))), "shape of a tensor"),
    "second data file": (index_with(entry(ARRAY, 0, shard=1)), "first data file"),
    "two data files": (index_with(header=field(1, 2)), "one data file"),
    "big-endian": (index_with(header=field(1, 1) + field(2, 1)), "little-endian"),
    "group in an entry": (index_with(b"\x0b"), "entry of the index"),
    "offset as bytes": (index_with(FITTING + field(4, b"1")), "entry of the index"),
    "long field": (index_with(varint(2 << 3 | 2) + varint(2**60)), "truncated or damaged"),
    "endless number": (index_with(b"\x08" + b"\xff" * 12), "number in the index"),
    "no header": (table([block([(b"a", FITTING)])]), "no header"),
    "no variables": (table([block([])]), "has no entries"),
    "empty block many times": (table([block([HEADER, (b"a", FITTING)]), block([])], None), "has no entries"),
    "names without end": (
        table([block([HEADER, *((b"a" * 4000 + b"%05d" % n, b"") for n in range(1100))], interval=2000)]),
        "names",
    ),
    "unsorted": (table([block([HEADER, (b"b", FITTING), (b"a", FITTING)])]), "not sorted"),
    "same block twice": (table([ONE_BLOCK], [b"\0" + varint(len(ONE_BLOCK) - 5)] * 9), "not sorted"),
    "block after the end": (table([block([HEADER])], [varint(2**50) + varint(9)]), "truncated or damaged"),
    "block of 2**60 bytes": (table([block([HEADER])], [varint(0) + varint(2**60)]), "truncated or damaged"),
    "compressed": (table([block([HEADER, (b"a", FITTING)], kind=1)]), "compressed"),
    "many restarts": (table([sealed(b"\xff\xff\xff\x7f")]), "too short"),
    "short block": (table([sealed(b"\0")]), "too short"),
    "shared name": (table([sealed(b"\x05\x01\x00a" + b"\0" * 4)]), "name in the index"),
    "long name": (table([block([HEADER, (b"a" * 5000, FITTING)])]), "name in the index"),
    "another file": (b"\x89PNG" * 100, "not the index of a TensorFlow checkpoint"),
    "large file": (bytes(2**20 + 1), "the index has"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused(name):
    index, words = HOSTILE[name]
    with pytest.raises(ValueError, match=words):
        read_tensor_bundle(index, ARRAY.tobytes(), ["a"])


def test_a_small_index_needs_little_memory():
    """Each name repeats the beginning of the one before, so that the index is short, and its names are long."""
    index = HOSTILE["names without end"][0]
    assert len(index) < 100_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="names in the index have more than"):
        read_tensor_bundle(index, ARRAY.tobytes(), ["a"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_the_hostile_files_differ_from_a_valid_one():
    np.testing.assert_array_equal(read_tensor_bundle(index_with(), ARRAY.tobytes(), ["a"])["a"], ARRAY)
