"""Decoding of files for a store: in a single pass, with the samples and the checks of the other readers."""

import os
import threading

import numpy as np
import pytest
import soundfile
from audio_files import loud_and_quiet, vbr_mp3, without_xing, write_audio

from ssc_toolkit.audio import UnreadableAudio, check_decodes, stream_audio
from ssc_toolkit.data import AudioStore, load_tracks
from ssc_toolkit.data.store.shard_writer import ShardWriter
from ssc_toolkit.errors import InputError

RATE = 44100
MUSIC = loud_and_quiet(6.0, RATE)
STEREO = np.stack([MUSIC, 0.4 * MUSIC[::-1]], axis=1)


def write_aac(path, samples) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        for begin in range(0, len(samples), 1024):
            part = np.ascontiguousarray(samples[None, begin : begin + 1024], dtype=np.float32)
            frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            frame.sample_rate, frame.pts = RATE, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_flac_of_unknown_length(path, samples) -> None:
    soundfile.write(path, samples, RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    path.write_bytes(content)


def write_chained_ogg(path, samples) -> None:
    soundfile.write(path, samples, RATE)
    path.write_bytes(2 * path.read_bytes())


FILES = {
    "a.wav": lambda path: write_audio(path, STEREO, RATE),
    "float.wav": lambda path: write_audio(path, 4 * STEREO, RATE, subtype="FLOAT"),
    "six.wav": lambda path: write_audio(path, np.concatenate([STEREO] * 3, axis=1), RATE),
    "quiet-ends.wav": lambda path: write_audio(path, np.pad(MUSIC, RATE), RATE),
    "tiny.wav": lambda path: write_audio(path, STEREO[:2000], RATE),
    "a.ogg": lambda path: write_audio(path, STEREO, RATE),
    "a.mp3": lambda path: write_audio(path, STEREO, RATE),
    "without-header.mp3": lambda path: path.write_bytes(without_xing(vbr_mp3(path, MUSIC))),
    "unknown.flac": lambda path: write_flac_of_unknown_length(path, STEREO),
    "chained.ogg": lambda path: write_chained_ogg(path, MUSIC),
    "a.m4a": lambda path: write_aac(path, MUSIC),
}


@pytest.mark.parametrize("channel", ["mean", "loudest"])
@pytest.mark.parametrize("rate", [16000, RATE])
@pytest.mark.parametrize("name", FILES)
def test_stored_samples_are_those_of_the_stream(tmp_path, name, rate, channel):
    FILES[name](tmp_path / name)
    store = AudioStore.prepare(
        load_tracks(tmp_path), tmp_path / "store", rate, channel=channel, threads=1, progress=False
    )
    rounded = np.rint(np.concatenate(list(stream_audio(tmp_path / name, rate, 0.9, channel))) * 32768)
    np.testing.assert_array_equal(store[0] * 32768, np.clip(rounded, -32768, 32767))
    assert store.tracks["clipped"][0] == np.sum((rounded < -32768) | (rounded > 32767))
    assert (store.tracks["clipped"][0] > 0) == (name == "float.wav")


@pytest.mark.parametrize("name", FILES)
def test_a_store_decodes_a_file_once(tmp_path, name, monkeypatch):
    FILES[name](tmp_path / name)
    decoded = []
    read = soundfile.SoundFile.read

    def counted(file, *arguments, **options):
        block = read(file, *arguments, **options)
        decoded.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    if name.endswith(".m4a"):
        av = pytest.importorskip("av")
        resampler = av.AudioResampler

        class Counted:
            def __init__(self, *arguments):
                self.own = resampler(*arguments)

            def resample(self, frame):
                decoded.append(frame.samples)
                return self.own.resample(frame)

        monkeypatch.setattr(av, "AudioResampler", Counted)
    (tmp_path / "shards").mkdir()
    with ShardWriter(tmp_path, RATE, 2**28, threading.Event()) as writer:
        writer.add(str(tmp_path / name))
    total = sum(decoded)
    once = sum(map(len, stream_audio(tmp_path / name, RATE)))
    probed = 2 * RATE if name.endswith(".m4a") else 0  # the beginning is decoded to find the sample rate
    assert once <= total <= 1.02 * once + probed


def unusable(kind: str) -> np.ndarray:
    samples = STEREO.copy()
    if kind == "silent":
        samples[:] = 0
    elif kind == "opposite":
        samples[:, 1] = -samples[:, 0]
    elif kind == "left is silent":
        samples[:, 0] = 0
    elif kind == "NaN at the end":
        samples[-100, 1] = np.nan
    elif kind == "infinite at the beginning":
        samples[100, 1] = np.inf
    elif kind == "opposite, quiet ends":
        samples[:, 1] = -samples[:, 0]
        samples[:RATE] = samples[-RATE:] = 0
    return samples


@pytest.mark.parametrize(
    ("kind", "channel"),
    [
        ("silent", "mean"),
        ("opposite", "mean"),
        ("opposite, quiet ends", "mean"),
        ("left is silent", "left"),
        ("NaN at the end", "left"),
        ("infinite at the beginning", "mean"),
    ],
)
def test_a_store_refuses_what_check_decodes_refuses(tmp_path, kind, channel):
    path = write_audio(tmp_path / "a.wav", unusable(kind), RATE, subtype="FLOAT")
    with pytest.raises(UnreadableAudio) as expected:
        check_decodes(path, channel)
    (tmp_path / "shards").mkdir()
    with ShardWriter(tmp_path, RATE, 2**28, threading.Event(), channel=channel) as writer:
        with pytest.raises(UnreadableAudio) as found:
            writer.add(str(path))
        writer.add(str(write_audio(tmp_path / "b.wav", STEREO, RATE)))
    assert str(found.value) == str(expected.value)
    shards = list((tmp_path / "shards").glob("*.pcm"))
    assert [shard.stat().st_size for shard in shards] == [2 * len(STEREO)]


def test_files_that_cannot_be_opened_are_named_by_the_writer(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    cases = {
        str(tmp_path / "pipe.wav"): "is not a regular file",
        "/dev/zero": "is not a regular file",
        "a\0.wav": "cannot contain a zero byte",
        "a\ud800.wav": "not text in UTF-8",
        str(tmp_path / "gone.wav"): "no such file",
    }
    (tmp_path / "shards").mkdir()
    with ShardWriter(tmp_path, RATE, 2**28, threading.Event()) as writer:
        for path, words in cases.items():
            with pytest.raises(UnreadableAudio, match=words):
                writer.add(path)


def test_a_table_without_tracks_is_an_error(tmp_path):
    write_audio(tmp_path / "music" / "a.wav", MUSIC, RATE)
    tracks = load_tracks(tmp_path / "music")
    AudioStore.prepare(tracks, tmp_path / "store", 16000, progress=False)
    with pytest.raises(InputError, match="tracks: expected at least one track"):
        AudioStore.prepare(tracks.select([False]), tmp_path / "store", 16000, progress=False)
