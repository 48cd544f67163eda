"""The documents: links lead somewhere, what is made from the code is what the code gives."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from crater_model import __version__
from crater_model.cli import build_parser
from crater_model.importing.dataset import NAMES
from crater_model.mapping.write import SUFFIXES
from crater_model.settings import PRESETS, schema
from tests.test_rooms import ROOMS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"),
                *(ROOT / "benchmarks").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
VARIABLE = re.compile(r"CRATER_[A-Z_]+[A-Z]")
NO_VARIABLE = {"CRATER_ID"}  # a column of Robbins's catalogue

_spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def prose(page: Path) -> str:
    """A page's text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in addresses, as GitHub makes them."""
    found, seen = set(), Counter()
    for heading in re.findall(r"^#{1,6} +(.+)$", prose(page), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def documented_variables() -> set[str]:
    """The variables that a table of the documents has a row for."""
    rows = [line for page in PAGES for line in page.read_text().splitlines()
            if line.startswith("| `CRATER_")]
    return {name for row in rows for name in VARIABLE.findall(row.split("|")[1])}


def named_variables(*folders: str) -> set[str]:
    """The variables that Python files of these folders name as a text of its own."""
    return {node.value for folder in folders for path in (ROOT / folder).rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            and VARIABLE.fullmatch(node.value)} - NO_VARIABLE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    wrong = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            wrong.append(link)
    assert wrong == []


def test_every_page_is_reached_from_the_readme():
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            queue += [(page.parent / link.partition("#")[0]).resolve() for link in links(page)
                      if "#" != link[0] and not re.match(r"[a-z]+:", link)]
    assert set(PAGES) <= reached


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_what_the_code_gives(name):
    assert (ROOT / "docs" / name).read_text() == generate.PAGES[name](), "run make docs"


def test_two_of_them_need_no_tensorflow():
    code = ("import sys; sys.path.insert(0, 'docs'); import generate; generate.command_line(); "
            "generate.metadata(); print('tensorflow' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "False"


def test_they_hold_every_command_setting_and_option():
    commands, settings = generate.command_line(), generate.settings()
    assert commands.count("\n## crater ") == 13 and "`--diameters-km MIN,MAX`" in commands
    assert ("crater detect IMAGE... (--server HOST:PORT[,...] | --model DIR) --output FILE "
            "[OPTION...]") in commands
    # Each setting once, beside those that the presets change.
    rows = re.findall(r"^\| `([\w.]+)` \| `[^|]", settings.partition("## task\n")[2], re.M)
    assert len(rows) == len(schema())
    assert "| `trainer.train_steps` | `700` | `2000` | `20000` | `20000` | `50000` |" in settings


def test_every_option_says_what_it_is_for():
    def parsers(parser):
        groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        return [parser] if not groups else [
            each for group in groups for below in group.choices.values() for each in parsers(below)]

    silent = [f"{parser.prog} {action.option_strings or action.metavar}"
              for parser in parsers(build_parser()) for action in parser._actions
              if not action.help]
    assert silent == []


def test_lists_written_by_hand_are_complete():
    commands, labels = generate.command_line(), (ROOT / "docs" / "labels.md").read_text()
    named = re.search(r"of the labels: ([\w, ]+);", commands)[1]
    assert re.split(", | or ", named) == re.findall(r"^\| `(\w+)` \| .+ \|$", labels.partition(
        "## The data set")[0], re.M) == list(NAMES)
    suffixes = re.search(r"the suffix decides: (.+?); may be", commands)[1]
    maps = (ROOT / "docs" / "maps.md").read_text()
    assert re.findall(r"\.\w+", suffixes) == [*SUFFIXES]
    assert set(re.findall(r"`(\.\w+)`", maps.partition("\n\nImages of")[0])) == set(SUFFIXES)
    training = (ROOT / "docs" / "training.md").read_text().partition("The reasons for each")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(
        r"^\| (`.*?) \| ", training.partition("| preset |")[2], re.M)))) == set(PRESETS)


def test_the_rooms_are_those_of_the_test():
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| room ")[2].partition("\n\n")[0]
    rooms = [name for row in table.splitlines()[2:]
             for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert rooms == list(ROOMS)


def test_every_variable_of_the_environment_is_described():
    read = named_variables("crater_model", "crater_assets")
    serving = (ROOT / "docs" / "serving.md").read_text()
    of_serving = {"CRATER_DOCKER_RUN_OPTIONS", "CRATER_SERVING_HOST"}
    assert read - documented_variables() == of_serving
    assert all(f"`{name}`" in serving for name in of_serving)
    assert documented_variables() <= read


def test_licence_and_citation_agree_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["license"] == citation["license"] == "Apache-2.0"
    assert project["version"] == citation["version"] == __version__
    assert citation["cff-version"] == "1.2.0" and citation["authors"][0]["name"]
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text
