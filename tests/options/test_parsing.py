"""The forms in which options are written, and the errors about them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import yaml

from ssc_toolkit.cli import COMMANDS
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import (
    CompareOptions,
    CorpusOptions,
    DoctorOptions,
    EmbedOptions,
    EncoderOptions,
    ExportOptions,
    PrepareOptions,
    PretrainOptions,
    ProbeOptions,
    RetrievalOptions,
    SweepOptions,
    TrackSource,
    UnlabeledSource,
)
from ssc_toolkit.options.parsing import CommandLine, parse_mapping
from ssc_toolkit.options.schema import Options, Schema

NEEDED = ["--tracks=scores", "--out=runs/a"]
REQUIRED = {
    "pretrain": NEEDED,
    "sweep": ["study.yaml", "--out=runs"],
    "probe": ["--encoder=e", "--labels=key"],
    "robustness": ["--encoder=e", "--labels=key"],
    "retrieval": ["--encoder=e", "--labels=key"],
    "frames": ["--encoder=e", "--task=beats"],
    "compare": ["--encoders=e,f", "--labels=key", "--out=o"],
    "embed": ["music", "--encoder=e", "--out=a.npz"],
    "export": ["run", "--out=e"],
    "table": ["music", "--out=my.csv"],
    "tag": ["music", "--model=MTT_musicnn", "--out=my.csv"],
}


def parse_command(kind: type[Options], arguments: list[str]) -> Options:
    return CommandLine(kind, arguments).options


def pretraining(*arguments: str) -> PretrainOptions:
    return parse_command(PretrainOptions, [*NEEDED, *arguments])


def printed(kind: type, *arguments: str) -> str:
    """Text of --print_config."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as status:
        parse_command(kind, [*arguments, "--print_config"])
    assert status.value.code == 0
    return text.getvalue()


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        (["--labels=key"], "label_columns", ("key",)),
        (["--labels=key,family"], "labels", ("key", "family")),
        (["--labels", "key,family"], "labels", ("key", "family")),
        (["--labels=[key, family]"], "labels", ("key", "family")),
        (["--labels=null"], "labels", None),
        (["--labels=007,yes"], "labels", ("007", "yes")),
        (["--omit=pitch_shift,delay"], "omit", ("pitch_shift", "delay")),
        (["--steps=3"], "steps", 3),
        (["--steps", "3"], "steps", 3),
        (["--learning_rate=1e-4"], "learning_rate", 1e-4),
        (["--title=--x"], "title", "--x"),
        (["--title=a=b"], "title", "a=b"),
        (["--variant=2024"], "variant", "2024"),
        (["--root=~/music"], "root", f"{Path.home()}/music"),
        (["--root", "~/music"], "root", f"{Path.home()}/music"),
        (["--root=a~/b"], "root", "a~/b"),
        (["--seed=1", "--seed=2"], "seed", 2),
        (["--unlabeled=music"], "unlabeled", UnlabeledSource(tracks="music")),
        (
            ["--unlabeled.tracks=fma", "--unlabeled.root=/fma", "--unlabeled.variant=small"],
            "unlabeled",
            UnlabeledSource(tracks="fma", root="/fma", variant="small"),
        ),
        (
            ["--unlabeled=fma", "--unlabeled.root=~/fma"],
            "unlabeled",
            UnlabeledSource(tracks="fma", root=f"{Path.home()}/fma"),
        ),
        (["--unlabeled.root=x", "--unlabeled=fma"], "unlabeled", UnlabeledSource(tracks="fma", root="x")),
        (["--labels=Gefühl,😀,a: b"], "labels", ("Gefühl", "😀", "a: b")),
        (["--unlabeled=null"], "unlabeled", None),
        ([], "encoder", "MelCNN"),
        (["--encoder=SampleCNN"], "encoder", "SampleCNN"),
        (["--encoder", "SampleCNN"], "encoder", "SampleCNN"),
        (["--encoder.name=SampleCNN"], "encoder", "SampleCNN"),
        (["--encoder.max_hz=8000"], "encoder", EncoderOptions(max_hz=8000.0)),
        (["--encoder=MelCNN", "--encoder.max_hz=8000"], "encoder", EncoderOptions(max_hz=8000.0)),
        (["--encoder.n_mels=64", "--encoder=MelCNN"], "encoder", EncoderOptions(n_mels=64)),
        (["--encoder=SampleCNN", "--encoder.strides=3,3"], "encoder", EncoderOptions(name="SampleCNN", strides=(3, 3))),
        (
            ["--encoder=ShortChunkCNN", "--encoder.residual=true"],
            "encoder",
            EncoderOptions(name="ShortChunkCNN", residual=True),
        ),
    ],
)
def test_forms_of_values(arguments, name, value):
    assert getattr(pretraining(*arguments), name) == value


@pytest.mark.parametrize(
    "flag", [["--describe"], ["--describe=true"], ["--describe", "true"], ["--describe", "--strict"]]
)
def test_flags_need_no_value(flag):
    assert parse_command(PrepareOptions, flag).describe
    assert not parse_command(PrepareOptions, ["--describe=false"]).describe
    assert parse_command(PretrainOptions, [*NEEDED, "--trainer.compile"]).trainer.compile


def test_lists_of_numbers():
    options = parse_command(ProbeOptions, [*REQUIRED["probe"], "--label_fractions=0.1,1", "--repeats=2"])
    assert (options.label_fractions, options.repeats) == ((0.1, 1.0), 2)
    assert parse_command(SweepOptions, [*REQUIRED["sweep"], "--seeds=0,1"]).seeds == (0, 1)


def test_home_folders_in_lists():
    home = Path.home()
    assert parse_command(DoctorOptions, ["--folders=~/a,~/b,c"]).folders == (f"{home}/a", f"{home}/b", "c")


def test_a_leading_path_is_the_tracks_or_the_study():
    assert parse_command(EmbedOptions, REQUIRED["embed"]).tracks == "music"
    assert parse_command(SweepOptions, REQUIRED["sweep"]).file == "study.yaml"
    assert parse_command(ExportOptions, REQUIRED["export"]).run == "run"


def test_a_number_or_a_word():
    assert pretraining("--learning_rate=auto").learning_rate == "auto"
    assert pretraining("--learning_rate=0.5").learning_rate == 0.5
    with pytest.raises(InputError, match="learning_rate: expected a number or 'auto', got fast"):
        pretraining("--learning_rate=fast")
    assert parse_command(ExportOptions, [*REQUIRED["export"], "--checkpoint=20"]).checkpoint == 20
    with pytest.raises(InputError, match="checkpoint: expected an integer written in digits or one of 'best', 'last'"):
        parse_command(ExportOptions, [*REQUIRED["export"], "--checkpoint=2.5"])


def test_options_of_a_study_are_those_of_pretrain():
    options = parse_command(
        SweepOptions,
        [*REQUIRED["sweep"], "--options.root=/data", "--options.trainer.devices=2", "--options.omit=delay"],
    )
    assert options.options == {"root": "/data", "trainer": {"devices": 2}, "omit": ["delay"]}
    assert parse_command(SweepOptions, [*REQUIRED["sweep"], "--options.logs.tensorboard=false"]).options == {
        "logs": {"tensorboard": False}
    }
    for argument in ("--options.stepz=3", "--options.trainer.device=3", "--options.class_path=os.system"):
        with pytest.raises(InputError, match="is not an option"):
            parse_command(SweepOptions, [*REQUIRED["sweep"], argument])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--stepz=3"], "--stepz is not an option; did you mean --steps?"),
        (["--step=3"], "did you mean --steps?"),
        (["--trainer.device=3"], "did you mean --trainer.devices?"),
        (["--monitor=val_loss"], "did you mean --validation.monitor?"),
        (["--patience=3"], "did you mean --validation.patience?"),
        (["--devices=3"], "did you mean --trainer.devices?"),
        (["--unlabeled_root=x"], "did you mean --unlabeled.root?"),
        (["--confg=x"], "did you mean --config?"),
        (["--wobble=3"], "--wobble is not an option; --help explains the options"),
        (["--trainer=x.yaml"], "--trainer is not an option"),
        (["--trainer.class_path=os.system"], "--trainer.class_path is not an option"),
        (["more"], "expected options as --name=value, got 'more'"),
        (["--steps"], "--steps is empty"),
        (["--steps="], "--steps is empty"),
        (["--steps=many"], "steps: expected an integer written in digits, got many"),
        (["--trainer.precision=8"], "trainer.precision: expected one of '32', 'bf16', 'fp16', 'auto', got 8"),
        (["--unlabeled.root=x"], "unlabeled.root: expected unlabeled.tracks as well, got none"),
        (["--encoder.max_herz=1"], "did you mean --encoder.max_hz?; encoder has the options name, sample_rate, n_mels"),
        (["--encoder.max_hz=high"], "encoder.max_hz: expected a number, got high"),
        (["--encoder.n_mels=9.5"], "encoder.n_mels: expected an integer written in digits, got 9.5"),
        (["--max_hz=8000"], "did you mean --encoder.max_hz?"),
    ],
)
def test_errors_name_the_option_and_the_nearest_one(arguments, words):
    with pytest.raises(InputError) as error:
        pretraining(*arguments)
    assert words in str(error.value)


def test_required_options_are_named():
    with pytest.raises(InputError, match="tracks, out: expected a value, got none"):
        parse_command(PretrainOptions, [])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_printed_config_gives_the_same_options(name, tmp_path):
    kind, _ = COMMANDS[name]
    arguments = REQUIRED.get(name, [])
    config = tmp_path / "config.yaml"
    config.write_text(printed(kind, *arguments))
    assert parse_command(kind, [f"--config={config}"]) == parse_command(kind, arguments)
    assert parse_mapping(kind, yaml.safe_load(config.read_text())) == parse_command(kind, arguments)


def test_options_override_a_config_wherever_it_stands(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("steps: 5\nseed: 4\nunlabeled: {tracks: fma, root: r, variant: small}\ntrainer: {devices: 2}\n")
    for arguments in (
        ["--config", str(config), "--steps=9", "--unlabeled=store", "--trainer.num_nodes=3"],
        ["--steps=9", "--unlabeled=store", "--trainer.num_nodes=3", f"--config={config}"],
    ):
        options = pretraining(*arguments)
        assert (options.steps, options.seed, options.unlabeled) == (9, 4, UnlabeledSource(tracks="store"))
        assert (options.trainer.devices, options.trainer.num_nodes) == (2, 3)
    assert pretraining(f"--config={config}", "--unlabeled.root=s").unlabeled == UnlabeledSource(
        tracks="fma", root="s", variant="small"
    )


def test_a_config_gives_the_encoder_in_each_form(tmp_path):
    for text, expected in {
        "encoder: SampleCNN": "SampleCNN",
        "encoder: {max_hz: 8000, n_mels: 64}": EncoderOptions(max_hz=8000.0, n_mels=64),
        "encoder: {name: TUNePlus, channels: 4}": EncoderOptions(name="TUNePlus", channels=4),
        "encoder.max_hz: 8000": EncoderOptions(max_hz=8000.0),
    }.items():
        (tmp_path / "c.yaml").write_text(text)
        assert pretraining(f"--config={tmp_path}/c.yaml").encoder == expected
        assert pretraining(f"--config={tmp_path}/c.yaml", "--encoder=SampleCNN").encoder == "SampleCNN"
        written = yaml.safe_load(printed(PretrainOptions, *NEEDED, f"--config={tmp_path}/c.yaml"))
        assert parse_mapping(PretrainOptions, written).encoder == expected


def test_a_study_sets_the_encoder_in_each_form():
    whole = parse_command(SweepOptions, [*REQUIRED["sweep"], "--options.encoder=SampleCNN"]).options
    assert parse_mapping(PretrainOptions, {"tracks": "a", "out": "b", **(whole or {})}).encoder == "SampleCNN"
    part = parse_command(SweepOptions, [*REQUIRED["sweep"], "--options.encoder.max_hz=8000"]).options
    assert part == {"encoder": {"max_hz": 8000.0}}
    source = parse_command(SweepOptions, [*REQUIRED["sweep"], "--options.unlabeled=music"]).options
    assert parse_mapping(PretrainOptions, {"tracks": "a", "out": "b", **(source or {})}).unlabeled == UnlabeledSource(
        tracks="music"
    )


def test_later_configs_override_earlier_ones(tmp_path):
    (tmp_path / "one.yaml").write_text("steps: 5\ntrainer.devices: 2\n")
    (tmp_path / "two.yaml").write_text("steps: 6\ntrainer: {num_nodes: 3}\n")
    options = pretraining(f"--config={tmp_path}/one.yaml", f"--config={tmp_path}/two.yaml")
    assert (options.steps, options.trainer.devices, options.trainer.num_nodes) == (6, 2, 3)


def test_configs_of_earlier_versions_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("unlabeled: fma\nunlabeled_root: /fma\nunlabeled_variant: small\n")
    assert pretraining(f"--config={tmp_path}/c.yaml").unlabeled == UnlabeledSource(
        tracks="fma", root="/fma", variant="small"
    )
    (tmp_path / "e.yaml").write_text("unlabeled_root: /fma\nunlabeled: fma\n")
    assert pretraining(f"--config={tmp_path}/e.yaml").unlabeled == UnlabeledSource(tracks="fma", root="/fma")
    (tmp_path / "d.yaml").write_text("unlabeled: null\nunlabeled_root: null\nunlabeled_variant: null\n")
    assert pretraining(f"--config={tmp_path}/d.yaml").unlabeled is None
    (tmp_path / "r.yaml").write_text("encoder: a:b\nlabels: [key]\ndatabase: gtzan\ndatabase_root: /gtzan\n")
    (tmp_path / "m.yaml").write_text("encoders: [a:b]\nlabels: [key]\nout: x\nclips: 3\n")
    assert CommandLine(CompareOptions, [f"--config={tmp_path}/m.yaml"]).options.audio_clips == 3
    (tmp_path / "n.yaml").write_text("clips: 50\n")
    assert CommandLine(CorpusOptions, [f"--config={tmp_path}/n.yaml"]).options.clips == 50
    ranked = CommandLine(RetrievalOptions, [f"--config={tmp_path}/r.yaml"]).options
    assert ranked.database == TrackSource(tracks="gtzan", root="/gtzan")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz: 3", "'stepz' is not an option; did you mean steps?"),
        ("trainer: {precison: bf16}", "'trainer.precison' is not an option; did you mean trainer.precision?"),
        ("steps: many", "steps: expected an integer"),
        ("trainer: 5", "trainer: expected options by name, got 5"),
        ("unlabeled: {root: x}", "unlabeled.root: expected unlabeled.tracks as well"),
        ("steps: 0", "steps: expected an integer of at least 1, got 0"),
        ("trainer: {devices: 0}", "trainer.devices: expected an integer of at least 1, got 0"),
        ("unlabeled: nowhere", "unlabeled: there is no file or folder nowhere"),
        ("labels: [key", "is not a YAML file of plain values (line 1, column 13: "),
        ("- a", "expected options by name, got list"),
        ("steps: 1\nsteps: 2", "the name 'steps' occurs twice"),
        ("trainer: {class_path: planted.Thing}", "'trainer.class_path' is not an option"),
        ("unlabeled: {class_path: planted.Thing, init_args: {}}", "'unlabeled.class_path' is not an option"),
        ("class_path: planted.Thing", "'class_path' is not an option"),
        ("seed: !!python/object/apply:planted.run []", "could not determine a constructor"),
        ("seed: !!python/name:planted.run", "could not determine a constructor"),
    ],
)
def test_a_config_names_its_file_and_runs_no_code(tmp_path, monkeypatch, text, words):
    (tmp_path / "planted.py").write_text("open('ran', 'w').close()\nclass Thing: pass\ndef run(): pass\n")
    (tmp_path / "config.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError) as error:
        CommandLine(PretrainOptions, [*NEEDED, "--config=config.yaml"]).check()
    assert "config.yaml" in str(error.value)
    assert "<unicode string>" not in str(error.value)
    assert words in str(error.value)
    assert not (tmp_path / "ran").exists()


def test_errors_of_other_options_name_no_config(tmp_path):
    (tmp_path / "config.yaml").write_text("steps: 0\nseed: 3\n")
    with pytest.raises(InputError, match=r"^views: expected"):
        CommandLine(PretrainOptions, [*NEEDED, f"--config={tmp_path}/config.yaml", "--steps=1", "--views=0"]).check()
    with pytest.raises(InputError, match=r"^steps: expected"):
        CommandLine(PretrainOptions, [*NEEDED, f"--config={tmp_path}/config.yaml", "--steps=-1"]).check()


@pytest.mark.parametrize(
    "options",
    [
        "{class_path: planted.Thing}",
        "{trainer: {class_path: planted.Thing, init_args: {}}}",
        "{unlabeled: {class_path: planted.Thing}}",
        "{labels: {class_path: planted.Thing}}",
        "{steps: !!python/name:planted.run }",
    ],
)
def test_the_config_of_a_study_runs_no_code(tmp_path, monkeypatch, options):
    (tmp_path / "planted.py").write_text("open('ran', 'w').close()\nclass Thing: pass\ndef run(): pass\n")
    (tmp_path / "config.yaml").write_text(f"{{file: study.yaml, out: out, options: {options}}}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=r"config: config\.yaml"):
        parse_command(SweepOptions, ["--config=config.yaml"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_described(name):
    for option in Schema(COMMANDS[name][0]).options.values():
        assert option.help, option.name
