"""Linear probes on the frames of an encoder, for beats and chord roots, scored by mir_eval."""

from ssc_toolkit.evaluation.frame_probing.annotations import (
    Annotations,
    Beats,
    ChordRoots,
    read_beats,
    read_chord_roots,
)
from ssc_toolkit.evaluation.frame_probing.linear import FrameStatistics, LinearMap
from ssc_toolkit.evaluation.frame_probing.probe import FrameProbe, check_frame_length, fit_frame_probe, frame_probe

__all__ = [
    "Annotations",
    "Beats",
    "ChordRoots",
    "FrameProbe",
    "FrameStatistics",
    "LinearMap",
    "check_frame_length",
    "fit_frame_probe",
    "frame_probe",
    "read_beats",
    "read_chord_roots",
]
