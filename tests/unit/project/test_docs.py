"""README and docs are true: links lead somewhere, commands and options exist, messages are those of the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest
from chaos.__main__ import main as chaos

from support.paths import ROOT
from ultralytics_wb_ddp.cli.main import COMMANDS, main
from ultralytics_wb_ddp.config.options import WandbConfig

PACKAGE = ROOT / "ultralytics_wb_ddp"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "patches/README.md", *sorted(ROOT.glob("docs/*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
README = PAGES[0].read_text(encoding="utf-8")
OTHERS_OPTIONS = {"--node_rank", "--master_port", "--cpu"}  # torchrun's, and of the examples


def anchors(page: Path) -> set[str]:
    """Return the places in a page that a link can name, as GitHub makes them of its headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_readme_leads_to_every_page() -> None:
    assert [page for page in NAMES if page.startswith("docs/") and f"]({page}" not in README] == []


def test_files_that_are_named_exist() -> None:
    named = set(re.findall(r"(?<![\w/.])(?:scripts|examples|benchmarks|tests|docs|patches)/[\w/]+(?:\.\w+)?", TEXT))

    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def command_of(*names: str) -> click.Command:
    command: click.Command = main
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found, f"there is no command {' '.join(names)}"
        command = found
    return command


def options_of(command: click.Command) -> set[str]:
    parameters = command.params
    named = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
    return {"--help", "--version", *named}


def command_lines() -> Iterator[list[str]]:
    """Yield the words of each call of the command in the pages, without its name."""
    yield from (line.split() for line in re.findall(r"^ultralytics-wb-ddp (.+?)(?:  .*)?$", TEXT, re.MULTILINE))
    for code in re.findall(r"`([^`\n]+)`", TEXT):
        words = code.split()
        if words[0] == "ultralytics-wb-ddp" and words[1:]:
            yield words[1:]
        elif words[0] in COMMANDS and len(words) > 1:
            yield words


def test_commands_and_options_that_are_named_exist() -> None:
    lines = list(command_lines())

    assert {line[0] for line in lines} == set(COMMANDS)
    for name, *words in lines:
        command = command_of(name)
        if isinstance(command, click.Group) and words:
            command = command_of(name, words.pop(0))
        own = words[: words.index("--")] if "--" in words else words  # the others are of the command that it runs
        assert {word for word in own if word.startswith("--")} <= options_of(command), (name, words)


def test_options_that_stand_alone_are_of_some_command() -> None:
    known = set().union(OTHERS_OPTIONS, *(options_of(command_of(name)) for name in COMMANDS))
    known |= options_of(command_of("patch", "status")) | options_of(chaos)

    assert {option for option in re.findall(r"`(--[\w-]+)", TEXT) if option not in known} == set()


def test_table_of_commands_says_what_their_help_says() -> None:
    rows = re.findall(r"^\| `ultralytics-wb-ddp ([\w-]+)` \| (.*) \|$", README, re.MULTILINE)
    helps = {name: (command_of(name).help or "").split("\n\n")[0].replace("\n", " ") for name in COMMANDS}

    assert rows == list(helps.items())


def test_every_setting_is_described_with_its_default() -> None:
    settings = (ROOT / "docs/settings.md").read_text(encoding="utf-8")

    assert [field.name for field in fields(WandbConfig) if f"`{field.name}`" not in settings] == []
    defaults = {field.name: shown(field.default) for field in fields(WandbConfig)}
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", settings[: settings.index("## Of the processes")], re.MULTILINE))
    assert len(rows) > 10
    assert rows == {name: defaults[name] for name in rows}


def shown(default: object) -> str:
    """Return a default as the tables show it."""
    if default is None or isinstance(default, bool):
        return f"`{default}`"
    return f'`"{default}"`' if isinstance(default, str) else f"{default:g}"


def texts(code: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, with "…" where a value is put in, by an f-string or by the logger."""
    for node in ast.walk(code):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%(s|d|g|\.\d+f)", "…", node.value)


def test_messages_are_those_of_the_code() -> None:
    section = README[README.index("### What the messages mean") : README.index("## Limits")]
    quoted = [
        message
        for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        for message in re.findall(r"`(.*?)`", row)
    ]
    known = [text for file in PACKAGE.rglob("*.py") for text in texts(ast.parse(file.read_text(encoding="utf-8")))]

    assert len(quoted) > 20
    assert [message for message in quoted if not any(message in text for text in known)] == []
