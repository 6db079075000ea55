"""Damaged audio files are read or refused by name; nothing else happens."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import loud_and_quiet, without_xing

RATE = 16000
KINDS = {
    "wav": ("WAV", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "w64": ("W64", "FLOAT"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "ALAC_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
READ_ALL = """
import sys
from ssc_toolkit.audio import UnreadableAudio, check_decodes, read_audio, stream_audio
for path in sys.argv[1:]:
    for read in (check_decodes, lambda path: read_audio(path, 8000, 4000, 4000), lambda path: read_audio(path, 8000),
                 lambda path: sum(map(len, stream_audio(path, 8000, 1.0)))):
        try:
            read(path)
        except UnreadableAudio as error:
            assert str(error).startswith(path + ": "), error
            assert "\\n" not in str(error), error
print("alive")
"""


def damaged(content: bytes, generator: np.random.Generator) -> bytes:
    """One of many ways in which a file goes wrong, mostly in its header."""
    changed = bytearray(content)
    way = generator.integers(5)
    place = int(generator.integers(min(len(changed), 200 if generator.random() < 0.7 else len(changed))))
    if way == 0:
        changed[place] ^= 1 << int(generator.integers(8))
    elif way == 1:
        changed[place : place + 4] = generator.bytes(4)
    elif way == 2:
        changed[place : place + 8] = [b"\xff", b"\x7f", b"\x00"][int(generator.integers(3))] * 8
    elif way == 3:
        del changed[place : place + int(generator.integers(1, 40))]
    else:
        del changed[int(generator.integers(len(changed))) :]
    return bytes(changed)


def assert_survives(paths: list[Path]) -> None:
    command = [sys.executable, "-c", READ_ALL, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.strip()) == (0, "alive"), done.stderr[-2000:]


@pytest.mark.parametrize("suffix", KINDS)
def test_damaged_files_are_read_or_named(tmp_path, suffix):
    container, subtype = KINDS[suffix]
    samples = loud_and_quiet(1.0, RATE)
    soundfile.write(tmp_path / f"whole.{suffix}", samples, RATE, format=container, subtype=subtype)
    content = (tmp_path / f"whole.{suffix}").read_bytes()
    generator = np.random.default_rng(0)
    sources = [content, content + content, without_xing(content) if suffix == "mp3" else content]
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"{number}.{suffix}")
        paths[-1].write_bytes(damaged(sources[number % 3], generator))
    assert_survives(paths)


def test_damaged_files_of_other_codecs_are_read_or_named(tmp_path):
    pytest.importorskip("av")
    from test_audio_codecs import KINDS as CODECS
    from test_audio_codecs import encode

    generator, paths = np.random.default_rng(0), []
    for name in ("aac.m4a", "adts.aac", "wma2.wma", "lossless.wv", "aac.mka"):
        encode(tmp_path / name, *CODECS[name], samples=loud_and_quiet(1.0, 44100))
        content = (tmp_path / name).read_bytes()
        for number in range(20):
            paths.append(tmp_path / f"{number}-{name}")
            paths[-1].write_bytes(damaged(content, generator))
    assert_survives(paths)


@pytest.mark.parametrize("suffix", ["wav", "mp3", "ogg", "flac", "aiff", "au", "w64", "caf", "m4a", "ape"])
def test_files_that_only_begin_like_audio_are_reported(tmp_path, suffix):
    beginnings = {
        "mp3": b"\xff\xfb\x90\x64",
        "ogg": b"OggS",
        "flac": b"fLaC",
        "wav": b"RIFF\xff\xff\xff\xffWAVEdata",
        "aiff": b"FORM\0\0\0\0AIFFSSND",
        "au": b".snd",
        "w64": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",
        "caf": b"caff\0\1\0\0data",
        "m4a": b"\0\0\0\x20ftypM4A ",
        "ape": b"MAC \x96\x0f\0\0",
    }
    paths = []
    for number, rest in enumerate((b"", bytes(3000), b"\xff" * 3000, np.random.default_rng(0).bytes(30_000))):
        paths.append(tmp_path / f"{number}.{suffix}")
        paths[-1].write_bytes(beginnings[suffix] + rest)
    (tmp_path / f"{suffix}.{suffix}").mkdir()
    assert_survives([*paths, tmp_path / f"{suffix}.{suffix}", tmp_path / f"none.{suffix}"])
