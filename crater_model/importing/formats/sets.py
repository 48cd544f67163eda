"""Several label files of one image: parts of one set, or sets of several people.

Files whose labels mark the same craters are of several people: each is kept as the set of
its annotator, named by what tells the files apart. Files with labels of other things (one a
class) are put together.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import shapely

from crater_model.importing.formats.source import Bad, Label, LabelledImage, Notes, Source

# Share of the smaller set that the other marks too, from which two files mark the same.
_SAME_SHARE = 0.2
_SAME_IOU = 0.5


class Sets:
    """The images of a source, each with the labels of every file that is of it."""

    def __init__(self, source: Source):
        self._source = source
        self._found: dict[Path, dict[Path, LabelledImage]] = defaultdict(dict)

    def add(self, file: Path, image: LabelledImage) -> None:
        """What a file says of one image.

        Raises:
          Bad: the file has said something of it before.
        """
        if file in self._found[image.path]:
            raise Bad(f"is of the image {image.path.name} twice; merge the two entries")
        self._found[image.path][file] = image

    def images(self, notes: Notes, together: bool = True) -> list[LabelledImage]:
        """Each image once; with the labels of several people each label says whose it is.

        Args:
          notes: for what is put together, and what is wrong.
          together: whether files of other things are put together; else all but the first of
            an image are refused.
        """
        apart = self._same_craters()
        if not apart and not together:
            self._refuse_second(notes)
        names = _names(self._source, self._found) if apart else {}
        return [_joined(self._source, files, names, notes)
                for _, files in sorted(self._found.items())]

    def _refuse_second(self, notes: Notes) -> None:
        for image, files in self._found.items():
            first, *others = files
            for other in others:
                notes.problems.append(
                    f"{self._source.name(other)} is of the image {image.name}, which "
                    f"{self._source.name(first)} labels already; keep one of the two files")
                del files[other]

    def _same_craters(self) -> bool:
        """Whether the files of one image mark the same craters, over all images."""
        same = total = 0
        for files in self._found.values():
            rest = sorted((image.labels for image in files.values() if image.labels), key=len)
            for one, other in pairwise(rest):
                same += _marked_twice(one, other)
                total += len(one)
        return same > _SAME_SHARE * total


def _joined(source: Source, files: dict[Path, LabelledImage], names: dict[Path, str],
            notes: Notes) -> LabelledImage:
    file, image = next(iter(files.items()))
    for other, more in list(files.items())[1:]:
        if (more.split, more.size) != (image.split, image.size):
            notes.problems.append(
                f"{source.name(other)} says that {image.path.name} has the split {more.split} and "
                f"size {more.size}, but {source.name(file)} says {image.split} and {image.size}; "
                "correct one of them")
            if more.labels:
                notes.lose("annotation(s) are of images that cannot be used", source.name(other),
                           len(more.labels))
            more.labels.clear()
    if len(files) > 1 and not names:
        notes.count("image(s) are listed twice, and their labels were put together",
                    image.path.name)
    labels = [replace(label, annotator=names.get(path, label.annotator))
              for path, found in files.items() for label in found.labels]
    return LabelledImage(image.path, labels, image.split, image.size,
                         tuple(names[path] for path in files if path in names)
                         or image.annotators)


def _marked_twice(one: list[Label], other: list[Label]) -> int:
    """How many labels of `one` are in `other` too, by class and outline."""
    shapes = [np.array([shapely.union_all([shapely.make_valid(shapely.Polygon(ring))
                                           for ring in label.rings]) for label in labels], object)
              for labels in (one, other)]
    classes = [np.array([label.name.casefold() for label in labels]) for labels in (one, other)]
    first, second = shapely.STRtree(shapes[1]).query(shapes[0])
    alike = classes[0][first] == classes[1][second]
    first, second = first[alike], second[alike]
    a, b = shapes[0][first], shapes[1][second]
    shared = shapely.area(shapely.intersection(a, b))
    same = shared >= _SAME_IOU * (shapely.area(a) + shapely.area(b) - shared)
    return len(np.unique(first[same]))


def _names(source: Source, found: dict[Path, dict[Path, LabelledImage]]) -> dict[Path, str]:
    """File -> annotator: what is left of its name without the image's, else its name, where
    that tells the files of every image apart; else its folder."""
    stems: dict[Path, str] = {}
    folders: dict[Path, str] = {}
    for image, files in found.items():
        for file in files:
            name = re.escape(image.stem)
            left = re.sub(rf"^{name}(?=[-_. ])|(?<=[-_. ]){name}$", "", file.stem,
                          flags=re.IGNORECASE).strip("_-. ")
            stems.setdefault(file, left or file.stem)
            folders[file] = file.parent.name
    for names in (stems, folders):
        if all(len({names[file] for file in files}) == len(files) for files in found.values()):
            return names
    return {file: str(Path(source.name(file)).with_suffix("")) for file in stems}
