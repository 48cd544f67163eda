"""What the readers of label formats share: where files are, and what they give."""

from __future__ import annotations

import math
import reprlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np

from crater_model.errors import DataError
from crater_model.imagery.raster import SUFFIXES
from crater_model.importing.formats.texts import head, read_json, read_text  # noqa: F401

# More files than this are no data set but a disk.
_MOST_FILES = 1_000_000

# Images of these suffixes count only where images are named: they are the notes of other programs,
# or show again what lies beside them.
_NAMED_ONLY = (".xml", ".vrt")


class Bad(ValueError):
    """What is wrong with one label or image; the text follows its name."""


@dataclass(frozen=True, eq=False)
class Label:
    """One labelled object.

    Attributes:
      rings: outlines, float64 [n, 2] each, x and y in px of the image (pixel corners at
        whole numbers), not closed; they may leave the image or cross themselves, which
        the import puts right or refuses.
      name: its class.
      source: what was drawn: "outline", "mask", "ellipse", "circle", "box", "catalogue".
      where: its place in the file, for messages ("craters.json: image a.png, region 3").
      crowd: a group marked as one.
      diameter_km: where the label says it.
      annotator: who drew it, where several people labelled one image.
      holes: whether it has a hole, which was filled.
      centre: x, y in px; given where labels are of the map, not of the image: one whose
        centre lies outside the image belongs to another image and is left out.
    """

    rings: tuple[np.ndarray, ...]
    name: str
    source: str
    where: str
    crowd: bool = False
    diameter_km: float | None = None
    centre: tuple[float, float] | None = None
    annotator: str = ""
    holes: bool = False


@dataclass(eq=False)
class LabelledImage:
    """An image and its labels.

    Attributes:
      path: the image file.
      labels: any number, none included.
      split: "train", "validation" or "test" where the source says so.
      size: (width, height) px that the labels were made for, where the file says so.
      annotators: who labelled it, also without finding anything; none where one set is all.
    """

    path: Path
    labels: list[Label] = field(default_factory=list)
    split: str | None = None
    size: tuple[int, int] | None = None
    annotators: tuple[str, ...] = ()


@dataclass(eq=False)
class Reading:
    """What a reader gives.

    Attributes:
      images: each once, in the order of their paths.
      classes: names in the source's own order, where it has one; others follow by name.
      files: those of the label files that were read; None if all were.
    """

    images: list[LabelledImage]
    classes: Sequence[str] = ()
    files: Sequence[Path] | None = None


class Notes:
    """What a reader has to say: problems (what cannot be used) and counted remarks.

    Attributes:
      problems: a line each.
      hints: why no label may fit, said only where none is left.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.hints: list[str] = []
        self._lost: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    @contextmanager
    def entry(self, where: str) -> Iterator[None]:
        """Around the reading of one label or image: ValueError (`Bad`) becomes a problem,
        "where text", and the entry is left out."""
        try:
            yield
        except ValueError as error:
            self.problems.append(f"{where} {error}")

    def count(self, text: str, example: str = "", number: int = 1) -> None:
        """Counts something that was put right or left out on purpose; one line a text."""
        self._counts[text] += number
        self._examples.setdefault(text, example)

    def lose(self, text: str, example: str = "", number: int = 1) -> None:
        """`count` of labels that were left out on purpose."""
        self._lost.add(text)
        self.count(text, example, number)

    @property
    def lost(self) -> list[tuple[str, int, str]]:
        """What was left out: text, number of labels and the first of them."""
        return [(text, number, self._examples[text]) for text, number in self._counts.items()
                if text in self._lost and number]

    @property
    def warnings(self) -> list[str]:
        return [f"{number} {text}" + (f", first: {self._examples[text]}"
                                      if self._examples[text] else "")
                for text, number in self._counts.items() if number]


class Source:
    """The files that an import may read: those below a folder, or one file, and images.

    Attributes:
      root: the folder that paths in messages are relative to.
      files: candidates for label files, sorted; just the one where a file was named.
      images: every image file, sorted. Where label files and images are named apart
        (`images`), only those images.
      layers: names of the layers to read; empty where that is left to the reader.
      diameters_km: the range of diameters taken, or None.
      embedded: label file -> the image that is inside it, where it is nowhere else.
    """

    def __init__(self, path: str | Path, images: str | Path | None = None,
                 layers: Sequence[str] = (), diameters_km: tuple[float, float] | None = None):
        path = Path(path)
        self.layers, self.diameters_km = tuple(layers), diameters_km
        if not path.exists():
            raise DataError(f"{path}: does not exist, expected labels or a folder with labels and "
                            "images; name it again")
        self.path = path
        self.root = path if path.is_dir() else path.parent
        everything = _files(self.root)
        self.files = everything if path.is_dir() else [path]
        if images is None:
            candidates = everything
        else:
            images = Path(images)
            if not images.exists():
                raise DataError(f"{images}: does not exist, expected an image or a folder with "
                                "images; name it again")
            candidates = _files(images) if images.is_dir() else [images]
        self.image_root = self.root if images is None else (
            images if images.is_dir() else images.parent)
        every = [p for p in candidates if p.suffix.lower() in SUFFIXES
                 and not (p.suffix.lower() in _NAMED_ONLY and images is None)]
        # Data and their detached label are one image.
        labels = {p.with_suffix("") for p in every if p.suffix.lower() == ".lbl"}
        self.images = [p for p in every
                       if p.suffix.lower() != ".img" or p.with_suffix("") not in labels]
        self.embedded: dict[Path, Path] = {}
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for image in every:
            self._by_name[image.name.lower()].append(image)
            self._by_stem[image.stem.lower()].append(image)

    def with_suffix(self, *suffixes: str) -> list[Path]:
        """The candidate files with one of these suffixes (".json")."""
        return [path for path in self.files if path.suffix.lower() in suffixes]

    def name(self, path: Path) -> str:
        """What messages call a file: its path below the root."""
        holder = next((file for file, image in self.embedded.items() if image == path), None)
        if holder is not None:
            return f"{self.name(holder)} (its imageData)"
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def add_embedded(self, file: Path, image: Path) -> None:
        """Takes an image that was inside a label file; it is found by that file alone."""
        if image not in self.embedded.values():
            self.images.append(image)
        self.embedded[file] = image

    def find_image(self, said: object, beside: Path, any_suffix: bool = False) -> Path:
        """The image file that a label file calls `said`.

        Only files of this source are ever found, whatever folders `said` names: it is
        looked up by its name, and by its folders where several files have the name.

        Args:
          said: a name or path as the label file has it (either kind of slash).
          beside: the label file; of equal names the nearest to it counts.
          any_suffix: another suffix will do (`said` may have none).

        Raises:
          Bad: there is none, or there are several.
        """
        if not isinstance(said, str) or not said.strip("/\\ "):
            raise Bad(f"names the image {said!r}, expected a file name; correct it")
        parts = [p for p in PurePosixPath(said.replace("\\", "/")).parts if p not in ("..", "/")]
        name = parts[-1].lower() if parts else ""
        found = self._by_name.get(name, [])
        if not found and any_suffix:
            found = self._by_stem.get(name, []) or self._by_stem.get(PurePosixPath(name).stem, [])
        if not found:
            raise Bad(f"is of the image {said[:80]!r}, which is not below {self.image_root}; put "
                      "it there or correct the name")
        if len(found) > 1:
            found = self._nearest(found, parts, beside)
        if len(found) > 1:
            raise Bad(f"is of the image {said[:80]!r}, but there are {len(found)} of that name "
                      f"({self.name(found[0])}, {self.name(found[1])}); rename them")
        return found[0]

    @staticmethod
    def _nearest(found: list[Path], parts: list[str], beside: Path) -> list[Path]:
        """Those that share the longest end with the said path, then the longest beginning
        with the label file's own path."""
        def end(path: Path) -> int:
            pairs = zip(reversed(path.parts), reversed(parts), strict=False)
            return next((i for i, (a, b) in enumerate(pairs) if a.lower() != b.lower()),
                        min(len(path.parts), len(parts)))

        def start(path: Path) -> int:
            pairs = zip(path.parts, beside.parts, strict=False)
            return next((i for i, (a, b) in enumerate(pairs) if a != b),
                        min(len(path.parts), len(beside.parts)))

        for measure in (end, start):
            best = max(map(measure, found))
            found = [path for path in found if measure(path) == best]
        return found


def number(value: Any, what: str) -> float:
    """A finite number, also where it is written as text; Bad says what stands there."""
    try:
        result = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise Bad(f"has the {what} {str(value)[:40]!r}, expected a finite number; correct it")
    return result


def points(values: object, what: str = "outline") -> np.ndarray:
    """Pairs of numbers as float64 [n, 2]; Bad where they are not, or fewer than three."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        array = np.zeros(0)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise Bad(f"has an {what} that is not a list of finite x, y pairs; draw it again")
    if len(array) > 1 and (array[0] == array[-1]).all():
        array = array[:-1]
    if len(array) < 3:
        raise Bad(f"has an {what} of {len(array)} point(s), expected at least 3; draw it again")
    return array


def split_of(path: Path, root: Path) -> str | None:
    """The split that a folder on the way to the file stands for (train, valid, test, ...)."""
    names = {"train": "train", "training": "train", "trn": "train",
             "val": "validation", "valid": "validation", "validation": "validation",
             "test": "test", "testing": "test"}
    parts = path.relative_to(root).parts[:-1] if path.is_relative_to(root) else ()
    found = [names[part.lower()] for part in parts if part.lower() in names]
    return found[-1] if found else None


def _files(folder: Path) -> list[Path]:
    """Regular files below a folder, sorted, hidden ones left out; links out of it too."""
    found, real = [], folder.resolve()
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        if path.is_symlink() and not path.resolve().is_relative_to(real):
            continue
        if path.is_file():
            found.append(path)
        if len(found) > _MOST_FILES:
            raise DataError(f"{folder}: holds more than {_MOST_FILES} files; name the data set's "
                            "own folder")
    return sorted(found)


def shown(value: object) -> str:
    """A value in a message: short and on one line."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if len(text) <= 80 else text[:77] + "..."
    return text if text.isprintable() else repr(text)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value of a JSON file is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)
