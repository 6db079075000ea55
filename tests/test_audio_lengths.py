"""Lengths of files whose header gives none, or that of their first part only."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import soundfile
from audio_files import assert_segments_agree, correlation, id3v2, loud_and_quiet, vbr_mp3, without_xing

from ssc_toolkit.audio import UnreadableAudio, check_decodes, read_audio, read_audio_info, stream_audio
from ssc_toolkit.data import AudioStore, check_audio, from_folder

RATE = 44100
MUSIC = loud_and_quiet(6.0, RATE)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000])
def test_mp3_without_a_xing_header_is_whole(tmp_path, rate):
    samples = loud_and_quiet(4.0, rate)
    stereo = np.stack([samples, 0.5 * samples], axis=1)
    content = vbr_mp3(tmp_path / "a.mp3", stereo, rate)
    (tmp_path / "a.mp3").write_bytes(without_xing(content))
    whole = assert_segments_agree(tmp_path / "a.mp3", 4.0, tolerance=3000 / rate)
    first = 0.75 * samples[: rate // 2]
    delay = max(range(500, 1300), key=lambda start: whole[start : start + len(first)] @ first)
    assert correlation(whole, 0.75 * samples, delay) > 0.95


def test_joined_mp3_files_have_the_sum_of_their_lengths(tmp_path):
    content = vbr_mp3(tmp_path / "a.mp3", MUSIC)
    other = vbr_mp3(tmp_path / "b.mp3", loud_and_quiet(4.0, RATE, seed=1))
    joined = {
        "twice": (content + content, 12),
        "two": (content + other, 10),
        "three": (content + other + content, 16),
        "header, none": (content + without_xing(content), 12),
        "none, header": (without_xing(other) + content, 10),
        "none, none": (without_xing(content) + without_xing(content), 12),
        "tags": (id3v2(3000) + content + b"TAG" + bytes(125) + id3v2(70_000) + other + b"TAG" + bytes(125), 10),
    }
    for name, (together, seconds) in joined.items():
        path = tmp_path / f"{name}.mp3"
        path.write_bytes(together)
        assert_segments_agree(path, seconds, tolerance=0.09)
    whole = read_audio(tmp_path / "two.mp3", RATE)
    np.testing.assert_allclose(whole[: 6 * RATE], read_audio(tmp_path / "a.mp3", RATE), atol=1e-6)
    np.testing.assert_allclose(whole[6 * RATE :], read_audio(tmp_path / "b.mp3", RATE), atol=1e-6)


def test_mp3_parts_of_one_and_two_channels_join(tmp_path):
    mono, stereo = vbr_mp3(tmp_path / "m.mp3", MUSIC), vbr_mp3(tmp_path / "s.mp3", np.stack([MUSIC, MUSIC], axis=1))
    (tmp_path / "a.mp3").write_bytes(mono + stereo)
    assert_segments_agree(tmp_path / "a.mp3", 12)


def test_mp3_parts_of_different_rates_are_refused(tmp_path):
    first, second = vbr_mp3(tmp_path / "a.mp3", MUSIC), vbr_mp3(tmp_path / "b.mp3", MUSIC, 48000)
    (tmp_path / "a.mp3").write_bytes(first + second)
    with pytest.raises(UnreadableAudio, match=r"a\.mp3: .*same sample rate, got 44100, 48000 Hz"):
        read_audio_info(tmp_path / "a.mp3")


def test_an_mp3_with_pictures_and_tags_keeps_its_length(tmp_path):
    content = vbr_mp3(tmp_path / "a.mp3", MUSIC)
    fields = struct.pack("<IIII", 2000, 500, 1, 0xA0000000) + bytes(8)
    ape = b"APETAGEX" + fields + bytes(500 - 32) + b"APETAGEX" + fields[:15] + b"\x80" + bytes(8)
    (tmp_path / "a.mp3").write_bytes(id3v2(300_000) + content + ape + b"TAG" + bytes(125))
    assert_segments_agree(tmp_path / "a.mp3", 6.0, tolerance=0)


def test_mp3_with_noise_in_the_middle_keeps_what_follows(tmp_path):
    content = without_xing(vbr_mp3(tmp_path / "a.mp3", MUSIC))
    junk = np.random.default_rng(0).bytes(5000)
    (tmp_path / "a.mp3").write_bytes(content[:30_000] + junk + content[30_000:])
    assert_segments_agree(tmp_path / "a.mp3", 6.0, tolerance=0.2)


def test_an_ordinary_mp3_is_not_decoded_to_find_its_length(tmp_path, monkeypatch):
    vbr_mp3(tmp_path / "a.mp3", MUSIC)
    reads = []
    own = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda file, *rest, **more: reads.append(rest) or own(file, *rest, **more)
    )
    assert read_audio_info(tmp_path / "a.mp3").frames == 6 * RATE
    assert not reads


@pytest.mark.parametrize(("suffix", "subtype", "rate"), [("ogg", "VORBIS", 44100), ("opus", "OPUS", 48000)])
def test_chained_ogg_files_have_the_sum_of_their_lengths(tmp_path, suffix, subtype, rate):
    parts = []
    for number, seconds in enumerate((3.0, 2.0)):
        samples = loud_and_quiet(seconds, rate, seed=number)
        soundfile.write(tmp_path / f"{number}.{suffix}", samples, rate, format="OGG", subtype=subtype)
        parts.append((tmp_path / f"{number}.{suffix}").read_bytes())
    for name, together, seconds in (
        ("same", parts[0] * 2, 6),
        ("two", parts[0] + parts[1], 5),
        ("four", parts[1] * 4, 8),
    ):
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(together)
        assert_segments_agree(path, seconds, tolerance=0)
    whole = read_audio(tmp_path / f"two.{suffix}", rate)
    np.testing.assert_allclose(whole[3 * rate :], read_audio(tmp_path / f"1.{suffix}", rate), atol=1e-6)
    (tmp_path / f"cut.{suffix}").write_bytes((parts[0] + parts[1])[:-300])
    with pytest.raises(UnreadableAudio, match="copied completely"):
        read_audio_info(tmp_path / f"cut.{suffix}")


@pytest.mark.parametrize("channels", [1, 2])
def test_flac_of_unknown_length_is_decoded_to_its_end(tmp_path, channels):
    path = tmp_path / "a.flac"
    soundfile.write(path, np.stack([MUSIC] * channels, axis=1), RATE)
    whole = read_audio(path, RATE)
    set_flac_length(path, 0)
    np.testing.assert_array_equal(assert_segments_agree(path, 6.0, tolerance=0), whole)


@pytest.mark.parametrize("frames", [2**36 - 1, 2**35, 10**9, 7 * RATE])
def test_flac_that_claims_more_than_it_has_is_refused(tmp_path, frames):
    path = tmp_path / "a.flac"
    soundfile.write(path, MUSIC, RATE)
    set_flac_length(path, frames)
    for read in (check_decodes, lambda path: read_audio(path, RATE)):
        with pytest.raises(UnreadableAudio, match=r"a\.flac: "):
            read(path)


def set_flac_length(path, frames: int) -> None:
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 2**31 - 1])
def test_an_invalid_sample_rate_makes_a_file_unusable(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", MUSIC, RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    for read in (
        read_audio_info,
        check_decodes,
        lambda path: read_audio(path, RATE),
        lambda path: read_audio(path, RATE, 0, 9),
    ):
        with pytest.raises(UnreadableAudio, match=r"a\.wav: .*sample rate"):
            read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [1000, 4000, 192_000, 768_000])
def test_unusual_sample_rates_are_read(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", MUSIC[:20_000], rate)
    assert check_decodes(tmp_path / "a.wav").sample_rate == rate


def test_a_flac_of_one_hertz_is_left_out_of_a_store_by_name(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for number in range(3):
        soundfile.write(music / f"{number}.flac", MUSIC, RATE)
    content = bytearray((music / "1.flac").read_bytes())
    content[18:21] = (1 << 4 | content[20] & 15).to_bytes(3, "big")
    (music / "1.flac").write_bytes(content)
    store = AudioStore.prepare(from_folder(music), tmp_path / "store", 16000, max_unusable=0.5, progress=False)
    assert store.tracks["seconds"].tolist() == [6.0, 6.0]
    report = (tmp_path / "store" / "unusable.csv").read_text()
    assert '1.flac,"expected a sample rate from 1000 to 768000 Hz, got 1 Hz' in report


def test_a_store_and_a_table_hold_all_of_files_without_length(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    content = vbr_mp3(music / "a.mp3", MUSIC)
    (music / "a.mp3").write_bytes(without_xing(content))
    (music / "b.mp3").write_bytes(content + content)
    soundfile.write(music / "c.ogg", MUSIC, RATE)
    (music / "c.ogg").write_bytes((music / "c.ogg").read_bytes() * 2)
    tracks = from_folder(music)
    store = AudioStore.prepare(tracks, tmp_path / "store", 16000, progress=False)
    assert store.tracks["seconds"].tolist() == pytest.approx([6.0, 12.0, 12.0], abs=0.03)
    assert check_audio(tracks, progress=False)["seconds"].tolist() == pytest.approx([6.0, 12.0, 12.0], abs=0.03)


def flac(path, seconds: float, seed: int = 0, **kind: str) -> bytes:
    soundfile.write(path, loud_and_quiet(seconds, RATE, seed), RATE, format="FLAC", **kind)
    return path.read_bytes()


def declared(content: bytes, frames: int) -> bytes:
    """A FLAC file whose header says another length."""
    bits = int.from_bytes(content[21:26], "big") & ~(2**36 - 1) | frames
    return content[:21] + bits.to_bytes(5, "big") + content[26:]


def test_flac_files_joined_are_as_long_as_all(tmp_path):
    one, other = flac(tmp_path / "1.flac", 3.0), flac(tmp_path / "2.flac", 2.0, seed=1)
    for name, content, seconds in (
        ("twice", one + one, 6),
        ("two", one + other, 5),
        ("three", one + other + one, 8),
        ("unknown", declared(one, 0) + other, 5),
        ("both unknown", declared(one, 0) + declared(other, 0), 5),
        ("tag", id3v2(3000) + one + other, 5),
        ("end", one + b"TAG" + bytes(125), 3),
    ):
        path = tmp_path / f"{name}.flac"
        path.write_bytes(content)
        assert_segments_agree(path, seconds, tolerance=0)
    whole = read_audio(tmp_path / "two.flac", RATE)
    np.testing.assert_array_equal(whole[3 * RATE :], read_audio(tmp_path / "2.flac", RATE))


@pytest.mark.parametrize("kind", ["PCM_16", "PCM_24", "PCM_S8"])
@pytest.mark.parametrize("frames", [1, 50_000, 3 * RATE - 1])
def test_flac_with_a_header_that_says_too_little_is_whole(tmp_path, kind, frames):
    path = tmp_path / "a.flac"
    path.write_bytes(declared(flac(path, 3.0, subtype=kind), frames))
    assert_segments_agree(path, 3.0, tolerance=0)


def lengthen_last_page(path, samples):
    """Raise the position in the last page of an OGG file, as encoders do that count samples without audio."""
    content = bytearray(path.read_bytes())
    page = content.rindex(b"OggS")
    position = int.from_bytes(content[page + 6 : page + 14], "little") + samples
    content[page + 6 : page + 14] = position.to_bytes(8, "little")
    content[page + 22 : page + 26] = bytes(4)
    checksum = 0
    for byte in content[page:]:  # RFC 3533, section 6
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    content[page + 22 : page + 26] = checksum.to_bytes(4, "little")
    path.write_bytes(content)


def test_ogg_with_a_last_page_that_counts_too_much_is_read(tmp_path):
    for name, missing in (("complete", 0.2), ("cut", 1.0)):
        soundfile.write(tmp_path / f"{name}.ogg", loud_and_quiet(3.0, 44100), 44100, format="OGG", subtype="VORBIS")
        lengthen_last_page(tmp_path / f"{name}.ogg", round(missing * 44100))
        assert read_audio_info(tmp_path / f"{name}.ogg").frames == round((3 + missing) * 44100)
    assert abs(len(read_audio(tmp_path / "complete.ogg", 16000)) - 48000) < 400
    check_decodes(tmp_path / "complete.ogg")
    assert abs(sum(map(len, stream_audio(tmp_path / "complete.ogg", 16000, 1.0))) - 48000) < 400
    with pytest.raises(UnreadableAudio, match="copied completely"):
        read_audio(tmp_path / "cut.ogg", 16000)


def test_flac_with_a_header_that_says_too_much_is_cut_short(tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(declared(flac(path, 3.0), 4 * RATE))
    with pytest.raises(UnreadableAudio, match=r"a\.flac: is shorter than its header states"):
        check_decodes(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_mp3_with_a_header_of_too_few_frames_is_whole(tmp_path, share):
    path = tmp_path / "a.mp3"
    content = bytearray(vbr_mp3(path, MUSIC))
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    frames = int.from_bytes(content[at : at + 4], "big")
    content[at : at + 4] = int(share * frames).to_bytes(4, "big")
    path.write_bytes(content)
    assert_segments_agree(path, 6.0, tolerance=0.09)
