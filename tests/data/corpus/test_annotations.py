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


def test_a_chorale_has_the_roots_that_an_analyst_hears():
    music21 = pytest.importorskip("music21")
    score = music21.corpus.parse("bach/bwv66.6")
    found = [(note.offset, note.quarterLength, note.pitch.midi) for note in score.flatten().notes]
    roots = find_chord_roots(notes(*[(float(a), float(b), c) for a, b, c in found]))
    # BWV 66.6 in F sharp minor begins with an upbeat in A major and E major, and ends in F sharp major.
    assert [root for _, _, root in roots[:2]] == [9, 4] or roots[0][2] in (9, 6)
    assert all(begin < end for begin, end, _ in roots)


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
