"""Files that libsndfile does not read, through PyAV; they are made by PyAV here."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import pytest
import soundfile
from audio_files import assert_segments_agree, correlation, loud_and_quiet

from ssc_toolkit.audio import (
    SUFFIXES,
    UnreadableAudio,
    check_decodes,
    list_readable_suffixes,
    read_audio,
    read_audio_info,
)
from ssc_toolkit.data import AudioStore, from_csv
from ssc_toolkit.decoding.pyav import CODEC_SUFFIXES
from ssc_toolkit.paths import audio_paths

av = pytest.importorskip("av")

RATE = 44100
MUSIC = loud_and_quiet(3.0, RATE)
KINDS = {
    "aac.m4a": ("aac", "ipod"),
    "aac.mp4": ("aac", "mp4"),
    "adts.aac": ("aac", "adts"),
    "wma2.wma": ("wmav2", "asf"),
    "wma1.wma": ("wmav1", "asf"),
    "alac.m4a": ("alac", "ipod"),
    "lossless.wv": ("wavpack", "wv"),
    "lossless.tta": ("tta", "tta"),
    "aac.mka": ("aac", "matroska"),
}


def encode(path, codec: str, container: str, samples: np.ndarray = MUSIC, channels: int = 1) -> None:
    layout = "stereo" if channels == 2 else "mono"
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=RATE)
        stream.layout, stream.bit_rate = layout, 96_000 * channels
        planes = np.ascontiguousarray(np.stack([samples, 0.5 * samples][:channels]), dtype=np.float32)
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        size = stream.codec_context.frame_size
        fit = av.AudioResampler(stream.format.name, layout, RATE, size if size > 0 else 4096)
        for part in (*fit.resample(frame), *fit.resample(None)):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("channels", [1, 2])
def test_segments_equal_spans_of_the_whole_decode(tmp_path, name, channels):
    encode(tmp_path / name, *KINDS[name], channels=channels)
    whole = assert_segments_agree(tmp_path / name, 3.0, tolerance=0.06)
    assert read_audio_info(tmp_path / name).channels == channels
    meant = MUSIC * (0.75 if channels == 2 else 1)
    late = [correlation(whole, meant, delay) for delay in (0, 1024, 2048, 2112)]
    early = correlation(meant, whole, 2048)  # FFmpeg leaves the first frame of WMA out
    assert max(*late, early) > 0.95


def test_an_mp3_or_wav_named_as_another_codec_is_read(tmp_path):
    soundfile.write(tmp_path / "a.wav", MUSIC, RATE)
    (tmp_path / "a.m4a").write_bytes((tmp_path / "a.wav").read_bytes())
    assert check_decodes(tmp_path / "a.m4a").frames == len(MUSIC)
    encode(tmp_path / "b.m4a", "aac", "ipod")
    (tmp_path / "b.mp3").write_bytes((tmp_path / "b.m4a").read_bytes())
    assert check_decodes(tmp_path / "b.mp3") == check_decodes(tmp_path / "b.m4a")


@pytest.mark.parametrize("name", ["aac.m4a", "wma2.wma", "alac.m4a", "lossless.wv", "aac.mka"])
@pytest.mark.parametrize("share", [0.3, 0.8])
def test_files_that_were_not_copied_whole_are_named(tmp_path, name, share):
    encode(tmp_path / name, *KINDS[name])
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(share * len(content))])
    with pytest.raises(UnreadableAudio, match=name):
        check_decodes(tmp_path / name)


@pytest.mark.parametrize("suffix", CODEC_SUFFIXES)
def test_files_without_audio_are_reported(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    for content in (b"", b"this is no audio", np.random.default_rng(0).bytes(5000)):
        path.write_bytes(content)
        with pytest.raises(UnreadableAudio, match=f"a{suffix}: "):
            check_decodes(path)


@pytest.mark.parametrize("name", ["lossless.wv", "lossless.tta"])
@pytest.mark.parametrize("place", [0.3, 0.5, 0.7, 0.9])
def test_codecs_with_checksums_refuse_damage(tmp_path, name, place):
    encode(tmp_path / name, *KINDS[name])
    content = bytearray((tmp_path / name).read_bytes())
    content[int(place * len(content))] ^= 0x55
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableAudio, match=f"{name}: no audio that can be decoded"):
        check_decodes(tmp_path / name)


def test_a_store_decodes_them(tmp_path):
    for name in ("aac.m4a", "wma2.wma", "adts.aac"):
        encode(tmp_path / name, *KINDS[name])
    (tmp_path / "t.csv").write_text("path\naac.m4a\nwma2.wma\nadts.aac\n")
    store = AudioStore.prepare(from_csv(tmp_path / "t.csv"), tmp_path / "store", 16000, progress=False)
    assert store.tracks["seconds"].tolist() == pytest.approx([3.0] * 3, abs=0.06)


def test_the_suffixes_are_those_of_both(tmp_path):
    assert list_readable_suffixes() == (*SUFFIXES, *CODEC_SUFFIXES)
    assert not set(SUFFIXES) & set(CODEC_SUFFIXES)


WITHOUT = """
import sys
sys.modules["av"] = None  # as if it were not installed
from ssc_toolkit.audio import SUFFIXES, UnreadableAudio, read_audio_info, list_readable_suffixes
from ssc_toolkit.paths import audio_paths
from ssc_toolkit.data import from_folder
from pathlib import Path
assert list_readable_suffixes() == SUFFIXES
paths, others, *_ = audio_paths(Path({folder!r}), list_readable_suffixes())
print([path.name for path in paths], dict(others))
import logging
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from_folder({folder!r})
for name in ("a.m4a", "renamed.mp3"):
    try:
        read_audio_info({folder!r} + "/" + name)
    except UnreadableAudio as error:
        print(error)
"""


@pytest.mark.slow
def test_without_pyav_the_extra_is_named(tmp_path):
    encode(tmp_path / "a.m4a", "aac", "ipod")
    (tmp_path / "renamed.mp3").write_bytes((tmp_path / "a.m4a").read_bytes())
    command = [sys.executable, "-c", WITHOUT.format(folder=str(tmp_path))]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[0] == "['renamed.mp3'] {'.m4a': 1}"
    assert "1 .m4a" in lines[1]
    assert [line.split(":")[0] for line in lines[2:]] == [f"{tmp_path}/{name}" for name in ("a.m4a", "renamed.mp3")]
    assert all("pip install 'ssc-toolkit[codecs]'" in line for line in lines[1:])


def test_folders_are_searched_once_and_hidden_files_left_out(tmp_path):
    music, elsewhere = tmp_path / "music", tmp_path / "elsewhere"
    for place in (music / "jazz", music / ".trash", elsewhere):
        place.mkdir(parents=True)
    for name in ("music/a.WAV", "music/._a.wav", "music/jazz/b.oga", "music/.trash/c.wav", "elsewhere/d.m4a"):
        (tmp_path / name).touch()
    for name in ("music/cover.jpg", "music/jazz/cover.JPG", "elsewhere/list"):
        (tmp_path / name).touch()
    (music / "again").symlink_to(music / "jazz")
    (music / "more").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(music)
    paths, others, *_ = audio_paths(music, list_readable_suffixes())
    assert [str(path.relative_to(music)) for path in paths] == ["a.WAV", "jazz/b.oga", "more/d.m4a"]
    assert others == {".jpg": 2, "": 1}


def test_readers_may_share_a_file_between_threads(tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    encode(tmp_path / "a.m4a", "aac", "ipod")
    whole = read_audio(tmp_path / "a.m4a", RATE)
    starts = list(range(0, 100_000, 9000))
    with ThreadPoolExecutor(4) as pool:
        segments = list(pool.map(lambda start: read_audio(tmp_path / "a.m4a", RATE, start, 4000), starts))
    for start, segment in zip(starts, segments, strict=True):
        np.testing.assert_array_equal(segment, whole[start : start + 4000])
