"""The rendered corpora: what is played, what is labeled, and that a kill loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from folders import contents, each_flip
from training_runs import die_at_first_write

from ssc_toolkit.cli import main
from ssc_toolkit.data.corpus import build_corpus, build_notes
from ssc_toolkit.data.corpus.build import claim_corpus_folder, clip_path, finish_folder, write_clip
from ssc_toolkit.data.corpus.corpus import CORPUS_CLIP_SECONDS, plan_clips, select_passage
from ssc_toolkit.data.corpus.keys import find_best_key, find_sure_key, pitch_class_histogram
from ssc_toolkit.data.corpus.pieces import list_score_files, load_pieces
from ssc_toolkit.data.corpus.synthesis import FAMILIES
from ssc_toolkit.data.key_names import KEYS
from ssc_toolkit.errors import InputError

CLIPS = 60


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache folder of this test's own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def corpus(cache) -> Path:
    return build_corpus(CLIPS, seed=3, progress=False)


@pytest.fixture(scope="module")
def tracks(corpus) -> pd.DataFrame:
    return pd.read_csv(corpus / "tracks.csv")


@pytest.fixture(scope="module")
def pieces(cache):
    return load_pieces(600, progress=False)


def scale(tonic: int, steps: tuple[int, ...]) -> np.ndarray:
    return np.array([60 + tonic + step for step in steps])


MAJOR, MINOR = (0, 4, 7, 2, 5, 9, 11, 7, 4, 2, 0, 0), (0, 3, 7, 2, 5, 8, 10, 7, 3, 2, 0, 0)


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(("mode", "steps"), [("major", MAJOR), ("minor", MINOR)])
def test_keys_are_found_and_need_every_sign(tonic, mode, steps):
    pitches = scale(tonic, steps)
    onsets, durations = np.arange(len(pitches)), np.ones(len(pitches))
    key = find_sure_key(onsets, durations, pitches)
    assert key is not None
    assert KEYS[key].endswith(mode)
    assert key % 12 == tonic
    assert find_sure_key(onsets, durations, pitches, stated_tonic=(tonic + 7) % 12) is None
    assert find_sure_key(onsets, durations, pitches, stated_mode=1 - key // 12) is None
    assert find_sure_key(onsets, durations, np.append(pitches[:-1], pitches[-1] + 7)) is None


def test_the_bass_of_the_last_chord_decides():
    pitches = np.append(scale(0, MAJOR), [72 - 24 + 7])
    onsets = np.append(np.arange(len(MAJOR)), len(MAJOR) - 1)
    assert find_sure_key(onsets, np.ones(len(pitches)), pitches) is None


def test_all_collections_are_there():
    names = {collection for collection, _ in list_score_files()}
    assert len(names) == 7
    assert len(list_score_files()) > 1000


@pytest.mark.slow
def test_pieces_have_certain_keys_and_valid_notes(pieces):
    assert len(pieces) > 400
    assert {piece.key // 12 for piece in pieces} == {0, 1}
    assert len({piece.piece_id for piece in pieces}) == len(pieces)
    for piece in pieces:
        onsets, durations, pitches = piece.notes.T
        assert onsets[0] >= 0
        assert (durations > 0).all()
        assert pitches.min() > 20
        assert find_best_key(pitch_class_histogram(pitches, durations), _krumhansl()) == piece.key
        assert piece.meter in (None, "2/2", "2/4", "3/4", "4/4", "6/8")


def _krumhansl():
    from ssc_toolkit.data.corpus.keys import KRUMHANSL_KESSLER

    return KRUMHANSL_KESSLER


@pytest.mark.slow
def test_clips_are_transposed_to_their_labeled_tonic(pieces):
    for clip in plan_clips(pieces, 200, seed=1):
        notes = select_passage(clip)
        assert len(notes) > 2
        assert (notes[:, 0] < CORPUS_CLIP_SECONDS).all()
        assert notes[:, 0].min() >= -1e-6
        assert ((notes[:, 2] >= 43) & (notes[:, 2] <= 91)).all()
        shift = (clip.tonic - clip.piece.key) % 12
        allowed = {int(pitch + shift) % 12 for pitch in clip.piece.notes[:, 2]}
        assert {int(pitch) % 12 for pitch in notes[:, 2]} <= allowed


@pytest.mark.slow
def test_the_table_has_the_documented_columns_in_full(tracks):
    assert len(tracks) == CLIPS
    assert tracks["split"].value_counts().to_dict() == {"train": 42, "valid": 6, "test": 12}
    assert (tracks.groupby("group")["split"].nunique() == 1).all()
    for _, side in tracks.groupby("split"):
        minor = (side["mode"] == "minor").mean()
        assert minor == pytest.approx(0.5, abs=0.02)
    assert set(tracks.loc[tracks["timbre"] == "new", "split"]) <= {"test"}
    known = {program for family in FAMILIES for program in family.known}
    assert set(tracks.loc[tracks["timbre"] == "known", "program"]) <= known
    assert not set(tracks.loc[tracks["timbre"] == "new", "program"]) & known
    assert (tracks["key"] == tracks["tonic"] + " " + tracks["mode"]).all()
    assert tracks["tempo_bpm"].notna().equals(tracks["meter"].notna())


@pytest.mark.slow
def test_the_audio_exists_and_is_not_silent(corpus, tracks):
    for path in tracks["path"]:
        samples, rate = soundfile.read(corpus / path)
        assert (len(samples), rate) == (96000, 16000)
        assert np.abs(samples).max() == pytest.approx(0.7, abs=0.01)
        assert np.abs(samples).reshape(6, -1).max(axis=1).min() > 0  # no second is silent


@pytest.mark.slow
def test_tonics_and_programs_are_independent_of_the_piece(pieces):
    plan = plan_clips(pieces, 4000, seed=0)
    tonics = np.bincount([clip.tonic for clip in plan], minlength=12)
    assert np.abs(tonics - 4000 / 12).max() < 5 * (4000 / 12) ** 0.5
    families = pd.Series([clip.family for clip in plan])
    modes = pd.Series([clip.piece.key // 12 for clip in plan])
    table = pd.crosstab(families, modes)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / 4000
    assert ((table - expected) ** 2 / expected).to_numpy().sum() < 25  # chi-square, 7 degrees of freedom


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_also_after_a_kill(corpus, cache, tmp_path):
    script = f"from ssc_toolkit.data.corpus import build_corpus; build_corpus({CLIPS}, 3, {str(tmp_path / 'c')!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", script], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "c" / "audio").glob("*.wav"))) < 5:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "c" / "tracks.csv").exists()
    build_corpus(CLIPS, 3, tmp_path / "c", workers=1, progress=False)  # nor do the bytes depend on the processes
    finished = {name: data for name, data in contents(tmp_path / "c").items() if not name.endswith(".tmp")}
    assert finished == contents(corpus)


@pytest.mark.slow
def test_a_folder_with_other_content_is_not_changed(corpus, tmp_path):
    with pytest.raises(InputError, match="other settings"):
        build_corpus(CLIPS, seed=4, folder=corpus)
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        build_corpus(CLIPS, folder=tmp_path)
    with pytest.raises(InputError, match="at least 40"):
        build_corpus(10)


@pytest.mark.slow
def test_single_notes_have_the_pitch_of_their_label(cache):
    folder = build_notes(60, seed=0, progress=False)
    notes = pd.read_csv(folder / "tracks.csv")
    assert len(notes) == 60
    assert not notes.duplicated(["program", "pitch", "velocity"]).any()
    heard = set(notes.loc[notes["split"] != "test", "program"])
    assert not heard & set(notes.loc[notes["split"] == "test", "program"])
    agreeing = 0
    for row in notes.itertuples():
        samples, rate = soundfile.read(folder / row.path)
        assert len(samples) == 4 * rate
        assert np.abs(samples).max() == pytest.approx(0.7 * row.velocity / 127, abs=0.01)
        agreeing += _pitch_class(samples[: 2 * rate], rate) == row.pitch % 12
    assert agreeing >= 0.9 * len(notes)  # a few timbres have a partial louder than all octaves


def _pitch_class(samples: np.ndarray, rate: int) -> int:
    """Pitch class whose partials hold the most energy."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), n=8 * rate))
    hertz_a_bin = rate / (8 * rate)

    def energy(pitch: int) -> float:
        base = 440 * 2 ** ((pitch - 69) / 12)
        partials = [base * h for h in range(1, 9) if base * h < rate / 2]
        # Within 17 cents: some timbres are tuned, or beat, a little off.
        spans = [slice(round(0.99 * f / hertz_a_bin), round(1.01 * f / hertz_a_bin) + 1) for f in partials]
        return sum(spectrum[span].max() ** 2 for span in spans)

    return max(range(36, 97), key=energy) % 12


def test_leftovers_of_a_kill_do_not_make_a_folder_unusable(tmp_path):
    settings = {"kind": "scores", "clips": 40}
    for name in (f".corpus.json.{'a' * 16}.tmp", ".corpus.json.123.tmp", ".lock"):
        (tmp_path / name).touch()
    with claim_corpus_folder(tmp_path, settings) as (folder, is_whole):
        assert not is_whole
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "audio", "corpus.json"]
    (tmp_path / "corpus.json").write_bytes(b"\xff{")
    with (
        pytest.raises(InputError, match=r"folder: .*corpus\.json is damaged"),
        claim_corpus_folder(tmp_path, settings),
    ):
        pass


def test_a_flip_of_any_byte_of_a_corpus_is_named(tmp_path):
    settings = {"kind": "scores", "clips": 2}
    tracks = pd.DataFrame({"path": [clip_path(n) for n in range(2)], "title": ["=1+1", "two"], "bpm": [70.0, 144.5]})
    with claim_corpus_folder(tmp_path, settings) as (folder, _):
        for path in tracks["path"]:
            write_clip(folder / path, np.random.default_rng(0).standard_normal(800))
        finish_folder(folder, tracks)

    def is_whole() -> bool:
        with claim_corpus_folder(tmp_path, settings) as (_, whole):
            return whole

    assert is_whole()
    for name in ("audio/000001.wav", "tracks.csv", "checksums.json"):
        path = tmp_path / name
        content = path.read_bytes()
        for _ in each_flip(path):
            with pytest.raises(InputError, match=rf"folder: .*{name} is damaged .*; delete the file and rerun"):
                is_whole()
        path.unlink()
        assert not is_whole()  # and is made again
        path.write_bytes(content)
    assert is_whole()


@pytest.mark.slow
def test_a_corpus_killed_at_its_first_write_is_rendered(cache, tmp_path):
    arguments = ["corpus", "--kind=notes", "--clips=60", f"--folder={tmp_path}"]
    die_at_first_write(*arguments)
    assert list(tmp_path.glob(".corpus.json.*.tmp"))
    assert main(arguments) == 0
    assert len(list((tmp_path / "audio").glob("*.wav"))) == 60
    assert not list(tmp_path.rglob(".*.tmp"))
    clip = tmp_path / clip_path(7)
    content = clip.read_bytes()
    clip.unlink()
    assert main(arguments) == 0
    assert clip.read_bytes() == content


def test_corpora_not_used_for_long_are_removed_above_the_limit(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("SSC_TOOLKIT_CACHE_GB", "0.0000035")
    day = 24 * 3600

    def render(clips: int) -> Path:
        with claim_corpus_folder(None, {"kind": "scores", "clips": clips}) as (folder, _):
            (folder / clip_path(0)).write_bytes(bytes(1000))
        return folder

    old, older, recent = render(40), render(41), render(42)
    kept = tmp_path / "ssc-toolkit" / "not-ours"
    kept.mkdir()
    for folder, age in ((old, 3 * day), (older, 5 * day), (recent, day / 2), (kept, 9 * day)):
        os.utime(folder, (time.time() - age,) * 2)
    assert render(43).is_dir()
    assert not older.exists()
    assert old.exists()  # within the limit without it
    assert render(40) == old  # it is used again
    os.utime(recent, (time.time() - 2 * day,) * 2)
    assert render(44).is_dir()
    assert old.exists()
    assert not recent.exists()
    assert kept.exists()
    with claim_corpus_folder(tmp_path / "mine", {"kind": "scores", "clips": 45}) as (folder, _):
        (folder / clip_path(0)).write_bytes(bytes(9000))
    assert old.exists()  # a folder of the user does not count


def test_too_few_clips_are_an_error(tmp_path):
    for build in (build_corpus, build_notes):
        with pytest.raises(InputError, match="clips: expected an integer of at least 40, got 39"):
            build(39, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_damaged_clip_is_rendered_again_once_it_is_deleted(corpus, cache):
    clip = corpus / clip_path(7)
    content, table = clip.read_bytes(), (corpus / "tracks.csv").read_bytes()
    clip.write_bytes(content[:-7] + b"x" + content[-6:])
    with pytest.raises(InputError, match=rf"folder: {clip} is damaged"):
        build_corpus(CLIPS, seed=3, progress=False)
    clip.unlink()
    (corpus / "tracks.csv").unlink()
    build_corpus(CLIPS, seed=3, progress=False, workers=1)
    assert clip.read_bytes() == content
    assert (corpus / "tracks.csv").read_bytes() == table


def test_files_of_others_with_temporary_names_are_no_leftovers(tmp_path):
    (tmp_path / ".notes.2024.tmp").write_text("precious")
    with pytest.raises(InputError, match="not empty"), claim_corpus_folder(tmp_path, {"kind": "scores", "clips": 40}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".notes.2024.tmp"]


def test_a_refused_folder_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="not empty"), claim_corpus_folder(tmp_path, {"kind": "scores", "clips": 40}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
