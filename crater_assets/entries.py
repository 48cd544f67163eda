"""One line of a table of metadata, and whether a value is as it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One name of metadata, or several alike where the name has a `*`.

    Attributes:
      kind: a key of `metadata._TYPES`, with "?" at its end where null is allowed.
      meaning: what it says, with its unit.
      when: where it is there; "" where it always is (names with a `*` may always be missing).
    """

    kind: str
    meaning: str
    when: str = ""


Table = Mapping[str, Entry]


def entry_of(table: Table, key: str) -> Entry | None:
    """What a table says of a name; None where nothing."""
    return table.get(key) or next((entry for pattern, entry in table.items()
                                   if "*" in pattern and fnmatchcase(key, pattern)), None)


def fits(types: Mapping[str, tuple[type, ...]], kind: str, value: Any) -> bool:
    """Whether a value is of an entry's kind, by the classes that stand for each kind."""
    if value is None:
        return kind.endswith("?")
    kinds = types[kind.removesuffix("?")]
    return isinstance(value, kinds) and (not isinstance(value, bool) or bool in kinds
                                         or object in kinds)
