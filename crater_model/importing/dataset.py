"""Any labelled images into the data-set form: `crater dataset import`.

The labels are read by the first format that recognises the source; images of more than 8
bits are stretched; everything that is put right, left out or refused is counted and named.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath

import crater_model
from crater_model.annotations.annotators import USED
from crater_model.annotations.dataset import save_dataset
from crater_model.annotations.scene import Scene
from crater_model.errors import ConfigError, DataError, DataProblems
from crater_model.imagery.convert import write_8bit
from crater_model.imagery.orientation import orientation
from crater_model.imagery.pixels import encode_png, file_digest
from crater_model.imagery.raster import (
    ArrayRaster,
    FileRaster,
    Header,
    Raster,
    WholeFile,
    open_raster,
    read_header,
    read_whole,
)
from crater_model.imagery.stretch import PERCENTILES, strips
from crater_model.importing.archive import unpacked
from crater_model.importing.classes import CRATER, spellings
from crater_model.importing.embedded import with_embedded
from crater_model.importing.formats import FORMATS
from crater_model.importing.formats.source import Bad, LabelledImage, Notes, Reading, Source
from crater_model.importing.image_names import image_names
from crater_model.importing.labels import DiametersKm, finish
from crater_model.importing.nothing import refuse_nothing
from crater_model.importing.people import choose
from crater_model.importing.recognising import recognise
from crater_model.progress import track

NAMES = tuple(reader.NAME for reader in FORMATS)
_TURNED = " as it is shown (EXIF's orientation turns it)"
# A larger TIFF is tiled anew where it is stored in strips, so that windows read quickly.
_STRIPED_PX = 2**24


@dataclass(frozen=True)
class ImportReport:
    """What `import_dataset` did.

    Attributes:
      format: that of the labels; `label_files`: how many files of them were read.
      images, instances: how many were written; `empty_images`: those without a label.
      label_map: class id -> name.
      label_sources: what was drawn ("outline", "box", ...) -> instances.
      stretched: images that had more than 8 bits.
      annotators: labels of each of several people, all of whom are kept (name -> labels);
        `instances` are those of the set that is used.
      warnings: what was put right or left out on purpose, one counted line each.
      problems: what was left out because it cannot be used (only with `skip_bad`).
    """

    format: str
    label_files: int
    images: int
    instances: int
    empty_images: int
    label_map: dict[int, str]
    label_sources: dict[str, int]
    stretched: int
    annotators: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        return asdict(self)


def import_dataset(source: str | Path, out_dir: str | Path, format: str | None = None,  # noqa: A002
                   images: str | Path | None = None, skip_bad: bool = False,
                   percentiles: tuple[float, float] = PERCENTILES,
                   diameters_km: tuple[float, float] | None = None,
                   layers: Sequence[str] = (), annotator: str | None = None) -> ImportReport:
    """Reads labelled images of any known form and writes them as a data set.

    Args:
      source: a folder with labels and images, a label file, or a .zip of such a folder.
      out_dir: where; replaced as a whole at the end, or left as it is on failure. A folder
        that holds something other than a data set is refused.
      format: one of `NAMES`; None recognises it.
      images: an image or a folder with the images, where they do not lie with the labels.
      skip_bad: leaves out labels and images that cannot be used, and names them in the
        report, instead of refusing the source.
      percentiles: percent of dark and of bright pixels (from below, 0..100) between which
        values of more than 8 bits are stretched.
      diameters_km: smallest and largest diameter taken, km, of labels whose diameter on
        the ground is known (catalogues are complete only in a range).
      layers: of files with layers, the names of those to read; told apart by name and by what
        they hold if none is given.
      annotator: whose labels are used where several people labelled the same images; all
        are kept (see `annotations.annotators`). None: their consensus.

    Raises:
      DataProblems: something cannot be used; has every problem.
      DataError: the form of the labels is not known, or a label file is broken.
      ConfigError: an argument out of its range.
    """
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ConfigError(f"percentiles: got {low:g},{high:g}, expected two rising numbers from 0 "
                          "to 100, such as 0.5,99.5")
    if format is not None and format not in NAMES:
        raise ConfigError(f"format: got {format!r}, expected one of {', '.join(NAMES)}")
    with unpacked(source) as path, with_embedded(
            Source(path, images, layers, diameters_km)) as found:
        notes = Notes()
        reader, files, others, unread = recognise(found, format)
        if others:
            notes.count("other kind(s) of labels are there and were not read (choose with "
                        "--format)", ", ".join(others), len(others))
        reading = reader.read(found, files, notes)
        files = files if reading.files is None else list(reading.files)
        _remark(found, reading, files, unread, notes)
        work = _Import(found, reading, notes, skip_bad, (low, high), diameters_km, annotator)
        if not work.has_labels:
            refuse_nothing(source, out_dir, notes)
        info = {"description": f"imported from {Path(source).name}", "format": reader.NAME,
                "created_by": f"crater_model {crater_model.__version__}",
                "label_files": len(files), "label_files_sha256": _digest(files)}
        work.write(Path(out_dir), info)
        return work.report(reader.NAME, len(files))


def source_stamp(source: str | Path, images: str | Path | None = None) -> str:
    """A text that changes when a file of the source (name, size or time) or this program does.

    Raises:
      DataError: there is no such source.
    """
    total = hashlib.sha256(crater_model.__version__.encode())
    found = Source(source, images)
    for path in sorted({*found.files, *found.images}):
        state = path.stat()
        total.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "replace"))
    return total.hexdigest()


def _remark(source: Source, reading: Reading, files: Sequence[Path], unread: Sequence[Path],
            notes: Notes) -> None:
    if unread:
        notes.count("file(s) that may be labels are of no known form and were not read",
                    source.name(unread[0]), len(unread))
    if reading.images and not any(image.labels for image in reading.images):
        notes.count("label file(s) were read in which no label was found", source.name(files[0]),
                    len(files))


class _Import:
    """One import: first everything is looked at, then it is written."""

    def __init__(self, source: Source, reading: Reading, notes: Notes, skip_bad: bool,
                 percentiles: tuple[float, float], diameters_km: DiametersKm,
                 annotator: str | None):
        self.source, self.notes, self.skip_bad = source, notes, skip_bad
        self.percentiles, self.diameters_km = percentiles, diameters_km
        self.label_map, self.ids = _label_map(reading, notes)
        self.count: Counter[str] = Counter()
        self.sources: Counter[str] = Counter()
        self.people: Counter[str] = Counter()
        self.used: str | None = None
        self.scenes = self._plan(reading, annotator)

    def _plan(self, reading: Reading, annotator: str | None) -> list[tuple[Scene, LabelledImage]]:
        scenes: list[tuple[Scene, LabelledImage]] = []
        taken: set[Path] = set()
        names = image_names([image.path for image in reading.images],
                            set(self.source.embedded.values()))
        for image in track(reading.images, "reading labels"):
            with self.notes.entry(self.source.name(image.path)):
                if image.path in taken:
                    raise Bad("is labelled twice; merge the two entries")
                taken.add(image.path)
                header = _header(image)
                instances = finish(image.labels, header, self.ids, self.diameters_km, self.notes)
                scenes.append((Scene(
                    len(scenes), names[image.path], header.width, header.height, instances,
                    split=image.split, georeference=header.georeference,
                    annotators=image.annotators), image))
        self._refuse_problems()
        if not scenes:
            raise DataProblems(self.notes.problems or [f"{self.source.path}: lists no image"],
                               "no image is left to import")
        chosen, self.used = choose([scene for scene, _ in scenes], annotator, self.notes)
        return [(scene, image) for scene, (_, image) in zip(chosen, scenes, strict=True)]

    @property
    def has_labels(self) -> bool:
        return any(scene.instances for scene, _ in self.scenes)

    def _refuse_problems(self) -> None:
        if self.notes.problems and not self.skip_bad:
            raise DataProblems(self.notes.problems, "leave them out with --skip-bad")

    def write(self, out_dir: Path, info: dict) -> None:
        info = dict(info)
        save_dataset(out_dir, self._images(out_dir, info), self.label_map, info)

    def _images(self, out_dir: Path, info: dict
                ) -> Iterator[tuple[Scene, Path | Callable[[Path], None]]]:
        for scene, image in track(self.scenes, "writing images"):
            with ExitStack() as stack:
                try:
                    raster = stack.enter_context(open_raster(image.path, self.percentiles))
                    scene, write = _prepared(scene, raster, image.path)
                    self.notes.warnings.extend(raster.remarks)
                    if _is_blank(raster):
                        self.notes.count("image(s) show one value everywhere, or nothing",
                                         self.source.name(image.path))
                except DataError as error:
                    self.notes.problems.append(str(error))
                    self._refuse_problems()
                    continue
                self.people.update(i.annotator for i in scene.instances if i.annotator)
                labels = [i for i in scene.instances if self.used is None
                          or i.annotator in ("", self.used)]
                self.count.update(images=1, instances=len(labels), empty=int(not labels),
                                  stretched=int(scene.stretch is not None))
                self.sources.update(instance.source for instance in labels)
                yield scene, write
        if not self.count["images"]:
            raise DataProblems(self.notes.problems, "no image is left to import")
        if self.has_labels and not self.count["instances"]:
            refuse_nothing(self.source.path, out_dir, self.notes)
        # Only now is all known, and `info` is written last.
        if self.used is not None:
            info[USED] = self.used
        info.update(warnings=self.notes.warnings, left_out=self.notes.problems)

    def report(self, name: str, files: int) -> ImportReport:
        return ImportReport(
            format=name, label_files=files, images=self.count["images"],
            instances=self.count["instances"], empty_images=self.count["empty"],
            label_map=self.label_map, label_sources=dict(self.sources.most_common()),
            stretched=self.count["stretched"], annotators=dict(sorted(self.people.items())),
            warnings=self.notes.warnings,
            problems=self.notes.problems)


def _prepared(scene: Scene, raster: Raster, path: Path
              ) -> tuple[Scene, Path | Callable[[Path], None]]:
    """The scene as it will be and what `save_dataset` makes its file from.

    Every pixel is read once here, so that a broken file is found. What has 8 bits passes
    through as it is, unless it could not be read in windows quickly.
    """
    if isinstance(raster, WholeFile):  # a PNG or JPEG, decoded already
        if raster.as_stored:
            return scene, path
        # As it is shown, for readers that know of neither EXIF nor transparency.
        suffix, write = (".tif", write_8bit) if raster.has_invalid else (".png", _write_png)
        return (replace(scene, file_name=_with_suffix(scene, suffix), scene="", ground=""),
                lambda target: write(raster, target))
    assert isinstance(raster, FileRaster)
    stretch = raster.stretch
    if stretch is None:
        for top, height in strips(raster.height, raster.block_rows):
            raster.read(0, top, raster.width, height)
        if raster.plain and (raster.tiled or raster.width * raster.height <= _STRIPED_PX):
            return scene, path
    return (replace(scene, file_name=_with_suffix(scene, ".tif"), scene="", ground="",
                    stretch=stretch), lambda target: write_8bit(raster, target))


def _with_suffix(scene: Scene, suffix: str) -> str:
    return str(PurePosixPath(scene.file_name).with_suffix(suffix))


def _write_png(raster: Raster, path: Path) -> None:
    path.write_bytes(encode_png(read_whole(raster)))


def _is_blank(raster: Raster) -> bool:
    """Whether there is nothing to see, as far as it is known without reading it again."""
    if isinstance(raster, ArrayRaster):
        return raster.pixels.min() == raster.pixels.max()
    return raster.stretch is not None and not raster.stretch.low < raster.stretch.high


def _header(image: LabelledImage) -> Header:
    try:
        header = read_header(image.path)
    except DataError as error:
        raise Bad(f"cannot be used: {error}") from None
    if image.size not in (None, header[:2]):
        turned = image.size == header[1::-1] and orientation(image.path) != 1
        raise Bad(f"is {header.width}x{header.height} px{_TURNED if turned else ''}, but its "
                  f"labels were made for {image.size[0]}x{image.size[1]} px; find the right image")
    return header


def _label_map(reading: Reading, notes: Notes) -> tuple[dict[int, str], dict[str, int]]:
    """Class ids from 1 -> names, in the source's order and then by name; and every spelling's
    id."""
    used = {label.name for image in reading.images for label in image.labels}
    said = [*dict.fromkeys(reading.classes), *sorted(used - set(reading.classes))]
    written = spellings(said or [CRATER])
    for name, chosen in written.items():
        if name in used and name.strip() != chosen:
            notes.count("spelling(s) of a class were taken as another's", f"{name!r} as {chosen!r}")
    names = list(dict.fromkeys(written.values()))
    return (dict(enumerate(names, start=1)),
            {name: names.index(chosen) + 1 for name, chosen in written.items()})


def _digest(paths: Sequence[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(file_digest(path))
    return total.hexdigest()
