"""`manifest.json`: what a folder of records holds, and whether it still does."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path

from etils import epath

from crater_model.annotations.scene import SPLITS
from crater_model.errors import DataError
from crater_model.files import write_json
from crater_model.imagery.stretch import PERCENTILES

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """What a folder of records holds.

    Attributes:
      root: the folder, local or gs://.
      label_map: class id (1..C) -> name.
      source: fingerprint ("sha256:...") of the data set the records were made from.
      splits: for train, validation and test: `images`, `instances`, `empty_images`,
        `max_instances` (most in one image), `scenes` (names), and `files`, each with
        `name`, `bytes` and `sha256`.
      mask_grid: cells along each side of a compact mask.
      full_masks: whether full-size PNG masks are there as well.
      image_size: largest (height, width) of the images, px.
      scales: px of the images per px of their scenes, every one that occurs.
      created_by: program and version.
      stretch_percentiles: between which images of more than 8 bits were stretched, percent.
      format_version: of this layout.
      splitting: how the splits were made: `by` ("scenes" or "blocks"), `gap_px` and `words`
        (see `annotations.splitting.Splitting`).
    """

    root: Path | epath.Path
    label_map: dict[int, str]
    source: str
    splits: dict[str, dict]
    mask_grid: int
    full_masks: bool
    image_size: tuple[int, int]
    scales: tuple[float, ...]
    created_by: str
    format_version: int = FORMAT_VERSION
    stretch_percentiles: tuple[float, float] = PERCENTILES
    splitting: dict = field(default_factory=dict)

    def files(self, split: str) -> list[Path | epath.Path]:
        """The split's record files, in order; none where the split has no image.

        Raises:
          DataError: there is no such split.
        """
        return [self.root / file["name"] for file in self.split(split)["files"]]

    def split(self, name: str) -> dict:
        """The entry of a split; DataError where there is no such split."""
        if name not in self.splits:
            raise DataError(f"{self.root / MANIFEST}: has no split {name!r}, expected one of "
                            f"{', '.join(self.splits)}; name one of these")
        return self.splits[name]

    @property
    def scenes(self) -> list[str]:
        """The names of all scenes, and of parts where a scene was cut into blocks."""
        return [name for split in self.splits.values() for name in split["scenes"]]

    @property
    def images(self) -> int:
        return sum(split["images"] for split in self.splits.values())

    @property
    def instances(self) -> int:
        return sum(split["instances"] for split in self.splits.values())

    def to_dict(self) -> dict:
        """The manifest as JSON values."""
        value = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "root"}
        value["label_map"] = {str(i): name for i, name in self.label_map.items()}
        value["image_size"], value["scales"] = list(self.image_size), list(self.scales)
        value["stretch_percentiles"] = list(self.stretch_percentiles)
        return value

    def write(self, folder: str | Path) -> Path:
        return write_json(Path(folder) / MANIFEST, self.to_dict())


def read_manifest(folder: str | os.PathLike) -> Manifest:
    """Reads a records folder's manifest.

    Args:
      folder: a local one, or a gs:// address, which TensorFlow then reads.

    Raises:
      DataError: there is none, it is not one, or it is of an unknown version.
    """
    text = os.fspath(folder)
    root = epath.Path(text) if "://" in text else Path(text)
    path = root / MANIFEST
    try:
        value = json.loads(_read(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}), expected a folder "
                        "written by `crater records write`; name that folder") from None
    except ValueError as error:
        raise DataError(f"{path}: is not JSON ({error}); write the records again") from None
    version = value.get("format_version") if isinstance(value, dict) else None
    if version != FORMAT_VERSION:
        raise DataError(f"{path}: has the format version {version}, expected {FORMAT_VERSION}; "
                        "write the records again")
    try:
        value["label_map"] = {int(i): name for i, name in value["label_map"].items()}
        value["image_size"], value["scales"] = tuple(value["image_size"]), tuple(value["scales"])
        value["stretch_percentiles"] = tuple(value.get("stretch_percentiles", PERCENTILES))
        for split in SPLITS:
            [file["name"] for file in value["splits"][split]["files"]]
        known = {f.name for f in fields(Manifest)}
        return Manifest(root=root, **{k: v for k, v in value.items() if k in known})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: is incomplete ({error}); write the records again") from None


def verify_manifest(folder: str | Path, dataset: str | Path | None = None) -> list[str]:
    """Compares the files with the manifest, and the manifest with the data set if given.

    Returns:
      One line a problem; none if all is well.
    """
    try:
        manifest = read_manifest(folder)
    except DataError as error:
        return [str(error)]
    problems = []
    for split in manifest.splits.values():
        for file in split["files"]:
            problems += _file_problems(manifest.root / file["name"], file)
    if dataset is not None:
        problems += _source_problems(manifest, dataset)
    return problems


def file_entry(path: Path) -> dict:
    """name, bytes and sha256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def _read(path: Path | epath.Path) -> bytes:
    if isinstance(path, Path):
        return path.read_bytes()
    import tensorflow as tf

    try:
        with tf.io.gfile.GFile(str(path), "rb") as file:
            return file.read()
    except tf.errors.OpError as error:
        raise OSError(error.message) from None


def _file_problems(path: Path, expected: dict) -> list[str]:
    if not path.is_file():
        return [f"{path}: is missing; write the records again"]
    found = file_entry(path)
    if found["bytes"] != expected["bytes"]:
        return [f"{path}: has {found['bytes']} bytes, expected {expected['bytes']}; "
                "write the records again"]
    if found["sha256"] != expected["sha256"]:
        return [f"{path}: has another checksum than when it was written; write the records again"]
    return []


def _source_problems(manifest: Manifest, folder: str | Path) -> list[str]:
    from crater_model.annotations.dataset import load_dataset
    from crater_model.annotations.parts import chosen

    try:
        dataset = whole = load_dataset(folder)
        if manifest.splitting.get("by") == "blocks":
            dataset = chosen(whole, manifest.scenes)
    except DataError as error:
        return [str(error)]
    path, problems = manifest.root / MANIFEST, []
    instances = sum(len(scene.instances) for scene in dataset.scenes)
    for what, found, expected in (
            ("image(s)", manifest.images, len(dataset.scenes)),
            ("instance(s)", manifest.instances, instances),
            ("as label map", manifest.label_map, dataset.label_map)):
        if found != expected:
            problems.append(f"{path}: has {found} {what}, but the data set {folder} has "
                            f"{expected}; write the records again")
    if not problems and manifest.source != whole.fingerprint:
        problems.append(f"{path}: was made from other data than {folder} now holds (its "
                        "fingerprint differs); write the records again")
    return problems
