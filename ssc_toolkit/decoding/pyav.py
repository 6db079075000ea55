"""Decoding of AAC, WMA, APE and other codecs with PyAV, which includes FFmpeg's decoders."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ssc_toolkit.decoding.spans import CutShort, UnusableFile

CODEC_SUFFIXES = (".m4a", ".m4b", ".mp4", ".aac", ".wma", ".ape", ".wv", ".tta", ".mka", ".webm", ".ac3")
"""Suffixes of audio files that PyAV reads and libsndfile does not."""

HOW_TO_INSTALL = "pip install 'ssc-toolkit[codecs]'"

_BEGINNINGS = (b"MAC ", b"wvpk", b"TTA1", b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
_KNOWN_TO_LIBSNDFILE = (b"RIFF", b"RIFX", b"RF64", b"FORM", b"fLaC", b"OggS", b"caff", b".snd", b"riff")
_MAX_FRAMES = 1 << 62
_BLOCK_FRAMES = 1 << 16  # the frames of most codecs are so short that their number limits the speed
_WITH_CHECKSUMS = ("wavpack", "tta", "ape", "flac")  # without an option, FFmpeg decodes damaged parts of these to noise
_WITHOUT_LENGTH = ("aac", "ac3", "eac3")  # formats whose length FFmpeg only estimates from the bit rate


def has_pyav() -> bool:
    """Return whether PyAV is installed."""
    return find_spec("av") is not None


def is_for_pyav(path: Path, head: bytes) -> bool:
    """Return whether a file needs PyAV.

    Args:
        path: path of the file.
        head: first bytes of the file, or those after the ID3 tag if there is one.
    """
    is_adts = head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0
    if head[4:8] == b"ftyp" or head.startswith(_BEGINNINGS) or is_adts:
        return True
    is_mpeg = head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xE0 == 0xE0
    return path.suffix.lower() in CODEC_SUFFIXES and not is_mpeg and not head.startswith(_KNOWN_TO_LIBSNDFILE)


@dataclass(frozen=True)
class PyAVSource:
    """Audio file that PyAV decodes. Decoding always begins at the start of the file, because seeking is not exact.

    Each call of `blocks` has its own decoder, so several threads can share the object. If the length is not measured, a
    complete call raises CutShort at the end if the file has less audio than its header states.

    Attributes:
        path: path of the file.
        sample_rate: sample rate in hertz.
        channels: number of channels.
        frames: number of samples per channel; an upper limit if it is not measured.
        is_measured: whether `frames` is the true length.
        tolerated_seconds: number of seconds by which a complete file may be shorter than its header states.
    """

    path: str
    sample_rate: int
    channels: int
    frames: int = _MAX_FRAMES
    is_measured: bool = False
    tolerated_seconds: float = 0.2

    def blocks(self, start: int, frames: int | None, block_frames: int = 0) -> Iterator[np.ndarray]:
        end = self.frames if frames is None else min(self.frames, start + frames)
        place = 0
        for _, block in _decode(self.path):
            if place >= end:
                return
            kept = block[max(0, start - place) : end - place]
            place += len(block)
            if len(kept):
                yield kept
        if not self.is_measured and place / self.sample_rate < self._declared_seconds() - self.tolerated_seconds:
            raise CutShort

    def _declared_seconds(self) -> float:
        """Return the length in seconds that the header of the file gives, or 0 if it gives none."""
        import av

        with av.open(self.path) as container:
            stream = container.streams.audio[0]
            if container.format.name in _WITHOUT_LENGTH:
                return 0.0
            if stream.duration is not None and stream.time_base is not None:
                return float(stream.duration * stream.time_base)
            is_all = len(container.streams) == 1
            return (container.duration or 0) / av.time_base if is_all else 0.0


def open_with_pyav(path: str) -> PyAVSource:
    """Open an audio file, and decode its first frames.

    Raises:
        UnusableFile: if PyAV is missing or cannot decode the file.
    """
    if not has_pyav():
        raise UnusableFile(f"needs PyAV to be decoded: {HOW_TO_INSTALL}")
    with closing(_decode(path)) as parts:
        for sample_rate, block in parts:
            return PyAVSource(path, sample_rate, block.shape[1])
    raise UnusableFile("contains no audio")


def _decode(path: str) -> Generator[tuple[int, np.ndarray], None, None]:
    """Yield the sample rate, and the whole file in blocks (frames, channels) float32."""
    import av

    try:
        with av.open(path) as container:
            if not container.streams.audio:
                raise UnusableFile("contains no audio")
            stream, resampler = container.streams.audio[0], None
            if stream.codec_context.name in _WITH_CHECKSUMS:
                stream.codec_context.options = {"err_detect": "crccheck+explode"}
            sample_rate, gathered, parts = 0, 0, []
            for frame in container.decode(stream):
                if resampler is None:
                    sample_rate = frame.sample_rate
                    resampler = av.AudioResampler("fltp", frame.layout, sample_rate)
                for part in resampler.resample(frame):
                    parts.append(part.to_ndarray())
                    gathered += part.samples
                if gathered >= _BLOCK_FRAMES:
                    yield sample_rate, np.concatenate(parts, axis=1).T
                    gathered, parts = 0, []
            if gathered:
                yield sample_rate, np.concatenate(parts, axis=1).T
    except (av.error.FFmpegError, ValueError) as error:
        raise UnusableFile(f"no audio that can be decoded ({getattr(error, 'strerror', None) or error})") from error
