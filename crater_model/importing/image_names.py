"""What images are called in the data set that they are imported into."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def image_names(paths: Sequence[Path], apart: set[Path]) -> dict[Path, str]:
    """Names below `images/`: the path below what all have in common, without a suffix's
    difference being the only one (a.tif and a.png). Those `apart` are in a folder of their own
    each, and have a common name only where several are called the same."""
    unique = sorted(set(paths) - apart)
    own = Counter(path.name.lower() for path in {*apart, *unique})
    names = {path: path.name if own[path.name.lower()] == 1 else
             f"{path.stem}_{path.parent.name}{path.suffix}" for path in apart & set(paths)}
    if not unique:
        return names
    common = Path(os.path.commonpath([path.parent for path in unique]))
    stems = Counter(path.with_suffix("").as_posix().lower() for path in unique)
    for path in unique:
        name = PurePosixPath(path.relative_to(common).as_posix())
        if stems[path.with_suffix("").as_posix().lower()] > 1:
            name = name.with_name(f"{name.stem}_{name.suffix[1:].lower()}{name.suffix}")
        # A file's name need not be text; the data set's JSON must be.
        names[path] = str(name).encode("utf-8", "replace").decode()
    return names
