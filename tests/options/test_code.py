"""Code that options name is run only if the user allows it on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from command_calls import call

from ssc_toolkit.cli import COMMANDS
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import open_model
from ssc_toolkit.options import ProbeOptions
from ssc_toolkit.options.code import CodeOptions, call_code, check_code, import_code
from ssc_toolkit.options.parsing import CommandLine, parse_mapping
from ssc_toolkit.options.schema import Schema

MARK = "import pathlib\npathlib.Path(__file__).with_name('marker').touch()\n"
CODE_COMMANDS = {
    "probe": ("encoder", {"labels": ["key"]}),
    "robustness": ("encoder", {"labels": ["key"]}),
    "retrieval": ("encoder", {"labels": ["key"]}),
    "frames": ("encoder", {"task": "beats"}),
    "compare": ("encoders", {"labels": ["key"], "out": "report"}),
    "embed": ("encoder", {"tracks": "scores", "out": "a.npz"}),
    "tag": ("model", {"tracks": "scores", "out": "a.csv"}),
}


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Working folder with a module that creates a file when it is imported, and another when it is called."""
    code = "def make(*args, **options):\n    pathlib.Path(__file__).with_name('called').touch()\n"
    (tmp_path / "planted.py").write_text(MARK + code)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ran(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("marker", "called"))


def typed(options: dict[str, object]) -> list[str]:
    return [f"--{name}={','.join(value) if isinstance(value, list) else value}" for name, value in options.items()]


def test_commands_that_take_code_are_these():
    assert {name for name, (kind, _) in COMMANDS.items() if issubclass(kind, CodeOptions)} == CODE_COMMANDS.keys()


@pytest.mark.parametrize("name", CODE_COMMANDS)
@pytest.mark.parametrize("source", ["planted:make", "os:system", "planted:absent", "a.b:c"])
@pytest.mark.parametrize("is_in_config", [False, True])
def test_code_needs_permission(hostile, name, source, is_in_config):
    argument, others = CODE_COMMANDS[name]
    options = {**others, argument: [source] if argument == "encoders" else source}
    (hostile / "config.yaml").write_text(yaml.safe_dump(options))
    result = call(name, *(["--config=config.yaml"] if is_in_config else typed(options)))
    assert result.returncode == 2
    assert f"{argument}: expected --allow_code with {source}" in result.stderr
    assert not ran(hostile)


@pytest.mark.parametrize("name", CODE_COMMANDS)
def test_a_config_cannot_give_permission(hostile, name):
    argument, others = CODE_COMMANDS[name]
    source = ["planted:make"] if argument == "encoders" else "planted:make"
    for value in ("true", "'true'", "1", "yes", "[true]"):
        text = yaml.safe_dump({**others, argument: source}) + f"allow_code: {value}\n"
        (hostile / "config.yaml").write_text(text)
        result = call(name, "--config=config.yaml")
        assert result.returncode == 2
        assert "allow_code: expected --allow_code on the command line" in result.stderr
    assert not ran(hostile)
    kind = COMMANDS[name][0]
    with pytest.raises(InputError, match="allow_code: expected --allow_code on the command line"):
        parse_mapping(kind, {**others, argument: source, "allow_code": True})
    assert not parse_mapping(kind, {"tracks": "scores", **others, argument: source, "allow_code": False}).allow_code


@pytest.mark.parametrize(
    ("arguments", "is_allowed"),
    [
        ([], False),
        (["--allow_code"], True),
        (["--allow_code=true"], True),
        (["--allow_code", "true"], True),
        (["--allow_code", "--allow_code=false"], False),
    ],
)
def test_permission_is_typed(arguments, is_allowed):
    options = CommandLine(ProbeOptions, ["--encoder=a:b", "--labels=key", *arguments]).options
    assert options.allow_code is is_allowed


def test_permission_is_true_or_false():
    with pytest.raises(InputError, match="allow_code: expected true or false, got maybe"):
        CommandLine(ProbeOptions, ["--encoder=a:b", "--labels=key", "--allow_code=maybe"])


@pytest.mark.parametrize("kind", [kind for kind, _ in COMMANDS.values()])
def test_printed_configs_hold_no_permission(kind):
    assert "allow_code" not in Schema(kind).options


def test_permission_runs_the_code(hostile):
    (hostile / "models.py").write_text(
        "from ssc_toolkit.evaluation import as_model\ndef make():\n    return as_model(lambda x: x[:, :10], 8000)\n"
    )
    assert open_model("models:make", allow_code=True).sample_rate == 8000
    with pytest.raises(InputError, match="encoder: expected --allow_code with models:make"):
        open_model("models:make")


@pytest.mark.parametrize("allowed", [False, None, 1, "true"])
def test_only_true_is_permission(hostile, allowed):
    for function in (import_code, call_code, check_code):
        with pytest.raises(InputError, match="target: expected --allow_code with planted:make"):
            function("target", "planted:make", allowed)
    assert not ran(hostile)


@pytest.mark.parametrize("source", ["planted", "planted.make", "../planted:make", "planted:make()", ":make", "a..b:c"])
def test_code_has_one_form(hostile, source):
    with pytest.raises(InputError, match="target: expected module:name, got"):
        import_code("target", source, True)
    assert not ran(hostile)


def test_the_working_folder_replaces_no_module(hostile):
    for name in ("colorsys", "math"):  # one from a file, and one that is always loaded
        (hostile / f"{name}.py").write_text(MARK)
    (hostile / "wanted.py").write_text("import colorsys\nHUE = colorsys.rgb_to_hsv(1, 0, 0)\n")
    assert call_code("target", "colorsys:rgb_to_hsv", True, r=1, g=0, b=0) == (0, 1, 1)
    assert import_code("target", "wanted:HUE", True) == (0, 1, 1)
    assert not ran(hostile)


def test_allowed_code_imports_its_neighbors(hostile):
    (hostile / "neighbor_one.py").write_text("ONE = 1\n")
    (hostile / "imports_late.py").write_text("def make():\n    import neighbor_one\n    return neighbor_one.ONE\n")
    assert call_code("target", "imports_late:make", True) == 1
