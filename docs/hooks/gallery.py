"""Gallery of augmentations: pictures and sounds of each transform on real music, generated when the site is built.

python docs/hooks/gallery.py --out=gallery      # write the same page and files to a folder
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from gallery_figures import HEIGHT, WIDTH, response_picture, sound_picture
from gallery_music import RATE, music, record, sound
from gallery_settings import SEVERITIES, settings
from generated import add

from ssc_toolkit import augmentations as aug

INTRODUCTION = """# Gallery

View and listen to every transform on the same five seconds of a chorale by Bach (*{title}*, rendered from its score
with a piano). For each transform, the page has the original and the result of one to three settings, with waveform,
spectrogram and sound.

"Severity" is the argument of `corruption(name, sample_rate, severity)` or of the chain. Each result uses one random
draw.
"""
RESPONSE = """## Frequency response of the chain

![Level over frequency, eight draws of the published chain at three severities](gallery/response.png)

The picture shows the frequency response of `semisupcon_chain`, averaged over sixths of octaves, for eight draws at each
severity. Noise and pitch shift are left out, because they have no frequency response. A horizontal line belongs to a
clip that gets only a gain or no transform. The other clips also get one of four filters or an echo.
"""


def figure(name: str, label: str) -> str:
    """Return the HTML of a sound with its picture and player."""
    return (
        f'<figure class="sound"><figcaption>{label}</figcaption>'
        f'<img src="../gallery/{name}.png" alt="Waveform and spectrogram: {label}" '
        f'width="{WIDTH}" height="{HEIGHT}" loading="lazy">'
        f'<audio controls preload="none" src="../gallery/{name}.mp3"></audio></figure>'
    )


def response() -> bytes:
    """Return a picture of the frequency response of the published chain."""
    omit = ("colored_noise", "pitch_shift")
    return response_picture({f"severity {s:g}": aug.semisupcon_chain(RATE, s, omit=omit) for s in SEVERITIES})


@lru_cache(maxsize=1)
def pages() -> dict[str, str | bytes]:
    """Return names and contents of the page and its files."""
    title, original = music()
    files: dict[str, str | bytes] = {
        "gallery/original.mp3": sound(original),
        "gallery/original.png": sound_picture(original),
        "gallery/response.png": response(),
    }
    parts = [INTRODUCTION.format(title=title)]
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        for name, choices in settings(folder).items():
            figures = [figure("original", "before")]
            for number, (label, transform) in enumerate(choices):
                generator = torch.Generator().manual_seed(number)
                samples = transform(torch.from_numpy(original)[None, None], generator=generator)[0, 0].numpy()
                files[f"gallery/{name}-{number}.mp3"] = sound(samples)
                files[f"gallery/{name}-{number}.png"] = sound_picture(samples)
                figures.append(figure(f"{name}-{number}", label))
            summary = (getattr(aug, name).__doc__ or "").splitlines()[0]
            parts.append(f"## {name}\n\n{summary}\n")
            parts.append('<div class="sounds">' + "".join(figures) + "</div>\n")
    files["gallery.md"] = "\n".join([*parts, RESPONSE])
    return files


def on_files(files: Any, config: Any) -> Any:
    """Add the gallery to the site."""
    for name, content in pages().items():
        add(files, config, name, content)
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
