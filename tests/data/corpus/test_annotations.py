"""Beats and chord roots of the corpus agree with its scores."""

from __future__ import annotations

import numpy as np
import pytest

from ssc_toolkit.data import load_tracks
from ssc_toolkit.data.corpus.annotations import annotate_corpus, find_chord_roots
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.frame_probing import read_beats, read_chord_roots


def notes(*rows: tuple[float, float, int]) -> np.ndarray:
    return np.array(rows, dtype=float)


def test_roots_of_triads_and_inversions():
    pytest.importorskip("music21")
    triads = notes(
        (0, 1, 60), (0, 1, 64), (0, 1, 67),  # C major
        (1, 1, 64), (1, 1, 67), (1, 1, 72),  # its first inversion: the same root, so one chord
        (2, 1, 59), (2, 1, 62), (2, 1, 67), (2, 1, 77),  # G7
        (3, 1, 60), (3, 1, 72),  # an octave has no root
    )  # fmt: skip
    assert find_chord_roots(triads) == [(0.0, 2.0, 0), (2.0, 3.0, 7)]
    doubled = triads * [0.5, 0.5, 1]
    assert find_chord_roots(doubled, 0.5) == [(0.0, 1.0, 0), (1.0, 1.5, 7)]


def test_roots_of_chorales_are_those_of_their_triads():
    music21 = pytest.importorskip("music21")
    triads = {frozenset({root, (root + third) % 12, (root + 7) % 12}): root for root in range(12) for third in (3, 4)}
    checked = 0
    for name in ("bwv66.6", "bwv269"):
        score = music21.corpus.parse(f"bach/{name}").flatten().notes
        own = notes(*[(float(each.offset), float(each.quarterLength), each.pitch.midi) for each in score])
        own = own[(own[:, 0] < 6) & (own[:, 1] > 0)]
        for begin, end, root in find_chord_roots(own):
            for time in np.arange(begin + 0.01, end, 0.25):  # what sounds there, found without music21
                sounding = own[(own[:, 0] <= time) & (own[:, 0] + own[:, 1] > time)]
                expected = triads.get(frozenset((sounding[:, 2] % 12).astype(int).tolist()))
                if expected is not None:
                    assert root == expected, (name, begin)
                    checked += 1
    assert checked > 20


@pytest.mark.slow
def test_annotations_lie_next_to_the_corpus(small_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_corpus.parent.parent))
    beats_file, chords_file = annotate_corpus(small_corpus, progress=False)
    tracks = load_tracks(small_corpus / "tracks.csv")
    beats, chords = read_beats(beats_file), read_chord_roots(chords_file)
    known = tracks.select(tracks["meter"].notna())
    assert set(beats) == set(known["path"])
    for path, tempo in zip(known["path"], known["tempo_bpm"], strict=True):
        np.testing.assert_allclose(np.diff(beats[path].seconds), 60 / tempo, atol=2e-4)
    chorales = tracks.select(tracks["collection"] == "bach_chorale")
    assert set(chords) == set(chorales["path"])
    tonics = dict(zip(chorales["path"], chorales["tonic"], strict=True))
    names = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
    near = [(own.roots - names.index(tonics[path])) % 12 for path, own in chords.items()]
    assert np.isin(np.concatenate(near), (0, 5, 7)).mean() > 0.4  # tonic, subdominant and dominant are frequent


def test_other_folders_raise_errors(tmp_path):
    with pytest.raises(InputError, match="folder"):
        annotate_corpus(tmp_path)
