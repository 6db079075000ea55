"""Small copies of the published datasets, in the form in which they lie on disk."""

from __future__ import annotations

import csv
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ssc_toolkit.data.recipes import RECIPES, dataset_tracks
from ssc_toolkit.errors import InputError

RATE = 16000


@cache
def audio_bytes(suffix):
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(RATE // 5) / RATE)
    buffer = io.BytesIO()
    soundfile.write(buffer, tone, RATE, format={".mp3": "MP3", ".wav": "WAV", ".au": "AU"}[suffix])
    return buffer.getvalue()


def audio(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(audio_bytes(path.suffix))


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8", newline="")


def class_names(name, variant, column):
    """Names of a label column, in the order in which the package has them."""
    return RECIPES[name].task(variant).labels[column].names


# MagnaTagATune: cells in quotes, separated by tabs; the columns are in no alphabetical order.
CLIPS = {
    "2": ("0/a-name-01-piece-0-29.mp3", ["slow", "guitar", "airy"]),
    "6": ("b/a-name-02-piece-29-58.mp3", ["clapping"]),
    "12": ("9/b-name-01-piece-0-29.mp3", []),
    "29": ("c/c-name-01-piece-0-29.mp3", ["rock", "guitar"]),
    "31": ("c/c-name-02-piece-0-29.mp3", ["world"]),
    "44": ("d/d-name-01-piece-0-29.mp3", ["techno"]),
    "45": ("f/d-name-02-piece-0-29.mp3", ["quick", "choral"]),
    "35644": ("6/norine_braun-now_and_zen-08-gently-117-146.mp3", ["guitar"]),
    "55753": ("8/jacob_heringman-josquin-19-gintzler-204-233.mp3", ["guitar"]),
    "57881": ("9/american_baroque-dances-25-le_petit-88-117.mp3", ["flute"]),
}


def magnatagatune(root):
    tags = sorted(class_names("magnatagatune", "all-full", "tags"), key=lambda tag: tag[::-1])
    rows = [["clip_id", *tags, "mp3_path"]]
    rows += [[clip, *("1" if tag in present else "0" for tag in tags), path] for clip, (path, present) in CLIPS.items()]
    text(root / "annotations_final.csv", quoted(rows))
    info = [["clip_id", "track_number", "title", "artist", "album", "mp3_path"]]
    info += [[clip, "1", "A title", path[2:8], "An album", path] for clip, (path, _) in CLIPS.items()]
    text(root / "clip_info_final.csv", quoted(info))
    for path, _ in CLIPS.values():
        audio(root / path)


def quoted(rows):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t", quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


# MTG-Jamendo: a tag in each further cell.
JAMENDO = {
    "train": [("0000241", "000005", "41/241.mp3", ["genre---rock"])],
    "validation": [("0000948", "000087", "48/948.mp3", ["genre---pop", "genre---classical", "genre---house"])],
    "test": [("1012000", "000093", "00/1012000.mp3", ["genre---jazz", "genre---ambient"])],
}
JAMENDO_FILES = {
    "top50": ("top50tags", ["mood/theme---happy", "instrument---piano"]),
    "genre": ("genre", ["genre---60s"]),
    "instrument": ("instrument", ["instrument---cello", "instrument---voice"]),
    "mood": ("moodtheme", ["mood/theme---epic"]),
}


def mtg_jamendo(root):
    for file, further in JAMENDO_FILES.values():
        for part, tracks in JAMENDO.items():
            lines = ["TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"]
            for number, artist, path, genres in tracks:
                tags = (genres if file in ("top50tags", "genre") else []) + further
                lines.append("\t".join([f"track_{number}", f"artist_{artist}", "album_000033", path, "340.1", *tags]))
            text(root / f"data/splits/split-0/autotagging_{file}-{part}.tsv", "\n".join(lines) + "\n")
    audio(root / "41/241.mp3")
    audio(root / "48/948.low.mp3")
    audio(root / "00/1012000.mp3")


EXCERPTS = ("blues.00029", "jazz.00054", "blues.00000", "rock.00010", "blues.00012", "metal.00010", "jazz.00033")


def gtzan(root, folder="genres", suffix=".wav"):
    for name in EXCERPTS:
        audio(root / folder / name.partition(".")[0] / f"{name}{suffix}")


# GiantSteps: the artists Anna and Bruno are valid by their names.
MTG_KEYS = [
    ("5061", "D# minor", "2", "Philippe Van Mullem"),
    ("7217", "F minor", "2", "Elena, Dario"),
    ("7300", "G minor", "2", "Dario, Clara"),
    ("7400", "A major", "2", "Clara, Anna"),
    ("7500", "C# major ", "2", "Elena"),
    ("7600", "B major ", "2", "Dario"),
    ("7700", "D minor", "2", "BRUNO"),
    ("10981", "-", "0", "Greta"),
    ("11000", "-", "2", "Greta"),
    ("61578", "C minor / F# minor", "2", "Greta"),
    ("45212", "B minor", "1", "Greta"),
    ("297150", "A-A# minor", "0", "Greta"),
]
TEST_KEYS = {"10089": "D minor", "74982": "Eb minor", "1225100": "Db major"}


def giantsteps(root):
    train, test = root / "giantsteps-mtg-key-dataset", root / "giantsteps-key-dataset"
    annotations, metadata = "ID\tMANUAL KEY\tC\n", "ID\tARTIST\tSONG TITLE\tMIX\tLABEL\tBP GENRE\tBP BPM\tBP KEY\n"
    for track, key, confidence, artist in MTG_KEYS:
        annotations += f"{track}\t{key}\t{confidence}\n"
        metadata += f"{track}\t{artist}\tA song\tOriginal Mix\tA label\tTrance\t132\tD# major\n"
        audio(train / "audio" / f"{track}.LOFI.mp3")
    text(train / "annotations/annotations.txt", annotations)
    text(train / "annotations/beatport_metadata.txt", metadata)
    for track, key in TEST_KEYS.items():
        text(test / f"annotations/key/{track}.LOFI.key", key)  # without a newline at the end
        audio(test / "audio" / f"{track}.LOFI.mp3")


NOTES = {
    "train": ["bass_synthetic_033-022-050", "synth_lead_synthetic_001-120-127", "vocal_acoustic_000-060-075"],
    "valid": ["flute_acoustic_002-077-100"],
    "test": ["mallet_acoustic_062-009-025", "vocal_acoustic_024-060-025"],
}


def nsynth(root):
    families = class_names("nsynth", "instrument", "instrument")
    for split, notes in NOTES.items():
        examples = {}
        for number, note in enumerate(notes):
            instrument, pitch, velocity = note.split("-")
            family = instrument.rsplit("_", 2)[0]
            examples[note] = {
                "note": number,
                "note_str": note,
                "instrument": 7,
                "instrument_str": instrument,
                "pitch": int(pitch),
                "velocity": int(velocity),
                "sample_rate": 16000,
                "qualities": [0] * 10,
                "qualities_str": [],
                "instrument_family": families.index(family),
                "instrument_family_str": family,
                "instrument_source": 0,
                "instrument_source_str": "acoustic",
            }
            audio(root / f"nsynth-{split}/audio/{note}.wav")
        text(root / f"nsynth-{split}/examples.json", json.dumps(examples, indent=4))


VOICES = [
    "female1/arpeggios/belt/f1_arpeggios_belt_c_a.wav",
    "female1/long_tones/messa/f1_long_messa_a.wav",
    "female2/scales/vibrado/f2_scales_vibrato_a.wav",
    "female2/scales/vibrato/f2_scales_vibrato_a(1).wav",
    "female2/arpeggios/lip_trill/lip_trill_arps.wav",
    "female6/excerpts/spoken/f6_spoken.wav",
    "male3/excerpts/vibrato/caro_vibrato.wav",
    "male8/excerpts/strait/row_straight.wav",
    "male9/scales/trill/m9_scales_trill_c_a.wav",
    "male10/scales/fast_forte/m10_scales_fast_forte_a.wav",
    "male11/scales/vibrato/m11_scales_vibrato_f_a.wav",
]


def vocalset(root, folder="data_by_singer"):
    for path in VOICES:
        audio(root / folder / path)
    for junk in ("__MACOSX/female1/arpeggios/belt/._f1_arpeggios_belt_c_a.wav", "female1/scales/belt/._f1.wav"):
        text(root / folder / junk, "no audio")
    audio(root / "data_by_technique/belt/f1_arpeggios_belt_c_a.wav")
    text(root / "train_singers_technique.txt", "female1\n")


SONGS = {
    "AmarLal_Rest": (
        "Amar Lal",
        {"clean electric guitar": "clean electric guitar", "fx/processed sound": "[fx/processed sound]"},
    ),
    "Handel_TornamiAVagheggiar": ("Handel", {"female singer": "female singer", "two": "[violin, cello]"}),
    "MusicDelta_Beatles": ("Music Delta", {"drum set": "drum set", "kazoo": "kazoo", "main": "Main System"}),
    "AvaLuna_Waterduct": ("''", {"electric bass": "electric bass"}),
    "Adele_SomeoneLikeYou": ("Adele", {"piano": "piano"}),
}
WITHOUT_AUDIO = "Adele_SomeoneLikeYou"


def medleydb(root):
    for song, (artist, stems) in SONGS.items():
        lines = [
            f"artist: {artist}",
            "excerpt: 'no'",
            f"mix_filename: {song}_MIX.wav",
            f"stem_dir: {song}_STEMS",
            "stems:",
        ]
        for number, instrument in enumerate(stems.values(), start=1):
            file = f"{song}_STEM_{number:02d}.wav"
            lines += [
                f"  S{number:02d}:",
                "    component: ''",
                f"    filename: {file}",
                f"    instrument: {instrument}",
            ]
            if song != WITHOUT_AUDIO:
                audio(root / "Audio" / song / f"{song}_STEMS" / file)
        text(root / f"medleydb/data/Metadata/{song}_METADATA.yaml", "\n".join([*lines, "version: 1.2", ""]))


# EmoMusic: stray blanks and tabs in the cells.
RATED = [
    ("2", "The One", "development", 3.1, 3.0),
    ("7", "Bel Air", "development", 3.5, 3.3),
    ("10", "\tJosé  González ", "development", 5.7, 5.5),
    ("37", "Any", "evaluation", 6.4, 2.25),
]


def emomusic(root):
    songs = (
        "song_id,file_name,Artist,Song title,start of the segment (min.sec),end of the segment (min.sec),Genre,"
        "Mediaeval 2013 set\n"
    )
    ratings = "song_id,mean_arousal,std_arousal,mean_valence,std_valence\n"
    for song, artist, part, arousal, valence in RATED:
        songs += f'{song},{song}.mp3,{artist},"\tA title, with a comma\t",0.05,0.5,Blues\t,{part}\t\n'
        ratings += f"{song},{arousal},1.2, {valence}\t,0.9\n"
        audio(root / f"clips_45seconds/{song}.mp3")
    text(root / "annotations/songs_info.csv", songs)
    text(root / "annotations/static_annotations.csv", ratings)


# FMA: two rows of names and one that names the index; lists and line breaks in cells.
FMA_TRACKS = [
    ("2", "1", "training", "medium", "Hip-Hop"),
    ("5", "1", "training", "small", "Hip-Hop"),
    ("10", "6", "validation", "small", "Pop"),
    ("140", "54", "test", "small", "Folk"),
    ("1486", "60", "training", "medium", "Rock"),
    ("20", "4", "training", "large", ""),
    ("98565", "70", "training", "small", "Rock"),
    ("136", "52", "test", "medium", "Old-Time / Historic"),
    ("152", "53", "validation", "large", "Jazz"),
]


def fma(root):
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [
        ("album", "tags"),
        ("artist", "id"),
        ("artist", "bio"),
        ("set", "split"),
        ("set", "subset"),
        ("track", "genre_top"),
        ("track", "genres"),
    ]
    writer.writerow(["", *(group for group, _ in columns)])
    writer.writerow(["", *(name for _, name in columns)])
    writer.writerow(["track_id", *("" for _ in columns)])
    for number, artist, part, size, genre in FMA_TRACKS:
        writer.writerow([number, "['a', 'b']", artist, 'a "bio",\nof two lines', part, size, genre, "[21, 103]"])
        for folder in ("small", "medium", "large")[("small", "medium", "large").index(size) :]:
            audio(root / f"fma_{folder}" / f"{int(number):06d}"[:3] / f"{int(number):06d}.mp3")
    text(root / "fma_metadata/tracks.csv", buffer.getvalue())


BUILDERS = {
    "magnatagatune": magnatagatune,
    "mtg_jamendo": mtg_jamendo,
    "gtzan": gtzan,
    "giantsteps": giantsteps,
    "nsynth": nsynth,
    "vocalset": vocalset,
    "medleydb": medleydb,
    "emomusic": emomusic,
    "fma": fma,
}
EVERY_VARIANT = [(name, variant) for name, recipe in RECIPES.items() for variant in recipe.variants]


def built(name, root, variant=None):
    """Track table of a dataset that is first written below a folder."""
    BUILDERS[name](Path(root))
    return dataset_tracks(name, root, variant)


def cells(tracks, column):
    """A column by the id of the track."""
    return dict(zip(tracks["track_id"], tracks[column], strict=True))


def check_malformed(name, root, file, old, new, words):
    """Write a dataset, replace a text in one of its files, and expect an error with these words."""
    BUILDERS[name](root)
    content = (root / file).read_text()
    assert old in content
    (root / file).write_text(content.replace(old, new))
    with pytest.raises(InputError, match=words):
        dataset_tracks(name, root)
