"""JSON Schemas of config files: they agree with the parser."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from ssc_toolkit.cli import COMMANDS
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.json_schema import json_schema
from ssc_toolkit.options.parsing import CommandLine, parse_mapping

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "sweeps")
STUDIES = sorted((CONFIGS / "sweeps").glob("*.yaml"))
SCHEMAS = {name: json_schema(kind) for name, (kind, _) in COMMANDS.items()}


def accepts(content: object, name: str = "pretrain") -> bool:
    return jsonschema.Draft7Validator(SCHEMAS[name]).is_valid(content)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_prints_a_valid_schema(name):
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as status:
        CommandLine(COMMANDS[name][0], ["--print_schema"], f"ssc-toolkit {name}")
    found = json.loads(text.getvalue())
    assert status.value.code == 0
    assert found == {**SCHEMAS[name], "title": f"Config of ssc-toolkit {name}"}
    jsonschema.Draft7Validator.check_schema(found)
    assert all(option.get("description") for option in found["properties"].values())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(CONFIGS).as_posix())
def test_shipped_configs_are_valid(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), SCHEMAS["pretrain"])


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_runs_of_shipped_studies_are_valid(path):
    for changes in (yaml.safe_load(path.read_text()).get("runs") or {}).values():
        jsonschema.validate(changes or {}, SCHEMAS["pretrain"])


@pytest.mark.parametrize(
    "content",
    [
        {"stepz": 3},
        {"steps": "many"},
        {"steps": 2.5},
        {"loss": {"lable_weight": 0.2}},
        {"loss.lable_weight": 0.2},
        {"encoder": {"n_mels": "many"}},
        {"trainer": {"precision": "bf61"}},
        {"omit": [["delay"]]},
        {"unlabeled": {"track": "music"}},
        {"class_path": "os.system"},
    ],
)
def test_schema_and_parser_refuse_the_same(content):
    assert not accepts(content)
    with pytest.raises(InputError):
        parse_mapping(PretrainOptions, {"tracks": "scores", "out": "a", **content})


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"labels": "key"},
        {"labels": ["key", "family"]},
        {"labels": None},
        {"learning_rate": "auto"},
        {"learning_rate": 1},
        {"encoder": "SampleCNN"},
        {"encoder": {"max_hz": 8000}},
        {"encoder.max_hz": 8000},
        {"unlabeled": "music"},
        {"unlabeled": {"tracks": "fma", "root": "/fma"}},
        {"loss": {"label_weight": 0.5}, "trainer.devices": 2},
    ],
)
def test_schema_and_parser_accept_the_same(content):
    assert accepts(content)
    parse_mapping(PretrainOptions, {"tracks": "scores", "out": "a", **content})


def test_a_schema_holds_no_permission_for_code():
    assert not accepts({"encoder": "a:b", "allow_code": True}, "probe")
    assert accepts({"encoder": "a:b"}, "probe")
