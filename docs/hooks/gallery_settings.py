"""Transforms and settings that the gallery shows."""

from __future__ import annotations

from gallery_music import RATE

from ssc_toolkit import augmentations as aug

SEVERITIES = (0.5, 1.0, 2.0)
Setting = tuple[str, aug.Augmentation]


def by_severity(name: str) -> list[Setting]:
    """Return a corruption at three severities."""
    return [(f"severity {severity:g}", aug.corruption(name, RATE, severity)) for severity in SEVERITIES]


def settings(folder: str) -> dict[str, list[Setting]]:
    """Return three settings of each transform, from mild to strong; `folder` contains recordings."""
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
    """Return the chain with a probability of 1, so that it applies to every example."""
    chain.p = 1.0
    return chain
