"""The rooms of the house: which package may import which, and no circle between files.

`python -m tests.test_rooms` prints them as a picture (Mermaid), with their lines and arrows.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# In the order of the data: each may import those before it, never one after it.
ROOMS = (
    "errors", "files", "progress", "revision", "settings", "storage",
    "imagery", "detections", "pictures", "annotations", "importing", "chips", "records", "synthesis", "scores",
    "detector", "training", "export", "serving", "mapping", "evaluation", "commands", "cli")
LARGEST_ROOM = {"annotations": 5000}  # lines
LONGEST_MODULE = 350  # lines; a longer one says why in its text


def modules(package: str) -> dict[str, Path]:
    """{dotted name: file} of a package's modules."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known) -> set[str]:
    """The known modules that a file names in its imports, those within functions and
    TYPE_CHECKING included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found & set(known)


def arrows(package: str) -> dict[str, set[str]]:
    """{module: the modules of its package that it imports}."""
    known = modules(package)
    return {name: imports(path, known) - {name} for name, path in known.items()}


def room(module: str) -> str:
    """crater_model.mapping.sweep -> mapping; the package itself is the ground: ''."""
    return (module.split(".") + [""])[1]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_room_has_its_place():
    assert {room(name) for name in modules("crater_model")} - {""} == set(ROOMS)


def test_no_arrow_goes_back_up():
    place = {name: number for number, name in enumerate(("", *ROOMS))}
    up = [f"{name} imports {other}" for name, others in arrows("crater_model").items() if room(name)
          for other in others if place[room(other)] > place[room(name)]]
    assert up == []


@pytest.mark.parametrize("package", ["crater_model", "crater_assets"])
def test_no_files_import_one_another_in_a_circle(package):
    try:
        TopologicalSorter(arrows(package)).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(reversed(error.args[1]))}")


def test_the_library_never_imports_the_assets():
    assets = {"crater_assets", "dagster", "dagster_gcp", "dagster_k8s", "dagster_docker"}
    wrong = []
    for path in modules("crater_model").values():
        for node in ast.walk(ast.parse(path.read_text())):
            names = ([node.module or ""] if isinstance(node, ast.ImportFrom) else
                     [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            wrong += [f"{path}: {name}" for name in names if name.split(".")[0] in assets]
    assert wrong == []


def test_rooms_and_modules_stay_small():
    sizes = Counter()
    for name, path in modules("crater_model").items():
        sizes[room(name)] += lines(path)
    assert {name: sizes[name] for name, most in LARGEST_ROOM.items() if sizes[name] >= most} == {}
    for package in ("crater_model", "crater_assets"):
        long = {name: lines(path) for name, path in modules(package).items()
                if lines(path) > LONGEST_MODULE}
        assert long == {}


def picture() -> str:
    """The rooms of the library as a Mermaid graph: lines in each, imports along each arrow."""
    between, sizes = defaultdict(int), Counter()
    for name, path in modules("crater_model").items():
        sizes[room(name)] += lines(path)
    for name, others in arrows("crater_model").items():
        for other in others:
            if "" not in (room(name), room(other)) and room(name) != room(other):
                between[room(name), room(other)] += 1
    rows = [f'  {name}["{name}<br/>{sizes[name]} lines"]' for name in ROOMS]
    rows += [f"  {above} -->|{count}| {below}" for (above, below), count in sorted(between.items())
             if below != "errors"]
    return "\n".join(["flowchart BT", *rows])


if __name__ == "__main__":
    print(picture())
