"""Names of classes: which spellings are one class, and which column of a table has them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

# What a label without a class is.
CRATER = "crater"
# Columns of a class, in the order in which they count. What is in the latter is only a class
# where it is text: others number their own kinds in "type".
_CLASS = ("class", "classname", "classid", "label", "labelname", "category", "craterclass")
_TYPE = ("featuretype", "type", "kind", "cratertype", "objecttype")
_IAU = "crater, craters"
_SHAPES = {"point", "line", "linestring", "polygon", "multipolygon", "circle", "ellipse", "feature",
           "shape"}
# A column of words with more of them, that many features share one, is no class but a name.
_MOST_CLASSES = 50


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


def class_columns(names: Sequence[str]) -> list[int]:
    """The columns that may have classes, among a table's column names, the likeliest first."""
    keys = [re.sub("[^a-z0-9]", "", name.lower()) for name in names]
    return [keys.index(known) for known in _CLASS + _TYPE if known in keys]


def class_values(name: str, values: np.ndarray) -> list[str] | None:
    """The classes [n] of a column `name`: texts or whole numbers, "crater" where there is none.

    None where the column has no classes after all: one number everywhere, numbers in a column
    called type, kinds of shapes, or nearly as many names as rows.
    """
    texts = [_text(value) for value in values]
    known = {text for text in texts if text}
    numeric = all(re.fullmatch(r"-?\d+", text) for text in known)
    is_type = re.sub("[^a-z0-9]", "", name.lower()) in _TYPE
    if not known or (numeric and (is_type or len(known) == 1)) or (
            is_type and {text.casefold() for text in known} <= _SHAPES) or (
            len(known) > _MOST_CLASSES and len(known) > len(texts) / 4):
        return None
    return [_named(text) for text in texts]


def is_gazetteer(values: np.ndarray) -> bool:
    """Whether a column has the IAU's kinds of features, such as "Crater, craters"."""
    return any(isinstance(value, str) and key(value) == _IAU for value in values)


def _text(value: object) -> str:
    """A class as text; empty for what is none."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (bool, np.bool_)):
        return ""
    if isinstance(value, (int, float, np.number)) and float(value).is_integer():
        return str(int(value))
    return ""


def _named(text: str) -> str:
    """The IAU's "Crater, craters" is a crater."""
    return CRATER if not text or key(text) == _IAU else text
