"""An import that would give no label: refused, so that it never takes an older one's place."""

from __future__ import annotations

import json
from pathlib import Path

from crater_model.annotations.dataset import is_dataset
from crater_model.annotations.scene import ANNOTATIONS
from crater_model.errors import DataError
from crater_model.importing.formats.source import Notes

# What left labels out -> what is then likely to be wrong.
_CAUSES = (
    (("no image", "outside the image"), "the coordinate system, the direction of longitudes, the "
     "body, and which images these labels are of"),
    ((" km ", "pixel"), "the unit of the diameters"),
    (("show whole",), "the projection of the images"))


def refuse_nothing(source: str | Path, out_dir: str | Path, notes: Notes) -> None:
    """Raises where an import has come to nothing.

    A source that holds no label at all, only images without craters, is taken, and so is one
    whose labels are all wrong and were to be skipped; but neither replaces labels.

    Raises:
      DataError: labels were left out and none is left, or older ones would be lost.
    """
    older = _has_labels(Path(out_dir))
    kept = f"; {out_dir} is left as it was" if older else ""
    if notes.lost or (notes.problems and older):
        lines = [f"{number} {text}" + (f", first: {first}" if first else "")
                 for text, number, first in notes.lost]
        if notes.problems:
            more = len(notes.problems) - 1
            lines.append(notes.problems[0] + (f" (and {more} more)" if more else ""))
        said = " ".join(text for text, _, _ in notes.lost)
        causes = [cause for words, cause in _CAUSES if any(word in said for word in words)]
        fix = f"; check {'; '.join(causes)}" if causes else "; correct them"
        raise DataError(f"{source}: none of its labels can be used: "
                        f"{'; '.join([*lines, *notes.hints])}{fix}{kept}")
    if older:
        raise DataError(f"{source}: holds no label, and {out_dir} is a data set that has some"
                        f"{kept}; name another folder, or remove it if that is right")


def _has_labels(folder: Path) -> bool:
    if not is_dataset(folder):
        return False
    try:
        return bool(json.loads((folder / ANNOTATIONS).read_bytes())["annotations"])
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return True  # whatever it is, it is not ours to replace by nothing
