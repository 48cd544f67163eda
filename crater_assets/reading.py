"""The metadata of a materialization, read again: typed, and in words where it is not ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crater_assets.entries import entry_of, fits
from crater_assets.metadata import ASSETS
from crater_model.errors import DataError

# What Dagster gives back of each kind of `metadata.Entry`.
_VALUES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("text", "markdown", "path", "run"), (str,)), "int": (int,),
    "float": (float, int), "bool": (bool,), "json": (list, dict), "table": (object,)}


class Metadata(dict[str, Any]):
    """The metadata of a materialization as plain values, of the types that the table says.

    Anybody may report a materialization in the UI, and an older version made other metadata: what
    is missing is said in words, and what to do.

    Args:
      asset: its name; of one without a table any metadata is right.
      title: how messages call it, `checkpoint[baseline]` for one.
      values: as Dagster gives them back.
      reported: whether no run of ours made it.
    """

    def __init__(self, asset: str, title: str, values: Mapping[str, Any], reported: bool = False):
        super().__init__(values)
        self.table = ASSETS.get(asset, {})
        self._title, self._reported = title, reported

    def __missing__(self, key: str) -> Any:
        raise DataError(self._words(f"has no '{key}'"))

    def __getitem__(self, key: str) -> Any:
        """The value.

        Raises:
          DataError: there is none, or one of another type.
        """
        value, entry = super().__getitem__(key), entry_of(self.table, key)
        if entry and not fits(_VALUES, entry.kind, value):
            raise DataError(self._words(f"says {key}: {value!r}, expected {entry.kind}"))
        return value

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default where there is none.

        Raises:
          DataError: it has another type.
        """
        if key not in self:
            return default
        return self[key]

    def _words(self, what: str) -> str:
        by = "was reported by hand" if self._reported else "is another version's"
        return (f"{self._title}: its last materialization {what}: it {by}; materialize "
                f"{self._title} again")
