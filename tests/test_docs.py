"""The documentation is complete and true: pages, options, keys and defaults, links, commands that parse."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import yaml
from click.testing import CliRunner
from pydantic import BaseModel

from edgeprune.cli import main
from edgeprune.config.recipe import Criterion, Recipe, load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.backend import known_schemes
from edgeprune.core.errors import EdgepruneError

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for place in ("*.md", "docs/*.md", "docs/development/*.md", "docker/*.md", "calib/*/*.md")
    for page in ROOT.glob(place)
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def _commands(group: click.Group = main, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], click.Command]:
    """Return every command by its words, groups among them."""
    found: dict[tuple[str, ...], click.Command] = {}
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        assert command is not None
        found[(*path, name)] = command
        if isinstance(command, click.Group):
            found |= _commands(command, (*path, name))
    return found


COMMANDS = _commands()
every_command = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


def _options(command: click.Command) -> list[click.Option]:
    return [param for param in command.params if isinstance(param, click.Option)]


def _blocks(page: Path, language: str) -> list[str]:
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for found_language, text in found if found_language == language]


def _shell_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of each simple command in the page's shell blocks; pipes and lists are taken apart."""
    for block in _blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
            lexer.whitespace_split = True
            words: list[str] = []
            for word in [*lexer, ";"]:
                if word and set(word) <= set("|&;"):
                    if words:
                        yield words
                    words = []
                else:
                    words.append(word)


def _rows(page: Path) -> dict[str, str]:
    """Return the second cell by the first of table rows that begin with code: a key and its default."""
    row = re.compile(r"^\| `([^`]+)` \| ([^|]*) \|", re.MULTILINE)
    return dict(row.findall(page.read_text(encoding="utf-8")))


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    prose = FENCE.sub("", page.read_text(encoding="utf-8"))
    heads = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each dotted key with its default as YAML would read it, "required" where there is none."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            default = "required" if field.is_required() else field.default
            yield f"{prefix}{name}", list(default) if isinstance(default, tuple) else default


@every_command
def test_every_command_and_option_has_help(words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    assert command.help
    assert not [option.opts for option in _options(command) if not option.help]


@every_command
def test_every_command_has_a_page_with_all_its_options(words: tuple[str, ...]) -> None:
    text = (DOCS / f"{words[0]}.md").read_text(encoding="utf-8")
    assert f"edgeprune {' '.join(words)}" in text
    assert not [opt for option in _options(COMMANDS[words]) for opt in option.opts if f"`{opt}" not in text]


def test_the_readme_links_every_page_of_the_docs() -> None:
    linked = set(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= linked


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        place = page.parent / file if file else page
        assert place.exists(), f"{page}: {link}"
        assert not anchor or anchor in _anchors(place), f"{page}: {link}"


def test_code_names_only_pages_that_exist() -> None:
    sources = [*(ROOT / "toolchain").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    named = {
        (source.relative_to(ROOT).as_posix(), found)
        for source in sources
        for found in re.findall(r"\bdocs/[\w-]+\.md", source.read_text(encoding="utf-8"))
    }
    assert not {(source, found) for source, found in named if not (ROOT / found).exists()}


def test_the_keys_of_a_recipe_are_documented_with_their_defaults() -> None:
    shown = {key: yaml.safe_load(default) for key, default in _rows(DOCS / "recipes.md").items()}
    keys = dict(_keys(Recipe))
    assert {key: shown.get(key, "missing") for key in keys} == keys
    assert {key for key in shown if "." in key} <= keys.keys()
    assert shown.keys() >= set(get_args(Criterion))


def test_the_keys_of_a_profile_are_documented_with_their_defaults() -> None:
    shown = {key: yaml.safe_load(default) for key, default in _rows(DOCS / "targets.md").items()}
    keys = {key: default for key, default in _keys(DeviceProfile) if key != "name"}
    assert {key: shown.get(key, "missing") for key in keys} == keys


def test_every_scheme_is_documented() -> None:
    assert _rows(DOCS / "int8.md").keys() >= set(known_schemes())


def test_the_readme_lists_every_exit_code() -> None:
    def tree(kind: type[EdgepruneError]) -> Iterator[int]:
        yield kind.exit_code
        for child in kind.__subclasses__():
            yield from tree(child)

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    assert shown == {0, 1, 2} | set(tree(EdgepruneError))


def test_the_yaml_examples_are_sound(tmp_path: Path) -> None:
    for block in _blocks(DOCS / "recipes.md", "yaml"):
        Recipe.model_validate(yaml.safe_load(block))
    for block in _blocks(DOCS / "targets.md", "yaml"):
        path = tmp_path / "example.yaml"
        path.write_text(block, encoding="utf-8")
        assert resolve_targets((str(path),), "x86_64")


@every_page
def test_the_commands_shown_parse(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `edgeprune ...` line goes through click, with commands that do nothing but read `--set`."""

    def nothing(*_: object, assignments: tuple[str, ...] = (), **options: object) -> None:
        load_recipe(None, assignments, prune__criterion=options.get("criterion"))

    for command in COMMANDS.values():
        monkeypatch.setattr(command, "callback", nothing)
    for words in _shell_lines(page):
        if Path(words[0]).name == "edgeprune":
            ended = CliRunner().invoke(main, words[1:])
            assert ended.exit_code == 0, f"{page}: {shlex.join(words)}\n{ended.output}"


@every_page
def test_the_make_targets_shown_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    known |= set(re.findall(r"^\w+ := \$\(VENV\)/(installed[\w-]*)", makefile, re.MULTILINE))
    for words in _shell_lines(page):
        if words[0] == "make":
            assert {word.removeprefix(".venv/") for word in words[1:]} <= known, shlex.join(words)


def test_the_examples_are_found() -> None:
    """Otherwise the tests above would pass on nothing."""
    lines = [words for page in PAGES for words in _shell_lines(page)]
    shown = {words[1] for words in lines if Path(words[0]).name == "edgeprune"}
    assert shown >= {words[0] for words in COMMANDS}
    assert ["make", "demo"] in lines and ["make", "test"] in lines
