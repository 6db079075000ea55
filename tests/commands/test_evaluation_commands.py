"""The commands that look at an encoder, on real files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from command_calls import call

from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.evaluation.embedding.files import read_metadata

RATE = 16000
RECORD = {
    "model", "task", "method", "metric", "value", "low", "high", "corruption", "severity", "label_fraction", "seed",
    "tracks", "groups", "folds", "undefined_classes",
}  # fmt: skip


@pytest.fixture(scope="module")
def shared(music, tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("model") / "encoder"
    MelCNN(n_mels=32).save_pretrained(folder)
    return [f"--encoder={folder}", f"--tracks={music / 'my.csv'}", "--window_seconds=0.5"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return f"--cache={tmp_path_factory.mktemp('cache')}"


def report(folder: Path) -> dict:
    content = json.loads((folder / "report.json").read_text())
    assert all(set(record) == RECORD for record in content["records"])
    told = content["provenance"]
    assert told["windows"]["seconds"] == 0.5
    assert len(told["split_hash"]) == 16
    assert "torch" in told["versions"]
    return content


@pytest.mark.slow
def test_probe_by_several_methods_and_seeds(shared, cache, tmp_path, monkeypatch):
    monkeypatch.setattr("ssc_toolkit.evaluation.probing.heads.mlp.MAX_EPOCHS", 5)
    code, out, errors = call(
        "probe", *shared, cache, "--labels=pitch,hertz", "--numbers=hertz", "--methods=linear,mlp,knn", "--repeats=2",
        f"--out={tmp_path / 'p'}",
    )  # fmt: skip
    assert code == 0, errors
    assert "effective rank" in out
    content = report(tmp_path / "p")
    assert content["provenance"]["seeds"] == [0, 1]
    assert content["provenance"]["tracks"] == {"train": 20, "valid": 10, "test": 10}
    found = {(r["model"], r["task"], r["method"], r["metric"]): r["seed"] for r in content["records"]}
    for model in ("random encoder", "MFCC statistics", "log-mel statistics", "this encoder"):
        for method in ("linear", "mlp", "knn"):
            assert {(model, "pitch", method, "accuracy"), (model, "hertz", method, "r2")} <= set(found)
    assert found["random encoder", "pitch", "linear", "accuracy"] is None  # the mean over two random encoders
    assert found["this encoder", "pitch", "linear", "accuracy"] == 0
    assert found["this encoder", "pitch", "mlp", "accuracy"] is None


@pytest.mark.slow
def test_fine_tuning_and_fine_tuning_from_scratch(shared, cache, tmp_path):
    options = ["--labels=pitch", "--methods=finetune", "--finetune_steps=2"]
    code, _, errors = call("probe", *shared, cache, *options, f"--out={tmp_path / 'p'}")
    assert code == 0, errors
    models = {r["model"] for r in report(tmp_path / "p")["records"]}
    assert models == {"random encoder", "this encoder"}  # statistics have nothing to train


def test_probe_cross_validates_by_groups(shared, cache, tmp_path, monkeypatch):
    crossed = ["--labels=pitch", "--methods=prototypes", "--folds=4", "--repeats=2"]
    options = [*crossed, "--splits=train,valid,test", f"--out={tmp_path / 'p'}"]
    code, out, errors = call("probe", *shared, cache, *options)
    assert code == 0, errors
    assert "cross-validated in 4 folds" in out
    assert "Caution" not in out
    content = report(tmp_path / "p")
    assert {(r["tracks"], r["groups"], r["folds"]) for r in content["records"]} == {(40, 10, 4)}
    settings = content["provenance"]["cross_validation"]
    assert settings == {"folds": 4, "group_by": None, "splits": ["train", "valid", "test"], "max_inner_folds": 5}
    assert {d["less"] for d in content["differences"]} == {"random encoder", "MFCC statistics", "log-mel statistics"}
    assert all("detectable" in d for d in content["differences"])
    counts = pd.DataFrame(content["confusions"]).groupby("model")["tracks"].sum()
    assert set(counts) == {40}
    for name in ("report.md", "report.html"):
        assert "Confusion matrix: pitch" in (tmp_path / "p" / name).read_text()
    # Without the test set, five groups are left out one by one. The fitted folds are counted.
    monkeypatch.setattr("ssc_toolkit.evaluation.probing.cross_validation._SILENT_SECONDS", 0)
    code, out, errors = call("probe", *shared, cache, *crossed[:2], "--folds=groups", "--splits=train")
    assert code == 0, errors
    assert "| 20     | 5      |" in out
    assert "pitch, prototypes:" in errors
    assert "5/5" in errors
    assert "pitch: Caution: the intervals are from 5 groups" in out


def test_prototypes_from_few_labels(shared, cache, tmp_path):
    code, _, errors = call(
        "probe", *shared, cache, "--labels=pitch,tags", "--methods=prototypes", "--label_fractions=0.2,1",
        f"--out={tmp_path / 'p'}",
    )  # fmt: skip
    assert code == 0, errors
    records = report(tmp_path / "p")["records"]
    assert {r["label_fraction"] for r in records} == {0.2, 1.0}
    tagged = [r for r in records if r["task"] == "tags" and r["metric"] == "average precision"]
    assert all(r["undefined_classes"] == 1 for r in tagged)  # every track is a tone


def test_commands_encode_each_label_column_once(shared, music, encoded, tmp_path):
    code, _, errors = call("probe", *shared, "--labels=pitch,tags", "--methods=prototypes,knn", "--repeats=2")
    assert code == 0, errors
    assert sorted(encoded) == ["pitch", "tags"]
    encoded.clear()
    options = ["--labels=pitch", "--methods=finetune", "--finetune_steps=2", "--repeats=2"]
    code, _, errors = call("probe", *shared, *options, f"--out={tmp_path / 'tuned'}")
    assert code == 0, errors
    assert encoded == ["pitch"]
    encoded.clear()
    code, _, errors = call("retrieval", *shared, "--labels=pitch,tags", f"--database={music / 'other.csv'}")
    assert code == 0, errors
    assert sorted(encoded) == ["pitch", "pitch", "tags", "tags"]  # once for each of the two tables


@pytest.mark.slow
def test_robustness_with_stored_draws(shared, cache, tmp_path):
    options = ["--labels=pitch", "--methods=linear,prototypes", "--corruptions=gain,colored_noise", "--severities=1"]
    code, out, errors = call("robustness", *shared, cache, *options, f"--out={tmp_path / 'one'}", "--seed=5")
    assert code == 0, errors
    assert "| corruption    | method" in out
    first = report(tmp_path / "one")
    kinds = {(r["method"], r["corruption"], r["metric"]) for r in first["records"]}
    assert ("prototypes", "gain", "relative_drop") in kinds
    assert ("linear", "clean", "accuracy") in kinds
    keys = [(r["model"], r["task"], r["method"], r["metric"], r["corruption"], r["severity"]) for r in first["records"]]
    assert len(keys) == len(set(keys))  # clean audio once, not once a corruption
    page = (tmp_path / "one" / "report.html").read_text()
    assert page.count("<svg") == 2  # scores by severity, and drops
    draws = tmp_path / "one" / "draws"
    assert {path.name for path in draws.iterdir()} == {"gain-1.pt", "colored_noise-1.pt"}
    # What is stored is heard, whatever the seed; what is not is drawn and added.
    options[2] = "--corruptions=gain,colored_noise,reverse"
    again = call("robustness", *shared, *options, f"--draws={draws}", f"--out={tmp_path / 'two'}", "--seed=6")
    assert again[0] == 0, again[2]
    numbers = [
        {
            r["metric"] + r["method"] + r["corruption"]: r["value"]
            for r in told["records"]
            if r["model"] == "this encoder"
        }
        for told in (first, report(tmp_path / "two"))
    ]
    assert numbers[0].items() <= numbers[1].items()
    assert any("reverse" in key for key in numbers[1])
    assert (draws / "reverse-1.pt").exists()
    (draws / "gain-1.pt").replace(draws / "reverse-1.pt")
    code, _, errors = call("robustness", *shared, *options, f"--draws={draws}")
    assert code == 2
    assert "draws: expected Reverse, got Gain" in errors


def test_retrieval_by_any_label_and_table(shared, cache, music, tmp_path):
    code, out, errors = call(
        "retrieval", *shared, cache, "--labels=pitch,tags", "--other_groups_only", "--cutoffs=1,3",
        f"--out={tmp_path / 'r'}",
    )  # fmt: skip
    assert code == 0, errors
    assert "hit rate@1 " in out
    assert "\\" not in out  # the printed tables are not escaped for Markdown
    assert r"hit rate\@1" in (tmp_path / "r" / "report.md").read_text()
    records = report(tmp_path / "r")["records"]
    assert {r["metric"] for r in records} >= {"mAP", "hit rate@1", "precision@3"}
    assert {r["method"] for r in records} == {"retrieval"}
    assert {r["tracks"] for r in records} == {10}  # the test split
    code, _, errors = call(
        "retrieval", *shared[::2], f"--tracks={music / 'other.csv'}", "--labels=pitch",
        f"--database.tracks={music / 'my.csv'}", f"--database.root={music}", f"--out={tmp_path / 'o'}",
    )  # fmt: skip
    assert code == 0, errors
    told = report(tmp_path / "o")["provenance"]
    assert told["tracks"] == 10
    assert told["database"]["tracks"]["train"] == 20


def test_a_query_in_the_database_is_removed_from_its_ranking(shared, cache, music, tmp_path):
    options = ["retrieval", *shared[::2], cache, f"--tracks={music / 'other.csv'}", "--labels=pitch"]
    among_themselves, in_a_table = call(*options), call(*options, f"--database={music / 'again.csv'}")
    assert among_themselves[0] == in_a_table[0] == 0, in_a_table[2]
    assert among_themselves[1] == in_a_table[1]


@pytest.mark.parametrize(("suffix", "window_pooling"), [("parquet", "mean_std"), ("npz", "none")])
def test_embed_a_folder(shared, music, tmp_path, suffix, window_pooling):
    path = tmp_path / f"e.{suffix}"
    code, _, errors = call("embed", music, *shared[::2], f"--out={path}", f"--window_pooling={window_pooling}")
    assert code == 0, errors
    metadata = read_metadata(path)
    assert metadata["windows"]["pooling"] == window_pooling
    assert len(metadata["encoder"]["fingerprint"]) == 32
    if suffix == "parquet":
        assert np.stack(list(pd.read_parquet(path)["embeddings"])).shape == (40, 512)
    else:
        with np.load(path) as content:
            assert content["embeddings"].shape == (80, 256)
            assert content["start_seconds"][:4].tolist() == [0, 0.5, 0, 0.5]


def test_embed_with_a_readout(shared, music, tmp_path):
    options = ["--frame_pooling=mean_std", "--layers=log_mel,last"]
    code, _, errors = call("embed", music, *shared[::2], f"--out={tmp_path / 'e.npz'}", *options)
    assert code == 0, errors
    with np.load(tmp_path / "e.npz") as content:
        assert content["embeddings"].shape == (40, 2 * (32 + 256))
    assert read_metadata(tmp_path / "e.npz")["readout"] == {"frame_pooling": "mean_std", "layers": ["log_mel", "last"]}


def test_probe_reads_the_layers_of_encoder_and_baseline(shared, cache, tmp_path):
    options = ["--labels=pitch", "--methods=prototypes,weighted_layers", "--layers=all", "--frame_pooling=max"]
    code, _, errors = call("probe", *shared, cache, *options, f"--out={tmp_path / 'p'}")
    assert code == 0, errors
    content = report(tmp_path / "p")
    expected = {"frame_pooling": "max", "layers": "all"}
    assert content["provenance"]["readouts"] == {"random encoder": expected, "this encoder": expected}
    scored = {(r["model"], r["method"]) for r in content["records"]}
    assert {("random encoder", "weighted_layers"), ("log-mel statistics", "weighted_layers")} <= scored


def test_retrieval_depends_on_the_readout(shared, tmp_path):
    folder, cache = tmp_path, f"--cache={tmp_path}"
    assert call("retrieval", *shared, cache, "--labels=pitch")[0] == 0
    default = set(folder.rglob("*.np[yz]"))
    assert call("retrieval", *shared, cache, "--labels=pitch", "--layers=log_mel")[0] == 0
    widths = {path: np.load(path).shape[1] for path in folder.rglob("*.npy")}
    assert default
    assert {width for path, width in widths.items() if path not in default} == {32}
    assert 32 not in {width for path, width in widths.items() if path in default}


def test_a_model_by_import_path(music, tmp_path, monkeypatch):
    (tmp_path / "brought_model.py").write_text(
        "import torch\nfrom ssc_toolkit.evaluation import as_model\n"
        "def make():\n    return as_model(lambda x: torch.fft.rfft(x).abs()[:, :300], 16000, window_seconds=0.5)\n"
    )
    monkeypatch.chdir(tmp_path)
    code, out, errors = call(
        "probe",
        "--encoder=brought_model:make",
        "--allow_code",
        f"--tracks={music / 'my.csv'}",
        "--labels=pitch",
        "--out=p",
    )
    assert code == 0, errors
    assert "random encoder" in out
    assert report(tmp_path / "p")["provenance"]["encoder"] == "brought_model:make"
    (tmp_path / "broken_model.py").write_text("def make():\n    return 1 / 0\n")
    code, _, errors = call("embed", music, "--encoder=broken_model:make", "--allow_code", "--out=e.npz")
    assert code == 2
    assert "to return a model, got ZeroDivisionError: division by zero (broken_model.py, line 2)\n" in errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["probe", "--labels=pitch", "--methods=forest"], "methods: expected some of linear"),
        (["probe", "--labels=pitch", "--label_fractions=0"], "label_fractions: expected a fraction above 0"),
        (
            ["probe", "--labels=pitch", "--label_fractions=0.05"],
            "expected at least two classes, got fewer in 0.05 of 20 labeled training tracks",
        ),
        (
            ["probe", "--labels=hertz", "--numbers=hertz", "--methods=prototypes"],
            "prototypes expected classes, got numbers",
        ),
        (["probe", "--labels=pitch", "--folds=4"], "splits: expected the names of the splits to cross-validate"),
        (["probe", "--labels=pitch", "--folds=4", "--splits=dev"], "splits: expected some of test, train, valid, got"),
        (["probe", "--labels=pitch", "--folds=6", "--splits=train"], "folds: expected at most 5, the number of groups"),
        (
            ["probe", "--labels=pitch", "--folds=four"],
            "folds: expected an integer written in digits or 'groups', got four;",
        ),
        (["probe", "--labels=pitch", "--window_seconds=x"], "window_seconds: expected a number, got x;"),
        (["probe", "--labels=pitch", "--group_by=group"], "group_by: expected folds to use it with"),
        (
            ["probe", "--labels=pitch", "--folds=4", "--splits=test,train", "--group_by=nothing"],
            "group_by: expected a group in column 'nothing' for each labeled track, got none for 30 of 30",
        ),
        (
            ["probe", "--labels=group", "--folds=4", "--splits=train", "--group_by=group"],
            "expected each class of column 'group' in at least two groups",
        ),
        (["probe", "--labels=pitch", "--folds=4", "--methods=finetune"], "finetune expected a table with splits"),
        (["probe", "--labels=pitch", "--repeats=0"], "repeats: expected an integer of at least 1"),
        (["probe", "--labels=pitch", "--numbers=hertz"], "numbers: expected names from labels (pitch), got hertz"),
        (["probe", "--labels=pitch", "--numbers=pitch"], "expected numbers in column 'pitch', got"),
        (["robustness", "--labels=pitch", "--methods=finetune"], "methods: expected some of linear"),
        (["robustness", "--labels=pitch", "--severities=0"], "at least one above 0"),
        (["retrieval", "--labels=pitch", "--cutoffs=0"], "cutoffs: expected an integer of at least 1"),
        (["retrieval", "--labels=pitch", "--database=nowhere"], "there is no file or folder nowhere"),
        (["retrieval", "--labels=pitch", "--database_root=x"], "did you mean --database.root?"),
        (["retrieval", "--labels=pitch", "--database.root=x"], "database.root: expected database.tracks as well"),
        (["embed", "--out=e.txt"], ".npz or .parquet"),
        (["embed", "--out=e.npz", "--frame_pooling=mean+std"], "frame_pooling: expected one of"),
        (["probe", "--labels=pitch", "--layers=conv1"], "layers: expected last, all or names of layers of MelCNN"),
        (["robustness", "--labels=pitch", "--layers=all,last"], "layers: expected last, all or a list of different"),
        (["retrieval", "--labels=pitch", "--layers=last,last"], "layers: expected last, all or a list of different"),
        (["probe", "--labels=pitch", "--methods=weighted_layers"], "weighted_layers expected several layers"),
        (
            ["probe", "--labels=pitch", "--window_seconds=0.1"],
            "window_seconds: expected at least 0.13 s for the random encoder, got 0.1",
        ),
    ],
)
def test_invalid_arguments_give_one_line_errors(shared, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, errors = call(arguments[0], *shared, *arguments[1:])
    assert code == 2, errors
    assert words in errors
    assert not list(tmp_path.iterdir())


def test_a_single_class_of_usable_training_tracks_is_one_line(shared, music, tmp_path, caplog):
    soundfile.write(tmp_path / "short.wav", np.zeros(RATE // 5), RATE)
    table = pd.read_csv(music / "my.csv").iloc[[0, 2, 20, 21, 30, 31]]
    table["path"] = [str(music / path) for path in table["path"]]
    table["key"] = ["C:maj", "X", "Am", "Am", "C:maj", "Am"]
    high = {"path": "short.wav", "split": "train", "pitch": "high"}
    pd.concat([table, pd.DataFrame([high])]).to_csv(tmp_path / "t.csv", index=False)
    options = [*shared[::2], f"--tracks={tmp_path / 't.csv'}", "--labels=key,pitch", f"--cache={tmp_path / 'cache'}"]
    code, _, errors = call("probe", *options, "--max_unusable=0.5")
    assert code == 2
    assert "labels: expected at least two classes of column 'pitch' in the training set" in errors
    assert not list(tmp_path.glob("cache/*"))
    assert "no weighted key score for column 'key': 'X' is not a key" in caplog.text


@pytest.mark.parametrize("command", ["probe", "retrieval", "robustness", "frames", "compare"])
def test_no_command_replaces_notes_of_the_user(shared, music, tmp_path, monkeypatch, command):
    monkeypatch.setattr("ssc_toolkit.commands.inputs.check_audio", None)
    (tmp_path / "report.md").write_text("My notes\n")
    encoder = shared[0].replace("--encoder", "--encoders") if command == "compare" else shared[0]
    task = ["--task=beats", f"--annotations={music / 'my.csv'}"] if command == "frames" else ["--labels=pitch"]
    code, _, errors = call(command, encoder, *shared[1:], *task, f"--out={tmp_path}")
    assert code == 2
    assert "report.md, got another file" in errors
    assert (tmp_path / "report.md").read_text() == "My notes\n"
    assert {path.name for path in tmp_path.iterdir()} <= {"report.md", ".lock"}


@pytest.mark.parametrize("name", ["n.npz", "n.parquet"])
def test_a_file_of_embeddings_is_not_a_track_table(shared, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    code, _, errors = call("probe", shared[0], f"--tracks={tmp_path / name}", "--labels=pitch")
    assert code == 2
    assert "tracks: expected a CSV file or a folder of audio, got" in errors
    assert "a file of embeddings as `embed` writes it" in errors
