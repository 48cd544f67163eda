"""Where the versions of a SavedModel stand on disk. Needs no TensorFlow."""

from __future__ import annotations

from pathlib import Path

from crater_model.errors import ServingError


def version_folders(path: str | Path) -> dict[int, Path]:
    """Versions of a SavedModel at `path`: a version folder (.../<integer>) or its parent.

    A SavedModel in a folder that is not named by an integer counts as version 1.

    Raises:
      ServingError: there is no SavedModel.
    """
    path = Path(path).resolve()
    if (path / "saved_model.pb").is_file():
        return {int(path.name) if path.name.isdigit() else 1: path}
    found = {} if not path.is_dir() else {
        int(child.name): child for child in path.iterdir()
        if child.name.isdigit() and (child / "saved_model.pb").is_file()}
    if not found:
        raise ServingError(
            f"{path}: holds no SavedModel; expected saved_model.pb in it or in a folder "
            "named by a version number below it (crater export writes one)")
    return dict(sorted(found.items()))
