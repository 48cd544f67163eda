"""Names of classes: which spellings are one class."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What a label without a class is.
CRATER = "crater"


def key(name: str) -> str:
    """What the spellings of one class have in common: "Old_Crater" and "old crater" are one."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def spellings(names: Iterable[str]) -> dict[str, str]:
    """Each name -> how its class is written.

    Names that differ in case, spaces, hyphens or underscores only are one class, written as the
    first of them is; craters always as "crater".
    """
    chosen = {CRATER: CRATER}
    return {name: chosen.setdefault(key(name), name.strip()) for name in names}
