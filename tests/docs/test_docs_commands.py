"""The commands of every page run, in order, in a folder that has what the page speaks of, on a small scale."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from audio_files import write_noise
from mutagen import id3
from mutagen.wave import WAVE
from pages import PAGES, ROOT, Block, blocks, name_of, pages_with

from ssc_toolkit.cli import COMMANDS, main
from ssc_toolkit.encoders import MelCNN

SMALL = {
    "pretrain": ("--steps=2", "--batch_size=4"),
    "robustness": ("--severities=1",),
    "corpus": ("--clips=80",),
    "table": ("--overwrite",),  # a page writes my.csv, which is there for the other pages
}
"""What is typed behind a command to make it quick, where the page does not say otherwise."""
SMALLER = {"--steps": "4", "--repeats": "2", "--label_fractions": "0.2,1"}
"""Values typed in the place of a page's, which would take long, or need more clips than there are here."""
ELSEWHERE = {"demo": "test_demo.py", "compare": "test_compare.py", "sweep": "test_sweep.py"}
"""Commands that have tests of their own, too long to be run for every page; their options are looked at."""
BY_HAND = {"git", "cd", "pre-commit"}
"""Programs that are not ours, and that neither the tests nor .ci/run start."""
READS_CORPUS = {"probe", "robustness", "retrieval", "compare", "frames"}
"""Commands that read the default corpus where they are not given tracks."""


@pytest.fixture
def world(small_corpus, tmp_path, monkeypatch) -> Path:
    """A folder with music, a table of it that fits with and without --root=audio/, encoders, and the configs."""
    rows = ["path,genre,artist,split"]
    (tmp_path / "my_music").symlink_to(tmp_path / "audio")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    for number in range(24):
        file = write_noise(tmp_path / "audio" / f"{number}.wav", 3.1, 16000, 1, seed=number)
        (tmp_path / file.name).symlink_to(file)
        genre, artist = ("jazz", "rock")[number % 2], f"artist {number // 2 % 6}"
        write_tags(file, genre, artist)
        rows.append(f"{file.name},{genre},{artist},{('train', 'train', 'valid', 'test')[number // 2 % 4]}")
    (tmp_path / "my.csv").write_text("\n".join(rows) + "\n")
    for name in ("demo/self-supervised", "demo/semi-supervised"):
        MelCNN().save_pretrained(tmp_path / name / "encoder")
    (tmp_path / "my_module.py").write_text("from ssc_toolkit.encoders import MelCNN as make_model\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(small_corpus.parents[1]))
    return tmp_path


def write_tags(path: Path, genre: str, artist: str) -> None:
    file = WAVE(path)
    file.add_tags()
    file.tags.add(id3.TCON(text=genre))
    file.tags.add(id3.TPE1(text=artist))
    file.save()


class Command(NamedTuple):
    """The words of a command, and the file that its output goes to, if it goes to one."""

    words: list[str]
    output: str | None

    @property
    def program(self) -> str:
        """What it starts: the module after python -m, a script by its path."""
        name = Path(self.words[0]).name
        if not name.startswith("python"):
            return name
        return self.words[2] if self.words[1] == "-m" else self.words[1]

    @property
    def options(self) -> list[str]:
        return re.findall(r"--[\w.]+", " ".join(self.words))


def commands(block: Block) -> list[Command]:
    """The commands of a block."""
    found = []
    for part in (part for line in block.code.splitlines() for part in line.split("&&")):
        command, _, output = part.partition(" > ")
        if words := shlex.split(command, comments=True):
            found.append(Command(words, output.strip() or None))
    return found


@cache
def help_text(command: str) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main([command, "--help"])
    return text.getvalue()


def run(command: Command, corpus: Path) -> str:
    """Run one of our commands; what it printed."""
    name, *given = command.words[1:]
    options = [
        f"{option}={SMALLER[option]}" if option in SMALLER else word
        for word, option in ((word, word.split("=")[0]) for word in given)
    ]
    for option in SMALL.get(name, ()):
        if option.split("=")[0] not in command.options:
            options.append(option)
    reads_corpus = name in READS_CORPUS or any(word.startswith("--config=configs/corpus/") for word in given)
    if reads_corpus and "--tracks" not in command.options:
        options.append(f"--tracks={corpus / 'tracks.csv'}")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            status = main([name, *options])
        except SystemExit as end:  # --print_config
            status = int(end.code or 0)
    assert status == 0, command.words
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("bash"), ids=name_of)
def test_the_commands_of_a_page_run(page, world, small_corpus):
    for block in (block for block in blocks(page, "bash") if block.needs is None):
        for command in commands(block):
            if command.program != "ssc-toolkit":
                check_program(command)
            elif command.words[1] != "--help":
                assert command.words[1] in COMMANDS
                assert all(is_option_of(option, command.words[1]) for option in command.options), command.words
                if command.words[1] in ELSEWHERE:
                    assert list((ROOT / "tests").rglob(ELSEWHERE[command.words[1]]))
                    continue
                printed = run(command, small_corpus)
                if command.output:
                    (world / command.output).write_text(printed)


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.needs for b in blocks(page, "bash"))], ids=name_of)
def test_marked_commands_have_valid_options(page):
    for block in (block for block in blocks(page, "bash") if block.needs):
        for command in commands(block):
            if command.program != "ssc-toolkit":
                check_program(command)
            else:
                assert all(is_option_of(option, command.words[1]) for option in command.options), command.words


def is_option_of(option: str, command: str) -> bool:
    """Whether a command has an option; those of a study are options of the training."""
    if option.startswith("--options."):
        command, option = "pretrain", option.replace("options.", "")
    return re.search(rf"^ +{option}\b", help_text(command), flags=re.M) is not None


def check_program(command: Command) -> None:
    """What is not a command of ours is an example of ours, a step of .ci/run, or known to be neither."""
    scripts = [word for word in command.words if word.startswith("examples/")]
    if scripts:
        source = (ROOT / scripts[0]).read_text()
        typed = re.findall(r"--\w+", " ".join(command.words[command.words.index(scripts[0]) :]))
        assert all(f'"{option}"' in source for option in typed), command.words
    elif command.program.endswith(".py"):
        assert (ROOT / command.program).exists()
    else:
        assert command.program in BY_HAND or command.program in (ROOT / ".ci" / "run").read_text(), command.words
