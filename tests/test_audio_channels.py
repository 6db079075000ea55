"""Which channel is read, and channels that cancel each other."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from ssc_toolkit.audio import SUFFIXES, UnreadableAudio, check_decodes, read_audio, stream_audio
from ssc_toolkit.cli import main
from ssc_toolkit.data import AudioStore, ContrastiveDataset, check_audio, from_folder
from ssc_toolkit.errors import InputError

RATE = 22050
TIME = np.arange(3 * RATE) / RATE
TONE = 0.4 * np.sin(2 * np.pi * (300 + 50 * TIME) * TIME)
OPPOSITE = np.stack([TONE, -TONE], axis=1)
UNEQUAL = np.stack([0.2 * TONE, -0.9 * TONE, 0.5 * TONE], axis=1)


@pytest.mark.parametrize(
    ("channel", "expected"),
    [("mean", UNEQUAL.mean(axis=1)), ("left", 0.2 * TONE), ("right", -0.9 * TONE), ("loudest", -0.9 * TONE)],
)
def test_each_reader_reads_the_requested_channel(tmp_path, channel, expected):
    path = tmp_path / "a.wav"
    soundfile.write(path, UNEQUAL, RATE)
    np.testing.assert_allclose(read_audio(path, RATE, channel=channel), expected, atol=1e-4)
    segment = read_audio(path, RATE, 1000, 2000, channel=channel)
    np.testing.assert_allclose(segment, expected[1000:3000], atol=1e-4)
    blocks = list(stream_audio(path, RATE, 0.5, channel=channel))
    np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-4)


def test_the_loudest_channel_is_that_of_the_whole_file(tmp_path):
    left = np.where(TIME < 1, TONE, 0)
    right = np.where(TIME >= 1, 0.9 * TONE, 0)
    soundfile.write(tmp_path / "a.flac", np.stack([left, right], axis=1), RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "a.flac", RATE, 0, 1000, "loudest"), 0, atol=1e-4)
    # Another file of the same name is looked into anew.
    soundfile.write(tmp_path / "a.flac", np.stack([left, 0.1 * right], axis=1), RATE)
    assert np.abs(read_audio(tmp_path / "a.flac", RATE, 0, 1000, "loudest")).max() > 0.1


@pytest.mark.parametrize("channel", ["mean", "left", "right", "loudest"])
def test_a_mono_file_is_the_same_by_any_channel(tmp_path, channel):
    soundfile.write(tmp_path / "a.wav", TONE, RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav", RATE, channel=channel), TONE, atol=1e-4)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_channels_that_cancel_are_reported(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, OPPOSITE, RATE)
    with pytest.raises(UnreadableAudio, match=rf"a\.{suffix}: its channels cancel .*left.*right.*loudest"):
        check_decodes(path)
    for channel in ("left", "right", "loudest"):
        assert check_decodes(path, channel).channels == 2
    soundfile.write(path, 0 * OPPOSITE, RATE)
    with pytest.raises(UnreadableAudio, match="silent from beginning to end"):
        check_decodes(path)


def test_a_file_with_one_silent_channel_is_usable(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([TONE, 0 * TONE], axis=1), RATE)
    check_decodes(tmp_path / "a.wav")
    with pytest.raises(UnreadableAudio, match="the chosen channel is silent"):
        check_decodes(tmp_path / "a.wav", "right")


def test_channels_that_cancel_only_at_the_ends_are_usable(tmp_path):
    right = np.where(np.abs(TIME - 1.5) < 0.5, TONE, -TONE)
    soundfile.write(tmp_path / "a.wav", np.stack([TONE, right], axis=1), RATE)
    assert check_decodes(tmp_path / "a.wav").frames == len(TONE)


def test_an_unknown_channel_is_an_error(tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE, RATE)
    for read in (
        lambda: read_audio(tmp_path / "a.wav", RATE, channel="center"),
        lambda: next(stream_audio(tmp_path / "a.wav", RATE, channel="center")),
        lambda: check_decodes(tmp_path / "a.wav", "center"),
        lambda: check_audio(from_folder(tmp_path), progress=False, channel="center"),
        lambda: AudioStore.prepare(from_folder(tmp_path), tmp_path / "store", RATE, channel="center"),
    ):
        with pytest.raises(InputError, match="channel: expected one of mean, left, right, loudest, got 'center'"):
            read()


@pytest.fixture
def music(tmp_path):
    folder = tmp_path / "music"
    folder.mkdir()
    soundfile.write(folder / "opposite.wav", OPPOSITE, RATE)
    soundfile.write(folder / "unequal.wav", UNEQUAL, RATE)
    return folder


@pytest.mark.parametrize(("channel", "expected"), [("left", TONE), ("right", -TONE), ("loudest", TONE)])
def test_a_store_holds_the_channel_and_says_which(tmp_path, music, channel, expected):
    store = AudioStore.prepare(from_folder(music), tmp_path / "store", RATE, channel=channel, progress=False)
    np.testing.assert_allclose(store[0], expected, atol=1e-4)
    assert json.loads((tmp_path / "store" / "store.json").read_text())["channel"] == channel
    AudioStore.prepare(from_folder(music), tmp_path / "store", RATE, channel=channel, progress=False)
    with pytest.raises(InputError, match=f"out: expected a store of channel 'mean', got .* of channel '{channel}'"):
        AudioStore.prepare(from_folder(music), tmp_path / "store", RATE, progress=False)


def test_a_store_of_the_mean_lists_what_cancels(tmp_path, music):
    AudioStore.prepare(from_folder(music), tmp_path / "store", RATE, max_unusable=0.5, progress=False)
    unusable = (tmp_path / "store" / "unusable.csv").read_text()
    assert "opposite.wav" in unusable
    assert "its channels cancel each other" in unusable


def test_the_prepare_command_takes_a_channel(tmp_path, music, capsys):
    arguments = ["prepare", f"--tracks={music}", f"--out={tmp_path / 'store'}", f"--sample_rate={RATE}"]
    assert main([*arguments, "--channel=left"]) == 0
    np.testing.assert_allclose(AudioStore(tmp_path / "store")[0], TONE, atol=1e-4)
    assert main([*arguments, "--channel=right"]) == 2
    assert "out: expected a store of channel 'right', got" in capsys.readouterr().err


def test_tables_and_datasets_read_the_channel(music):
    kept = check_audio(from_folder(music), max_unusable=0.5, progress=False)
    assert [path.rsplit("/", 1)[-1] for path in kept["path"]] == ["unequal.wav"]
    kept = check_audio(from_folder(music), progress=False, channel="left")
    assert len(kept) == 2
    dataset = ContrastiveDataset(kept, RATE, 2.5, views=1, channel="left")
    assert dataset[0]["waveforms"].abs().max() > 0.3


def test_every_suffix_that_is_offered_is_read(tmp_path):
    kinds = {".mp3": ("MP3", None), ".ogg": ("OGG", "VORBIS"), ".oga": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS")}
    kinds |= {".aif": ("AIFF", None), ".aifc": ("AIFF", "FLOAT"), ".snd": ("AU", None), ".wave": ("WAV", None)}
    kinds |= {".mp2": ("MP3", "MPEG_LAYER_III"), ".mpga": ("MP3", None)}
    for suffix in SUFFIXES:
        container, subtype = kinds.get(suffix, (suffix[1:].upper(), None))
        soundfile.write(tmp_path / f"a{suffix}", TONE, 24000, format=container, subtype=subtype)
        assert check_decodes(tmp_path / f"a{suffix}").seconds == pytest.approx(len(TONE) / 24000, abs=0.05)
