"""The gallery of augmentations: what each does to real music, drawn and to be heard, made when the site is built.

python docs/hooks/gallery.py --out=gallery      # the same page and files in a folder of your own
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from ssc_toolkit import augmentations as aug
from ssc_toolkit.audio import resample

RATE = 22050
SEVERITIES = (0.5, 1.0, 2.0)
Setting = tuple[str, aug.Augmentation]

INTRODUCTION = """# Gallery

Every transform on the same five seconds of a chorale by Bach (*{title}*, rendered from its score with a piano), in
three settings. Each figure shows waveform and spectrogram before and after; the first player is the original.

The corruptions are those of `corruption(name, sample_rate, severity)` at severity 0.5, 1 and 2, each with one draw.

{players}
"""


def by_severity(name: str) -> list[Setting]:
    """A corruption at three severities."""
    return [(f"severity {severity:g}", aug.corruption(name, RATE, severity)) for severity in SEVERITIES]


def settings(folder: str) -> dict[str, list[Setting]]:
    """For each transform three settings, mild to harsh; `folder` holds recordings."""
    rate = {"sample_rate": RATE}
    bands = (125, 500, 2000, 6000)
    return {
        "Gain": by_severity("gain"),
        "PolarityInversion": by_severity("polarity_inversion")[1:2],
        "PeakNormalization": [(f"peak {db} dB", aug.PeakNormalization(db)) for db in (-20, -6, 0)],
        "ColoredNoise": by_severity("colored_noise"),
        "BackgroundNoise": [
            (f"rain at {db} dB", aug.BackgroundNoise(f"{folder}/rain.wav", db, **rate)) for db in (30, 15, 5)
        ],
        "LowPass": [(f"{hz} Hz", aug.LowPass(hz, **rate)) for hz in (4000, 1500, 500)],
        "HighPass": [(f"{hz} Hz", aug.HighPass(hz, **rate)) for hz in (200, 500, 1500)],
        "BandPass": [(f"{width:g} of 1000 Hz", aug.BandPass(1000, width, **rate)) for width in (1.8, 1.0, 0.3)],
        "BandStop": [(f"{width:g} of 1000 Hz", aug.BandStop(1000, width, **rate)) for width in (0.3, 1.0, 1.8)],
        "Equalizer": [(f"up to {db} dB", aug.Equalizer((-db, db), center_hz=bands, **rate)) for db in (6, 12, 24)],
        "PitchShift": [(f"{steps:+g} semitones", aug.PitchShift(steps, **rate)) for steps in (-4, 1.5, 4)],
        "TimeStretch": [(f"rate {speed:g}", aug.TimeStretch(speed, **rate)) for speed in (0.7, 1.3, 1.6)],
        "Delay": by_severity("delay"),
        "Reverb": by_severity("reverb"),
        "ImpulseResponse": [
            (name, aug.ImpulseResponse(f"{folder}/{name}.wav", **rate)) for name in ("telephone", "box", "spring")
        ],
        "Chorus": by_severity("chorus"),
        "Distortion": by_severity("distortion"),
        "Clipping": [(f"{db} dB below the peak", aug.Clipping(-db)) for db in (6, 12, 24)],
        "Compression": by_severity("compression"),
        "BitCrush": by_severity("bitcrush"),
        "MP3": by_severity("mp3"),
        "Reverse": by_severity("reverse")[1:2],
        "TimeShift": [
            ("rolled by 1 s", aug.TimeShift(1.0, **rate)),
            ("1 s later", aug.TimeShift(1.0, mode="pad", **rate)),
            ("1 s earlier", aug.TimeShift(-1.0, mode="pad", **rate)),
        ],
        "SpliceOut": by_severity("splice_out"),
        "semisupcon_chain": [
            (f"severity {severity:g}", forced(aug.semisupcon_chain(RATE, severity))) for severity in SEVERITIES
        ],
        "clmr_chain": [(f"draw {number}", aug.clmr_chain(RATE)) for number in (1, 2, 3)],
    }


def forced(chain: aug.Chain) -> aug.Chain:
    """The chain, met by every example."""
    chain.p = 1.0
    return chain


def record(folder: Path) -> None:
    """Made recordings for the transforms that take files."""
    made = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    hiss = made.standard_normal(5 * RATE)
    rain = np.convolve(hiss * (made.random(5 * RATE) < 0.02), np.exp(-np.arange(200) / 20))[: 5 * RATE]
    band = np.sinc(6000 * (time - 0.01)) * 6000 - np.sinc(800 * (time - 0.01)) * 800
    files = {
        "rain": 0.3 * rain / np.abs(rain).max() + 0.01 * hiss,
        "telephone": band * np.hanning(len(time)) / RATE,
        "box": np.exp(-time / 0.02) * made.standard_normal(len(time)),
        "spring": np.exp(-time / 0.15) * np.sin(2 * np.pi * (3000 * np.sqrt(time) + 200) * time),
    }
    for name, samples in files.items():
        soundfile.write(folder / f"{name}.wav", 0.9 * samples / np.abs(samples).max(), RATE)


def music() -> tuple[str, np.ndarray]:
    """Title and five seconds of a chorale, (samples,)."""
    import midirenderer
    import music21
    import pretty_midi

    from ssc_toolkit.data.scores.sounds import sound_font

    score = music21.corpus.parse("bach/bwv66.6")
    piano = pretty_midi.Instrument(0)
    for note in score.flatten().notes:
        begin, end = 0.6 * float(note.offset), 0.6 * float(note.offset + note.quarterLength)
        piano.notes.append(pretty_midi.Note(90, note.pitch.midi, begin, end))
    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(piano)
    file = io.BytesIO()
    midi.write(file)
    samples, rate = soundfile.read(
        io.BytesIO(bytes(midirenderer.render_wave_from(sound_font(), file.getvalue()))), dtype="float32"
    )
    mono = resample(samples.mean(axis=1), rate, RATE)[: 5 * RATE]
    return score.metadata.title or "BWV 66.6", 0.5 * mono / np.abs(mono).max()


def figure(columns: list[tuple[str, np.ndarray]]) -> bytes:
    """Waveforms above spectrograms, a column for each sound, as PNG."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(2.6 * len(columns), 3.0), dpi=100, layout="constrained")
    axes = drawing.subplots(2, len(columns), sharex=True, sharey="row", height_ratios=(1, 2), squeeze=False)
    seconds = len(columns[0][1]) / RATE
    for (title, samples), (above, below) in zip(columns, axes.T, strict=True):
        above.plot(np.linspace(0, seconds, len(samples)), samples, linewidth=0.3)
        above.set_title(title, fontsize=9)
        above.set_ylim(-1, 1)
        spectrum = torch.stft(
            torch.from_numpy(samples), 1024, 256, window=torch.hann_window(1024), return_complex=True
        ).abs()
        level = 20 * torch.log10(spectrum + 1e-4)
        below.imshow(
            level.numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, RATE / 2000),
            vmin=-50,
            vmax=40,
            cmap="magma",
            interpolation="nearest",
        )
        below.set_xlabel("s", fontsize=8)
    axes[1, 0].set_ylabel("kHz", fontsize=8)
    for axis in axes.flat:
        axis.tick_params(labelsize=7)
    file = io.BytesIO()
    drawing.savefig(file, format="png")
    return file.getvalue()


def sound(samples: np.ndarray) -> bytes:
    """MP3 at 128 kb/s; what exceeds full scale is cut off."""
    file = io.BytesIO()
    options: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": (160 - 128) / (160 - 8)}
    soundfile.write(file, samples.clip(-1, 1), RATE, format="MP3", subtype="MPEG_LAYER_III", **options)
    return file.getvalue()


def player(name: str, label: str) -> str:
    """HTML of an audio player with its label."""
    return (
        f'<figure class="player"><figcaption>{label}</figcaption>'
        f'<audio controls preload="none" src="../gallery/{name}.mp3"></audio></figure>'
    )


@lru_cache(maxsize=1)
def pages() -> dict[str, str | bytes]:
    """File names and contents: the page and everything it shows."""
    title, original = music()
    files: dict[str, str | bytes] = {"gallery/original.mp3": sound(original)}
    parts = [INTRODUCTION.format(title=title, players=player("original", "original"))]
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        for name, choices in settings(folder).items():
            columns, players = [("original", original)], []
            for number, (label, transform) in enumerate(choices):
                changed = transform(
                    torch.from_numpy(original)[None, None], generator=torch.Generator().manual_seed(number)
                )
                samples = changed[0, 0].numpy()
                columns.append((label, samples))
                files[f"gallery/{name}-{number}.mp3"] = sound(samples)
                players.append(player(f"{name}-{number}", label))
            files[f"gallery/{name}.png"] = figure(columns)
            summary = (getattr(aug, name).__doc__ or "").splitlines()[0]
            parts.append(f"## {name}\n\n{summary}\n")
            width = 100 * len(columns) / 4
            parts.append(f'![{name}: before and after](gallery/{name}.png){{ width="{width:g}%" }}\n')
            parts.append('<div class="players">' + "".join(players) + "</div>\n")
    files["gallery.md"] = "\n".join(parts)
    return files


def on_files(files: Any, config: Any) -> Any:
    """Add the gallery to the site."""
    from mkdocs.structure.files import File

    for name, content in pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def written(out: Path) -> Iterator[Path]:
    """Write the page and its files to a folder."""
    for name, content in pages().items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        yield path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gallery"))
    print(len(list(written(parser.parse_args().out))), "files")
