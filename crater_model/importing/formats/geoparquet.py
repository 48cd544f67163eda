"""GeoParquet (https://geoparquet.org): a table with a column of WKB, read with pyarrow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from crater_model.errors import DataError

SUFFIXES = (".parquet", ".geoparquet")
MAGIC = b"PAR1"


def read(path: Path) -> tuple[str | None, np.ndarray, list[str], list[np.ndarray]]:
    """Coordinate system as text, WKB [n], and names and values of the other columns.

    Raises:
      DataError: pyarrow is missing, or the file has no column of WKB. ValueError: it is broken.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataError(f"{path}: GeoParquet is read with pyarrow, which is not installed; install "
                        "it or export a GeoPackage") from None
    try:
        table = parquet.read_table(path)
        about = json.loads((table.schema.metadata or {}).get(b"geo", b"{}"))
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(str(error)) from None
    name = about.get("primary_column", "geometry")
    column = about.get("columns", {}).get(name, {})
    if name not in table.column_names or column.get("encoding") != "WKB":
        raise DataError(f"{path}: has no column of shapes in WKB, expected GeoParquet; export it "
                        "as that or as a GeoPackage")
    wkb = np.array(table.column(name).to_pylist(), dtype=object)
    others = [other for other in table.column_names if other != name]
    return _system(column), wkb, others, [_values(table.column(other)) for other in others]


def _system(column: dict[str, Any]) -> str | None:
    """The system; longitude and latitude where the file says none (so GeoParquet has it), None
    where it says that it is unknown."""
    if "crs" not in column:
        return "OGC:CRS84"
    return None if column["crs"] is None else json.dumps(column["crs"])


def _values(column: Any) -> np.ndarray:
    return column.to_pandas().to_numpy()
