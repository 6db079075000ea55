"""Decoding real files in real codecs."""

from __future__ import annotations

import os

import numpy as np
import pytest
from audio_files import write_audio

from ssc_toolkit.audio import check_decodes, resample, stream_audio
from ssc_toolkit.data import UnreadableAudio, read_audio, read_audio_info
from ssc_toolkit.errors import InputError


def music(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """A chord that changes, so that every moment differs from every other."""
    time = np.arange(round(seconds * rate)) / rate
    voices = [np.sin(2 * np.pi * (f + 10 * time) * time) for f in (220.0, 331.0, 517.0)]
    mono = 0.2 * sum(voices)
    return np.stack([mono * (1 - 0.3 * channel) for channel in range(channels)], axis=1)


@pytest.fixture(params=["wav", "flac", "ogg", "mp3"])
def suffix(request) -> str:
    return request.param


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_segment_equals_that_span_of_the_whole_file(tmp_path, suffix, rate, channels):
    path = write_audio(tmp_path / f"a.{suffix}", music(4.0, rate, channels), rate)
    whole = read_audio(path, 16000)
    assert len(whole) == pytest.approx(4 * 16000, abs=0.11 * 16000 if suffix == "mp3" else 1)
    for start, length in ((0, 4000), (12345, 16000), (40000, 8001), (len(whole) - 6000, 6000)):
        segment = read_audio(path, 16000, start, length)
        assert segment.dtype == np.float32
        np.testing.assert_allclose(segment, whole[start : start + length], atol=1e-4)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_blocks_put_together_are_the_whole_file(tmp_path, suffix, rate, channels):
    path = write_audio(tmp_path / f"a.{suffix}", music(4.0, rate, channels), rate)
    blocks = list(stream_audio(path, 22050, block_seconds=0.7))
    assert len(blocks) > 4
    np.testing.assert_allclose(np.concatenate(blocks), read_audio(path, 22050), atol=1e-5)


def test_a_file_that_ends_early_is_an_error_at_its_end(tmp_path):
    path = write_audio(tmp_path / "a.flac", np.random.default_rng(0).uniform(-1, 1, (3 * 16000, 1)), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    blocks = stream_audio(path, 16000, block_seconds=1.0)
    assert len(next(blocks)) == 16000
    with pytest.raises(UnreadableAudio, match=r"a\.flac: "):
        list(blocks)


def test_a_silent_file_is_unusable(tmp_path, suffix):
    silent = write_audio(tmp_path / f"silent.{suffix}", np.zeros((16000, 1)), 16000)
    with pytest.raises(UnreadableAudio, match="silent from beginning to end"):
        check_decodes(silent)
    quiet_ends = np.zeros((32000, 1))
    quiet_ends[15000:17000] = 0.5
    check_decodes(write_audio(tmp_path / f"quiet-ends.{suffix}", quiet_ends, 16000))


def test_messages_of_the_decoder_are_discarded(tmp_path, capfd):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (60 * 16000, 1))
    path = write_audio(tmp_path / "a.mp3", noise, 16000)
    for start in range(0, 50 * 16000, 8191):
        read_audio(path, 16000, start, 8000)
    os.write(2, b"still open")
    assert capfd.readouterr().err == "still open"


def test_zeros_follow_the_end_of_the_file(tmp_path, suffix):
    path = write_audio(tmp_path / f"a.{suffix}", music(1.0, 16000), 16000)
    segment = read_audio(path, 16000, 12000, 12000)
    assert len(segment) == 12000
    assert np.abs(segment[:3000]).max() > 0.1
    assert (segment[-4000:] == 0).all()
    assert (read_audio(path, 16000, 10**6, 100) == 0).all()


def test_channels_are_averaged_without_normalization(tmp_path):
    stereo = np.stack([np.full(800, 0.5), np.full(800, -0.25)], axis=1)
    write_audio(tmp_path / "a.wav", stereo, 8000)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", 8000), 0.125, atol=1e-4)


@pytest.mark.parametrize(("source", "target"), [(48000, 16000), (44100, 22050), (22050, 16000), (16000, 22050)])
def test_resampling_keeps_tones_below_nyquist_only(source, target):
    time = np.arange(source) / source

    def level(hertz: float) -> float:
        tone = np.sin(2 * np.pi * hertz * time).astype(np.float32)
        return float(np.sqrt(2 * np.mean(resample(tone, source, target)[target // 10 : -target // 10] ** 2)))

    assert level(440.0) == pytest.approx(1, abs=0.005)
    assert level(0.42 * min(source, target)) == pytest.approx(1, abs=0.05)
    if target < source:
        assert level(0.58 * target) < 0.01


def test_resampling_keeps_the_time_of_events():
    click = np.zeros(44100, dtype=np.float32)
    click[22050] = 1
    assert np.abs(resample(click, 44100, 16000)).argmax() == 8000


def test_info(tmp_path, suffix):
    path = write_audio(tmp_path / f"a.{suffix}", music(2.0, 44100, 2), 44100)
    info = read_audio_info(path)
    assert (info.sample_rate, info.channels) == (44100, 2)
    assert info.seconds == pytest.approx(2.0, abs=0.06)


def test_unreadable_files_are_reported(tmp_path, suffix):
    missing = tmp_path / f"none.{suffix}"
    text = tmp_path / f"text.{suffix}"
    text.write_text("this is no audio")
    for read in (read_audio_info, lambda path: read_audio(path, 16000)):
        with pytest.raises(UnreadableAudio, match=rf"none\.{suffix}: no such file"):
            read(missing)
        with pytest.raises(UnreadableAudio, match=rf"text\.{suffix}"):
            read(text)
    empty = write_audio(tmp_path / f"empty.{suffix}", np.zeros((0, 1)), 16000) if suffix != "mp3" else None
    if empty is not None:
        with pytest.raises(UnreadableAudio, match="empty"):
            read_audio_info(empty)


def test_nan_and_infinite_samples_are_an_error(tmp_path):
    write_audio(tmp_path / "a.wav", np.array([0.0, np.nan, 1.0]), 8000, subtype="FLOAT")
    with pytest.raises(UnreadableAudio, match="NaN or infinite"):
        read_audio(tmp_path / "a.wav", 8000)


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.ogg", "a.flac", "a.mp3"])
@pytest.mark.parametrize("share", [0.6, 0.97])
def test_a_file_that_was_not_copied_whole_is_found(tmp_path, name, share):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (6 * 16000, 1))
    write_audio(tmp_path / name, samples, 16000)
    check_decodes(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableAudio, match=name):
        check_decodes(tmp_path / name)
    with pytest.raises(UnreadableAudio, match=name):
        [read_audio_info(tmp_path / name), *stream_audio(tmp_path / name, 16000)]


@pytest.mark.parametrize("rate", [1000, 1500, 2000, 3000])
@pytest.mark.parametrize("to", [1000, 4000, 22050, 48000])
def test_segments_agree_with_the_whole_at_low_rates(tmp_path, rate, to):
    write_audio(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.9, 0.9, 6 * rate), rate, subtype="FLOAT")
    whole = read_audio(tmp_path / "a.wav", to)
    for start in (0, to, 2 * to + 17, 4 * to):
        found = read_audio(tmp_path / "a.wav", to, start, to)
        np.testing.assert_allclose(found, whole[start : start + to], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 0}, "length: expected an integer of at least 1, got 0"),
        ({"length": -1}, "length: expected an integer of at least 1, got -1"),
        ({"start": -5}, "start: expected an integer of at least 0, got -5"),
        ({"start": 1.5}, "start: expected an integer of at least 0, got 1.5"),
        ({"sample_rate": 0}, "sample_rate: expected an integer of at least 1, got 0"),
        ({"path": "a\0.wav"}, "a file name cannot contain a zero byte"),
    ],
)
def test_arguments_of_readers_are_named(tmp_path, options, words):
    write_audio(tmp_path / "a.wav", np.ones(100) / 2, 8000)
    with pytest.raises((InputError, UnreadableAudio), match=words):
        read_audio(**{"path": tmp_path / "a.wav", "sample_rate": 8000, **options})


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(UnreadableAudio, match=r"a\.wav: is not a regular file"):
        read_audio(tmp_path / "a.wav", 8000)
    with pytest.raises(UnreadableAudio, match="is not a regular file"):
        check_decodes("/dev/zero")
