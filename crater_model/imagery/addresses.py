"""Where images lie: files, and what GDAL reads over the network or inside archives."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from urllib.parse import urlsplit

from crater_model.errors import DataError

_SCHEMES = {"http": "/vsicurl/http://", "https": "/vsicurl/https://", "gs": "/vsigs/",
            "s3": "/vsis3/"}
_ARCHIVES = ("/vsizip/", "/vsitar/", "/vsigzip/", "/vsi7z/")


def is_remote(image: str | os.PathLike) -> bool:
    """Whether an image is no file of its own: an address, or a place that GDAL names (/vsi...)."""
    text = os.fspath(image)
    return "://" in text or text.startswith("/vsi")


def suffix(image: str | os.PathLike) -> str:
    """".tif", in small letters, of a file or an address."""
    text = os.fspath(image)
    path = urlsplit(text).path if "://" in text else text
    return posixpath.splitext(path)[1].lower()


def gdal_name(image: str | os.PathLike) -> str:
    """What GDAL calls an image.

    Raises:
      DataError: an address of another kind than http, https, gs and s3.
    """
    text = os.fspath(image)
    if text.startswith("/vsi"):
        return text
    scheme, found, rest = text.partition("://")
    if not found:
        return str(Path(text).absolute())
    if scheme.lower() not in _SCHEMES:
        raise DataError(f"{text}: is an address of the kind {scheme!r}, expected a file or one of "
                        f"{', '.join(f'{name}://' for name in _SCHEMES)}; name it by one of these")
    return _SCHEMES[scheme.lower()] + rest


def gdal_options(image: str | os.PathLike) -> dict[str, str]:
    """GDAL's settings for reading it. Rights come from the environment, as GDAL's own do."""
    name = gdal_name(image)
    if not is_remote(image) or name.startswith(_ARCHIVES):
        return {}
    options = {"GDAL_HTTP_CONNECTTIMEOUT": "10", "GDAL_HTTP_TIMEOUT": "120",
               "GDAL_HTTP_MAX_RETRY": "3"}
    emulator = os.environ.get("STORAGE_EMULATOR_HOST")
    if emulator and name.startswith("/vsigs/"):
        host = emulator if "://" in emulator else f"http://{emulator}"
        options |= {"CPL_GS_ENDPOINT": f"{host.rstrip('/')}/", "GS_NO_SIGN_REQUEST": "YES"}
    return options


def label_beside(path: Path) -> Path | None:
    """The detached label (.lbl, .xml) of a data file "x.img"; None where there is none."""
    if path.suffix.lower() != ".img":
        return None
    beside = [other for other in path.parent.glob(f"{_escaped(path.stem)}.*")
              if other.suffix.lower() in (".lbl", ".xml") and other.stem == path.stem]
    return min(beside, default=None, key=lambda other: other.suffix.lower())


def _escaped(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
