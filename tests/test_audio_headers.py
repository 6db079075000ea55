"""Whether a file is whole is judged by its audio data, not by sizes that streams leave open."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import soundfile

from ssc_toolkit.audio import UnreadableAudio, check_decodes, read_audio
from ssc_toolkit.decoding.headers import find_audio_data

RATE = 16000
MUSIC = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * RATE, 2))
STREAM_MARKS = [
    0,
    0xFFFFFFFF,
    0x7FFFFFFF,
    0x80000000,
    0x7FFFF000,
    0x7FFFF024,
    0x7FFFFFFF - 36,
    0xFFFFFFFF - 36,
    0xFFFFF000,
]
FORMATS = ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"]


def written(path, container: str, subtype: str = "PCM_16") -> bytes:
    soundfile.write(path, MUSIC, RATE, format=container, subtype=subtype)
    return path.read_bytes()


def with_data_size(content: bytes, size: int) -> bytes:
    """The same file, whose header says that the audio has another size in bytes."""
    data = find_audio_data(io.BytesIO(content))
    assert data is not None
    changed = bytearray(content)
    changed[data.field : data.field + data.field_bytes] = (size % 256**data.field_bytes).to_bytes(
        data.field_bytes, data.order
    )
    return bytes(changed)


def assert_whole(path) -> None:
    assert check_decodes(path).frames == len(MUSIC)
    np.testing.assert_allclose(read_audio(path, RATE), MUSIC.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(read_audio(path, RATE, RATE, RATE), MUSIC.mean(axis=1)[RATE : 2 * RATE], atol=1e-4)


@pytest.mark.parametrize("riff_size", ["file", "file + 8", "0", *STREAM_MARKS])
def test_the_riff_size_does_not_matter(tmp_path, riff_size):
    content = written(tmp_path / "a.wav", "WAV")
    size = {"file": len(content), "file + 8": len(content) + 8, "0": 0}.get(riff_size, riff_size)
    (tmp_path / "a.wav").write_bytes(content[:4] + struct.pack("<I", size) + content[8:])
    assert_whole(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes(content[:4] + struct.pack("<I", size) + content[8 : len(content) // 2])
    with pytest.raises(UnreadableAudio, match="copied completely"):
        check_decodes(tmp_path / "a.wav")


@pytest.mark.parametrize("mark", STREAM_MARKS)
@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU"])
def test_sizes_that_streams_leave_open_are_known(tmp_path, container, mark):
    path = tmp_path / f"a.{container.lower()}"
    content = with_data_size(written(path, container), mark)
    path.write_bytes(
        content[:4] + struct.pack("<I", min(mark + 36, 2**32 - 1)) + content[8:] if container == "WAV" else content
    )
    assert_whole(path)


@pytest.mark.parametrize("mark", [0, -1, 2**63 - 1])
@pytest.mark.parametrize("container", ["RF64", "W64", "CAF"])
def test_long_sizes_that_streams_leave_open_are_known(tmp_path, container, mark):
    path = tmp_path / f"a.{container.lower()}"
    path.write_bytes(with_data_size(written(path, container), mark))
    assert_whole(path)


@pytest.mark.parametrize("container", FORMATS)
@pytest.mark.parametrize("missing", [1, 2, 8, 40])
def test_a_few_missing_bytes_are_tolerated(tmp_path, container, missing):
    path = tmp_path / f"a.{container.lower()}"
    path.write_bytes(written(path, container)[:-missing])
    assert len(MUSIC) - 4096 <= check_decodes(path).frames <= len(MUSIC)


@pytest.mark.parametrize("container", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_files_that_were_not_copied_whole_are_found(tmp_path, container, share):
    path = tmp_path / f"a.{container.lower()}"
    content = written(path, container)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableAudio, match=f"a.{container.lower()}: .*copied completely"):
        check_decodes(path)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM", "MS_ADPCM"])
def test_the_size_of_other_sample_formats_is_left_open_too(tmp_path, subtype):
    content = written(tmp_path / "a.wav", "WAV", subtype)
    for size in (0, 0x7FFFF000, 0xFFFFFFFF):
        (tmp_path / "a.wav").write_bytes(with_data_size(content, size))
        assert check_decodes(tmp_path / "a.wav").frames >= len(MUSIC)


def test_chunks_after_the_audio_are_no_audio(tmp_path):
    info = b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"Lavf60.16.100\0"
    content = written(tmp_path / "a.wav", "WAV")
    (tmp_path / "a.wav").write_bytes(content + info)
    assert_whole(tmp_path / "a.wav")
    empty = content[:40] + bytes(4)
    for what in (empty, empty + info):
        (tmp_path / "a.wav").write_bytes(what)
        with pytest.raises(UnreadableAudio, match="contains no audio"):
            check_decodes(tmp_path / "a.wav")


def test_big_endian_and_broadcast_headers_are_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", MUSIC, RATE, endian="BIG")
    content = (tmp_path / "a.wav").read_bytes()
    assert content[:4] == b"RIFX"
    (tmp_path / "a.wav").write_bytes(with_data_size(content, 0))
    assert_whole(tmp_path / "a.wav")
    content = written(tmp_path / "a.wav", "WAV")
    broadcast = b"bext" + struct.pack("<I", 603) + bytes(604)  # odd, and padded
    for size in (find_audio_data(io.BytesIO(content)).declared, 0, 0x7FFFF000):
        changed = with_data_size(content[:12] + broadcast + content[12:], size)
        (tmp_path / "a.wav").write_bytes(changed)
        assert_whole(tmp_path / "a.wav")
    (tmp_path / "a.wav").write_bytes((content[:12] + broadcast + content[12:])[:-5000])
    with pytest.raises(UnreadableAudio, match="copied completely"):
        check_decodes(tmp_path / "a.wav")
