"""What the map of a report is made of, and the figures beside it."""

from __future__ import annotations

import base64
import io
import itertools
import re
import warnings
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from ssc_toolkit.data import AudioStore, TrackTable, check_audio, encode_labels, load_tracks
from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.reports import embedding_map, plots
from ssc_toolkit.reports.audio_clips import BYTES_A_CLIP, CLIP_RATE, CLIP_SECONDS, encode_clips
from ssc_toolkit.reports.embedding_map import HEIGHT, WIDTH, make_map_data, select_audible_points
from ssc_toolkit.reports.label_colors import MAX_COLORS, make_colorings
from ssc_toolkit.reports.page import render_html


def clusters(count: int = 60, dim: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """Points around three far centers, and which of them."""
    random = np.random.default_rng(0)
    number = np.arange(count) % 3
    return (20 * random.normal(size=(3, dim))[number] + random.normal(size=(count, dim))).astype(np.float32), number


ONE = encode_labels(pd.DataFrame({"label": ["one"] * 60}), "label")


def colorings(tracks: pd.DataFrame, column: str, **options) -> list[dict]:
    return make_colorings(encode_labels(tracks, column, **options), column)


def table(count: int) -> pd.DataFrame:
    return pd.DataFrame({"path": [f"/nowhere/{n}.wav" for n in range(count)], "seconds": 6.0, "label": "one"})


def test_maps_keep_clusters_apart_and_inside():
    embeddings, cluster = clusters()
    content = make_map_data({"m": embeddings}, table(60), {"label": ONE}, clips=0, progress=False)
    for layout in content["models"][0]["layouts"]:
        places = np.array(layout["places"]).reshape(-1, 2)
        assert (places >= 0).all()
        assert (places <= (WIDTH, HEIGHT)).all()
        assert np.ptp(places[:, 0]) > 0.8 * WIDTH or np.ptp(places[:, 1]) > 0.8 * HEIGHT
        distances = np.linalg.norm(places[:, None] - places, axis=-1)
        np.fill_diagonal(distances, np.inf)
        assert (cluster[distances.argmin(axis=1)] == cluster).all()


def test_neighbors_have_the_largest_cosine():
    embeddings, _ = clusters()
    model = make_map_data({"m": embeddings}, table(60), {"label": ONE}, clips=0, progress=False)["models"][0]
    for row in range(60):
        cosines = [
            float(embeddings[row] @ other / np.linalg.norm(embeddings[row]) / np.linalg.norm(other))
            for other in embeddings
        ]
        expected = sorted((other for other in range(60) if other != row), key=lambda other: -cosines[other])[:5]
        assert model["neighbors"][row] == expected
        np.testing.assert_allclose(model["similarities"][row], [cosines[n] for n in expected], atol=1e-3)


def test_few_points_narrow_embeddings_and_failed_tracks():
    embeddings = np.array([[1.0], [2.0], [np.nan], [4.0]], dtype=np.float32)
    content = make_map_data({"m": embeddings}, table(4), {"label": ONE[torch.arange(4)]}, clips=0, progress=False)
    assert content["titles"] == ["0", "1", "3"]
    assert len(content["models"][0]["neighbors"][0]) == 2


def test_the_number_of_shown_tracks_is_limited(monkeypatch):
    monkeypatch.setattr(embedding_map, "MAX_POINTS", 40)
    content = make_map_data({"m": clusters()[0]}, table(60), {"label": ONE}, clips=0, progress=False)
    assert len(content["titles"]) == len(set(content["titles"])) == 40
    assert max(itertools.chain(*content["models"][0]["neighbors"])) < 40


@given(count=st.integers(0, 40), models=st.integers(1, 3), seed=st.integers(0, 5))
def test_clips_are_selected_with_their_neighbors(count, models, seed):
    random = np.random.default_rng(seed)
    neighbors = [[random.choice(40, 3, replace=False).tolist() for _ in range(40)] for _ in range(models)]
    heard = select_audible_points(neighbors, count, seed)
    assert len(heard) == len(set(heard)) == count
    complete = [point for point in heard if all(other in heard for model in neighbors for other in model[point])]
    assert len(complete) >= count // (1 + 3 * models)


def test_colorings():
    tracks = pd.DataFrame(
        {
            "genre": ["jazz", "rock", None, "jazz"],
            "tags": ["a|b", "a", "|", None],
            "bpm": [60.5, 120.0, None, 180.0],
            "many": [f"class {n}" for n in range(4)],
        }
    )
    (genre,) = colorings(tracks, "genre")
    assert (genre["classes"], genre["values"]) == (["jazz", "rock"], [0, 1, -1, 0])
    first, second = colorings(tracks, "tags")
    assert (first["name"], first["classes"], first["values"]) == ("tags: a", ["no", "yes"], [1, 1, 0, -1])
    assert (second["name"], second["values"]) == ("tags: b", [1, 0, 0, -1])
    (tempo,) = colorings(tracks, "bpm", kind="number")
    assert tempo["ordered"]
    assert tempo["values"][2] == -1
    assert tempo["values"][0] < tempo["values"][1] < tempo["values"][3] == len(tempo["classes"]) - 1
    names = ["frequent"] * 5 + [f"class {n}" for n in range(MAX_COLORS + 10)]
    (many,) = colorings(pd.DataFrame({"label": names}), "label")
    assert len(many["classes"]) == MAX_COLORS
    assert many["classes"][-1] == "others"
    assert many["classes"][many["values"][0]] == "frequent"
    assert many["classes"][many["values"][-1]] == "others"


def test_colorings_show_only_what_the_shown_tracks_have():
    tracks = pd.DataFrame({"tags": ["a|b", "a", "|", None], "bpm": [60.5, 120.0, None, 180.0]})
    tags, tempo = encode_labels(tracks, "tags"), encode_labels(tracks, "bpm", kind="number")
    rows = torch.tensor([1, 2])
    assert [coloring["name"] for coloring in make_colorings(tags[rows], "tags")] == ["tags: a"]
    assert make_colorings(tags[torch.tensor([3])], "tags") == make_colorings(tempo[torch.tensor([2])], "bpm") == []


@pytest.mark.parametrize("from_store", [False, True])
def test_a_clip_is_the_middle_of_its_track(tmp_path, from_store):
    rate = 22050
    time = np.arange(9 * rate) / rate
    tone = np.where((time > 2.5) & (time < 6.5), 0.5 * np.sin(2 * np.pi * 1000 * time), 0.01)
    soundfile.write(tmp_path / "long.wav", tone, rate)
    soundfile.write(tmp_path / "short.wav", tone[3 * rate : 4 * rate], rate)
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    if from_store:
        tracks = AudioStore.prepare(tracks, tmp_path / "store", 16000, progress=False).tracks
    uris = encode_clips(tracks, [0, 1], progress=False)
    for row, seconds in ((0, 3.0), (1, 1.0)):
        prefix, text = uris[row].split(",")
        assert prefix == "data:audio/mpeg;base64"
        assert len(uris[row]) <= BYTES_A_CLIP
        samples, found = soundfile.read(io.BytesIO(base64.b64decode(text)))
        assert (found, len(samples) / found) == (CLIP_RATE, pytest.approx(CLIP_SECONDS, abs=0.1))
        heard = samples[: round(seconds * CLIP_RATE)]
        spectrum = np.abs(np.fft.rfft(heard))
        assert spectrum.argmax() * CLIP_RATE / len(heard) == pytest.approx(1000, abs=5)
        loud = np.abs(heard).reshape(-1, CLIP_RATE // 4).max(axis=1)
        assert (loud > 0.3).all()


def test_a_clip_that_cannot_be_decoded_is_silent(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"nothing")
    tracks = pd.DataFrame({"path": [str(tmp_path / "broken.wav")], "seconds": 4.0})
    assert encode_clips(TrackTable(tracks), [0], progress=False) == {}


INTERVALS = {"_a $x$ <b>": Interval(0.5, 0.4, 0.6), "日本": Interval(0.7, 0.6, 0.8)}


def rows(panels: dict[str, dict[str, Interval]], **columns: object) -> pd.DataFrame:
    """Rows of a figure: intervals by panel and model, with further columns."""
    return pd.DataFrame(
        [
            {"panel": panel, "model": model, "metric": "r2", **columns, **vars(interval)}
            for panel, own in panels.items()
            for model, interval in own.items()
        ]
    )


def at(*frames: pd.DataFrame, **columns: list[object]) -> pd.DataFrame:
    """Frames below each other, each with its value of a column."""
    ((name, values),) = columns.items()
    return pd.concat([frame.assign(**{name: value}) for frame, value in zip(frames, values, strict=True)])


NAN = Interval(*3 * [float("nan")])
COLORS = plots.choose_model_colors(INTERVALS)
SOME = next(iter(INTERVALS.values()))
QUARTER = rows({"t": dict.fromkeys(INTERVALS, Interval(0.25, 0.2, 0.3))})
FIGURES = {
    "dots": lambda: plots.plot_scores(rows({"t_1": INTERVALS}), COLORS),
    "curves": lambda: plots.plot_severity_curves(
        at(*2 * [rows({f"c{n}": INTERVALS for n in range(4)})], severity=[0.0, 1.0]), "accuracy", COLORS
    ),
    "heat": lambda: plots.plot_heat_map(
        at(QUARTER, QUARTER.assign(value=NAN.value), condition=["mp3 1", "mp3 2"]), "drop"
    ),
    "learning": lambda: plots.plot_learning_curves(
        {m: [{"step": 1, "loss": 2.0}] for m in INTERVALS}, {"loss": "loss"}, COLORS
    ),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", FIGURES)
def test_figures_use_page_colors_and_accept_any_name(kind):
    svg = FIGURES[kind]()
    assert svg.startswith("<svg")
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert "_a $x$ &lt;b&gt;" in svg
    assert "日本" in svg
    if kind == "heat":
        assert svg.count("25 %") == 2
        assert "nan" not in svg


class Box(NamedTuple):
    """Corners of a text in the units of its figure, whose size is `width` and `height`."""

    low: np.ndarray
    high: np.ndarray


def boxes_of_texts(figure) -> list[tuple[str, Box]]:
    """Return the texts of a figure, and their places relative to the figure: inside is from 0 to 1."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    size = figure.bbox.size
    shown = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
    return [
        (text.get_text(), Box(box.min / size, box.max / size))
        for text in shown
        for box in [text.get_window_extent(renderer)]
    ]


@pytest.mark.parametrize("count", [2, 7])
@pytest.mark.parametrize("kind", ["dots", "curves", "heat", "learning"])
def test_long_names_are_inside_their_figure(kind, count, monkeypatch):
    names = [f"{'encoder ' * 8}number {n} {'of a study ' * 6}" for n in range(count)]
    colors = plots.choose_model_colors(names)
    frame = rows({"a task with a very long name, such as that of a column": dict.fromkeys(names, SOME)})
    frame = pd.concat([frame, frame.assign(panel="key")])
    figures = []
    monkeypatch.setattr(plots, "_svg", lambda figure: figures.append(figure) or "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        {
            "dots": lambda: plots.plot_scores(frame, colors),
            "curves": lambda: plots.plot_severity_curves(frame.assign(severity=1.0), "accuracy", colors),
            "heat": lambda: plots.plot_heat_map(frame.assign(condition="colored noise without pitch shift 2"), "drop"),
            "learning": lambda: plots.plot_learning_curves(
                {name: [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}] for name in names}, {"loss": "loss"}, colors
            ),
        }[kind]()
        found = boxes_of_texts(figures[0])
    labels = {text for text, _ in found if text.startswith("encoder")}
    assert len(labels) == count  # distinct, although the names differ in their middle only
    for text, box in found:
        if not text.startswith(("encoder", "a task", "colored")):  # also ticks outside of an axis, which are not drawn
            continue
        assert (box.low >= -0.001).all(), text
        assert (box.high <= 1.001).all(), text


@pytest.mark.filterwarnings("error")
def test_a_panel_without_a_value_says_so():
    colors = plots.choose_model_colors(["a"])
    some, nothing = rows({"t": {"a": SOME}}), rows({"u": {"a": NAN}})
    for svg in (
        plots.plot_heat_map(at(some, nothing, nothing, condition=["mp3 1", "mp3 1", "mp3 2"]), "drop"),
        plots.plot_severity_curves(at(some, rows({"t": {"a": NAN}}), nothing, severity=[0.0, 1.0, 0.0]), "r2", colors),
        plots.plot_scores(pd.concat([some, nothing]), colors),
    ):
        assert svg.count("not defined") == 1


def test_a_page_blocks_external_resources():
    page = render_html("<b>", "</style><script>x</script>", [], {})
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "unsafe-inline" not in policy[1].split("script-src")[1].split(";")[0]
    assert "<b>" not in page
    assert page.count("<script>") == 1
