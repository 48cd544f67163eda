"""Damaged and hostile sources: every one ends in one clear line, or is named in the report.

Each case makes a small valid source and breaks it; `import_dataset` then runs twice, strict
and with `skip_bad`, in a worker process for each group of formats. What has to come of it:

- "error": both raise a CraterError;
- "problem": strict raises, and the other report has it among its problems;
- "warning": both pass, and the reports count it;
- "fine": both pass without a word.
"""

from __future__ import annotations

import functools
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

PEAK_KB = 1_000_000
SECONDS = 5  # for one run of a case
WIDTH, HEIGHT = 60, 40
RING = [[10, 5], [40, 5], [10, 25]]
OTHER = [[20, 10], [50, 12], [30, 35]]
NAN, INF = float("nan"), float("inf")
REPO = Path(__file__).parents[2]


@dataclass(frozen=True)
class Case:
    """`make(folder)` fills the folder, of which `at` is imported; the regular expressions
    `word` and `names` must be found in one error, problem or warning."""

    make: Callable[[Path], object]
    outcome: str
    word: str = ""
    names: str = "labels"
    at: str = ""


CASES: dict[str, dict[str, Case]] = {}


def add(group: str, name: str, make: Callable, *expected: str, at: str = "") -> None:
    cases = CASES.setdefault(group, {})
    assert name not in cases, name
    cases[name] = Case(make, *expected, at=at)


# Small valid sources: two images of 60x40 px, a label each. `ring` may be anything.


def png(path: Path, values=None) -> bytes:
    from PIL import Image
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH), np.uint8)
    Image.fromarray(values).save(path)
    return path.read_bytes()


def tiff(path: Path, values=None, **more) -> None:
    import rasterio
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.random.default_rng(0).integers(0, 255, (1, HEIGHT, WIDTH), np.uint8)
    with rasterio.open(path, "w", driver="GTiff", count=len(values), height=values.shape[1],
                       width=values.shape[2], dtype=values.dtype, **more) as file:
        file.write(values)


def pictures(folder: Path) -> None:
    png(folder / "a.png")
    png(folder / "b.png")


def maps(folder: Path) -> None:
    """Two images of the Moon: 0 to 0.6 and 0.6 to 1.2 deg east, 0 to 0.4 deg north."""
    import rasterio
    degree = 1737400 * np.pi / 180
    for number, name in enumerate("ab"):
        tiff(folder / f"{name}.tif", crs=rasterio.CRS.from_proj4("+proj=eqc +R=1737400"),
             transform=rasterio.Affine(degree / 100, 0, number * 0.6 * degree, 0, -degree / 100,
                                       0.4 * degree))


def to_degrees(ring, left: float):
    """px as degrees; what is no pair of numbers stays as it is."""
    return [[left + p[0] / 100, 0.4 - p[1] / 100] if isinstance(p, list) and len(p) == 2 and all(
        isinstance(v, (int, float)) and abs(v) < 1e300 for v in p) else p for p in ring]


def dump(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def coco_value(ring=RING, image="a.png", **first) -> dict:
    def annotation(number, ring):
        flat = [v for p in ring for v in (p if isinstance(p, list) else [p])]
        return {"id": number, "image_id": number, "category_id": 1, "segmentation": [flat]}
    return {"images": [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT}
                       for n, name in enumerate((image, "b.png"), start=1)],
            "annotations": [annotation(1, ring) | first, annotation(2, OTHER)],
            "categories": [{"id": 1, "name": "crater"}]}


def coco(folder: Path, ring=RING, image="a.png", **first) -> Path:
    pictures(folder)
    return dump(folder / "labels.json", coco_value(ring, image, **first))


def via_value(ring=RING, image="a.png", **shape) -> dict:
    def regions(ring, **shape):
        xs, ys = ([point[i] for point in ring] for i in (0, 1))
        shape = shape or {"name": "polygon", "all_points_x": xs, "all_points_y": ys}
        return [{"shape_attributes": shape, "region_attributes": {"class": "crater"}}]
    return {f"{name}1": {"filename": name, "size": 1, "regions": found, "file_attributes": {}}
            for name, found in ((image, regions(ring, **shape)), ("b.png", regions(OTHER)))}


def via(folder: Path, ring=RING, image="a.png", **shape) -> Path:
    pictures(folder)
    return dump(folder / "labels.json", via_value(ring, image, **shape))


def via_csv(folder: Path, ring=RING, image="a.png", **shape) -> Path:
    import csv
    pictures(folder)
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "file_size", "file_attributes", "region_count", "region_id",
                       "region_shape_attributes", "region_attributes"])
        for entry in via_value(ring, image, **shape).values():
            region = entry["regions"][0]
            rows.writerow([entry["filename"], 1, "{}", 1, 0, json.dumps(
                region["shape_attributes"]), json.dumps(region["region_attributes"])])
    return folder / "labels.csv"


def labelme(folder: Path, ring=RING, image="a.png", **shape) -> Path:
    pictures(folder)
    for name, said, points, more in (("labels", image, ring, shape), ("more", "b.png", OTHER, {})):
        dump(folder / f"{name}.json", {
            "version": "5.5.0", "flags": {}, "imagePath": said, "imageData": None,
            "imageHeight": HEIGHT, "imageWidth": WIDTH,
            "shapes": [{"label": "crater", "points": points, "group_id": None,
                        "shape_type": "polygon", "flags": {}} | more]})
    return folder / "labels.json"


def cvat(folder: Path, ring=RING, image="a.png", shape: str | None = None, before="") -> Path:
    from xml.sax.saxutils import quoteattr

    def polygon(ring):
        points = ";".join(",".join(map(str, p)) if isinstance(p, list) else str(p) for p in ring)
        return f'<polygon label="crater" points={quoteattr(points)} z_order="0"/>'
    pictures(folder)
    text = f'<?xml version="1.0" encoding="utf-8"?>\n{before}<annotations><version>1.1</version>'
    text += "<meta><task><labels><label><name>crater</name></label></labels></task></meta>"
    for number, (name, inside) in enumerate(((image, shape or polygon(ring)),
                                             ("b.png", polygon(OTHER)))):
        text += (f'<image id="{number}" name={quoteattr(name)} width="{WIDTH}" height="{HEIGHT}">'
                 f"{inside}</image>")
    (folder / "labels.xml").write_text(f"{text}</annotations>\n")
    return folder / "labels.xml"


def yolo(folder: Path, ring=RING, line: str | None = None) -> Path:
    def share(point):
        numbers = isinstance(point, list) and len(point) == 2 and all(
            isinstance(v, float) or isinstance(v, int) and v < 10**300 for v in point)
        return [point[0] / WIDTH, point[1] / HEIGHT] if numbers else point
    png(folder / "images" / "labels.png")
    png(folder / "images" / "b.png")
    (folder / "labels").mkdir()
    for name, points, said in (("labels", ring, line), ("b", OTHER, None)):
        values = [v for p in map(share, points) for v in (p if isinstance(p, list) else [p])]
        (folder / "labels" / f"{name}.txt").write_text(
            (f"0 {' '.join(map(str, values))}" if said is None else said) + "\n")
    (folder / "data.yaml").write_text("names: [crater]\n")
    return folder / "labels" / "labels.txt"


def geojson(folder: Path, ring=RING, geometry=None, **more) -> Path:
    maps(folder)
    first = to_degrees([*ring, *ring[:1]], 0.0)
    second = to_degrees([*OTHER, *OTHER[:1]], 0.6)
    features = [{"type": "Feature", "properties": {"diameter_km": 9}, "geometry": geometry or {
        "type": "Polygon", "coordinates": [points]}} for points in (first, second)]
    features[1]["geometry"] = {"type": "Polygon", "coordinates": [second]}
    return dump(folder / "labels.geojson",
                {"type": "FeatureCollection", "name": "labels", "features": features, **more})


def vector_file(folder: Path, suffix: str) -> Path:
    import pyogrio
    import shapely
    maps(folder)
    shapes = [shapely.Polygon(to_degrees(r, x)) for r, x in ((RING, 0.0), (OTHER, 0.6))]
    pyogrio.raw.write(folder / f"labels.{suffix}", shapely.to_wkb(np.array(shapes)),
                      [np.array([9.0, 9.0])], ["size"], geometry_type="Polygon",
                      crs="+proj=longlat +R=1737400")
    return folder / f"labels.{suffix}"


def catalogue(folder: Path, row="0.3,0.2,4", header="lon,lat,diameter_km") -> Path:
    maps(folder)
    (folder / "labels.csv").write_text(f"{header}\n{row}\n0.9,0.2,3\n")
    return folder / "labels.csv"


def mask_files(folder: Path, values=None, name="a_1.png") -> Path:
    pictures(folder)
    inside = np.zeros((HEIGHT, WIDTH), np.uint8)
    inside[10:20, 5:50] = 255
    png(folder / "masks" / "b_1.png", inside)
    png(folder / "masks" / name, inside if values is None else values)
    return folder / "masks" / name


def edited(valid: Callable[..., Path], edit: Callable[[Path], object], **options) -> Callable:
    """A case's `make`: the valid source whose label file is then edited."""
    return lambda folder: edit(valid(folder, **options))


def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        data = path.read_bytes()
        assert change(data) != data
        path.write_bytes(change(data))
    return edit


def cut(share: float) -> Callable[[Path], None]:
    return changed(lambda data: data[:int(len(data) * share)])


def flipped(data: bytes) -> bytes:
    """Data with a wrong byte in the middle."""
    half = len(data) // 2
    return data[:half] + bytes([data[half] ^ 255]) + data[half + 1:]


def replaced(old: str, new: str) -> Callable[[Path], None]:
    return changed(lambda data: data.replace(old.encode(), new.encode(), 1))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def document(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Changes a JSON file's value; what the change gives, if anything, takes its place."""
    def edit(path: Path) -> None:
        value = json.loads(path.read_text())
        result = change(value)
        path.write_text(json.dumps(value if result is None else result))
    return edit


SOURCES = {"coco": coco, "via": via, "via_csv": via_csv, "labelme": labelme, "cvat": cvat,
           "yolo": yolo, "vector": geojson, "catalogue": catalogue, "masks": mask_files}
GROUPS = {"coco": "coco", "via": "pixels", "via_csv": "pixels", "labelme": "pixels",
          "cvat": "pixels", "yolo": "pixels", "vector": "map", "catalogue": "map",
          "masks": "images"}


# Label files that are cut short, in another encoding, or something else altogether.

TEXT_DAMAGE = {
    "a quarter": cut(0.25), "a half": cut(0.5), "nine tenths": cut(0.9),
    "empty": lambda path: path.write_bytes(b""),
    "UTF-16 without mark": changed(lambda data: data.decode().encode("utf-16-le")),
    "NUL bytes": changed(
        lambda data: data[:len(data) // 2] + b"\0\0\0" + data[len(data) // 2:]),
    "random bytes": changed(lambda data: np.random.default_rng(0).bytes(len(data))),
    "a folder instead": folder_instead,
}
TEXT_ENDS = ("error", "is not|cannot be read|no column")
NOTHING = ("error", "holds no labels", "source")
UNNOTICED = ("warning", "")  # the other file is good, but this one must not be passed over
EXPECTED_OF_TEXT = {
    "empty": NOTHING, "UTF-16 without mark": NOTHING, "random bytes": NOTHING,
    "a folder instead": NOTHING, "via_csv: NUL bytes": ("problem", "region 1"),
    **{f"labelme: {name}": UNNOTICED for name in (
        "a quarter", "empty", "UTF-16 without mark", "random bytes")},
    "labelme: a folder instead": ("fine",),
    **{f"yolo: {name}": ("problem", "line 1 has") for name in TEXT_DAMAGE},
    "yolo: empty": ("fine",), "yolo: a folder instead": ("fine",),  # an image without craters
    "catalogue: a quarter": NOTHING, "catalogue: a half": UNNOTICED,
    "catalogue: nine tenths": ("problem", "row 3"),
    "catalogue: NUL bytes": ("problem", "row 2"), "vector: whole": ("warning", "WGS 84"),
}
for _format in ("coco", "via", "via_csv", "labelme", "cvat", "yolo", "vector", "catalogue"):
    for _name, _edit in TEXT_DAMAGE.items():
        add(GROUPS[_format], f"{_format}: {_name}", edited(SOURCES[_format], _edit),
            *EXPECTED_OF_TEXT.get(f"{_format}: {_name}", EXPECTED_OF_TEXT.get(_name, TEXT_ENDS)))
    add(GROUPS[_format], f"{_format}: whole", SOURCES[_format],
        *EXPECTED_OF_TEXT.get(f"{_format}: whole", ("fine",)))

# Outlines that are none.

OUTLINES = {
    "NaN": [[NAN, 5], [40, 5], [10, 25]], "infinite": [[10, INF], [40, 5], [10, 25]],
    "1e308": [[10, 5], [1e308, 5], [10, 25]],
    "huge whole number": [[10, 5], [10**400, 5], [10, 25]],
    "text": [["ten", 5], [40, 5], [10, 25]], "two points": RING[:2], "no point": [],
    "crossing itself": [[10, 5], [40, 25], [40, 5], [10, 25]],
    "on a line": [[10, 10], [20, 10], [30, 10]],
    "far outside": [[x + 5000, y] for x, y in RING],
    "beyond the edge": [[x + 40, y] for x, y in RING],
}
EXPECTED_OF_OUTLINES = {
    "NaN": ("problem", "finite|share"), "infinite": ("problem", "finite|share"),
    "1e308": ("problem", "finite|share"), "huge whole number": ("problem", "finite|list|share"),
    "text": ("problem", "list|finite number"), "two points": ("problem", r"2 point\(s\)|expected"),
    "no point": ("problem", "expected|neither|list"), "on a line": ("problem", "no area"),
    "crossing itself": ("warning", "crossed"), "beyond the edge": ("warning", "cut at its edge"),
    "far outside": ("problem", "outside|share"),
    **{f"vector: {name}": ("problem", "feature 1") for name in (
        "NaN", "infinite", "text", "two points", "no point")},
    "vector: 1e308": ("warning", "in no image"), "vector: far outside": ("warning", "in no image"),
    "vector: huge whole number": ("error", "cannot be read"),
}
for _format in ("coco", "via", "via_csv", "labelme", "cvat", "yolo", "vector"):
    for _name, _ring in OUTLINES.items():
        if (_format, _name) == ("yolo", "two points"):
            continue  # is a box
        add(GROUPS[_format], f"{_format}: outline {_name}",
            functools.partial(SOURCES[_format], ring=_ring),
            *EXPECTED_OF_OUTLINES.get(f"{_format}: {_name}", EXPECTED_OF_OUTLINES[_name]))

# Shapes that are none.

for _format in ("via", "via_csv"):
    for _name, _shape in {
            "negative radius": {"name": "circle", "cx": 20, "cy": 20, "r": -3},
            "radius 1e308": {"name": "circle", "cx": 20, "cy": 20, "r": 1e308},
            "no size": {"name": "rect", "x": 3, "y": 3, "width": 0, "height": 5},
            "lists of different lengths": {"name": "polygon", "all_points_x": [1, 2, 3],
                                           "all_points_y": [1, 2]},
            "number for a list": {"name": "polygon", "all_points_x": 5, "all_points_y": 5},
            "unknown shape": {"name": "blob"}}.items():
        add("pixels", f"{_format}: {_name}", functools.partial(SOURCES[_format], **_shape),
            "problem", "half axes|too large|lists|blob")
for _name, _shape in {
        "negative box": '<box label="crater" xtl="20" ytl="20" xbr="10" ybr="30"/>',
        "ellipse of 1e308 px": '<ellipse label="crater" cx="9" cy="9" rx="1e308" ry="2"/>',
        "mask of 1e5 x 1e5 px": '<mask label="crater" rle="10000000000" left="0" top="0" '
                                'width="100000" height="100000"/>',
        "mask run of 1e12": '<mask label="crater" rle="0, 1000000000000" left="0" top="0" '
                            'width="20" height="10"/>',
        "mask run of 1e30": f'<mask label="crater" rle="0, {10**30}" left="0" top="0" '
                            'width="20" height="10"/>',
        "mask runs that wrap": '<mask label="crater" rle="9223372036854775807,'
                               '9223372036854775807,202" left="0" top="0" width="20" height="10"/>',
        "mask size of 400 digits": f'<mask label="crater" rle="0,200" left="0" top="0" '
                                   f'width="{10**400}" height="10"/>',
        "mask far left": '<mask label="crater" rle="0,200" left="-1e300" top="0" width="20" '
                         'height="10"/>',
        "no label": '<polygon points="1,1;9,1;9,9"/>'}.items():
    add("pixels", f"cvat: {_name}", functools.partial(cvat, shape=_shape), "problem",
        "shape 1 has (an ellipse|a coordinate|a mask|the width|an outline|no label)")
for _name, _shape in {
        "circle of 1e308 px": {"shape_type": "circle", "points": [[5, 5], [1e308, 5]]},
        "rectangle of 400 digits": {"shape_type": "rectangle", "points": [[5, 5], [10**400, 50]]},
        "mask that is no base64": {"shape_type": "mask", "points": [[5, 5], [9, 9]], "mask": "%"},
        "mask that is no image": {"shape_type": "mask", "points": [[5, 5], [9, 9]], "mask": "AAAA"},
        "shape without points": {"points": None}, "label that is a list": {"label": ["crater"]},
        "points of three values": {"points": [[1, 2, 3]] * 4}}.items():
    add("pixels", f"labelme: {_name}", functools.partial(labelme, **_shape), "problem",
        "shape 1 has (a coordinate|the coordinate|an ellipse|a mask that is|an outline|the label)")
for _name, _line in {
        "negative width": "0 0.5 0.5 -0.2 0.1", "pixels": "0 30 20 10 8",
        "three values": "0 0.5 0.5",
        "class of text": "crater 0.5 0.5 0.2 0.1", "unknown class": "7 0.5 0.5 0.2 0.1",
        "class of 1e308": "1e308 0.5 0.5 0.2 0.1", "class of 400 digits": f"{10**400} 0.5 0.5 1 1",
        "odd outline": "0 0.1 0.1 0.5 0.1 0.5 0.5 0.3"}.items():
    add("pixels", f"yolo: {_name}", functools.partial(yolo, line=_line), "problem",
        "line 1 has (an ellipse|the coordinate|the class|. values)")

# COCO's own.

for _name, _first in {
        "box of negative size": {"segmentation": [], "bbox": [10, 10, -5, 5]},
        "box of 1e308 px": {"segmentation": [], "bbox": [10, 10, 1e308, 5]},
        "box of 400 digits": {"segmentation": [], "bbox": [10, 10, 10**400, 5]},
        "run of 1e12": {"segmentation": {"size": [40, 60], "counts": [0, 10**12]}},
        "runs of 400 digits": {"segmentation": {"size": [40, 60],
                                                "counts": [10**400, -10**400, 2400]}},
        "mask of 1e5 x 1e5 px": {"segmentation": {"size": [100000] * 2, "counts": [0, 10**10]}},
        "mask text cut short": {"segmentation": {"size": [40, 60], "counts": "Zh0"}},
        "mask text of a megabyte": {"segmentation": {"size": [40, 60], "counts": "o" * 10**6}},
        "mask text of another size": {"segmentation": {"size": [40, 60], "counts": "XmP2"}},
        "segmentation of text": {"segmentation": "none"},
        "unknown category": {"category_id": 99}, "category of a list": {"category_id": [1]},
        "unknown image": {"image_id": 77}, "diameter of text": {"diameter_km": "wide"},
        "diameter of 400 digits": {"diameter_km": 10**400}}.items():
    add("coco", f"coco: {_name}", functools.partial(coco, **_first), "problem",
        "annotation 1 .*(bbox|run-length|category|not listed|diameter_km|neither)")
for _name, _change, _outcome, _word in (
        ("a list", lambda v: [v], "error", "holds no labels"),
        ("images of another kind", lambda v: v.update(images={}), "error", ""),
        ("no image", lambda v: v.update(images=[]), "error", ""),
        ("images of numbers", lambda v: v.update(images=[1, 2]), "error", ""),
        ("annotations of text", lambda v: v["annotations"].insert(0, "x"), "problem", ""),
        ("no categories", lambda v: v.update(categories=None), "problem", ""),
        ("category twice", lambda v: v["categories"].append({"id": 1, "name": "pit"}), "problem",
         "its own"),
        ("image id twice", lambda v: v["images"].append({"id": 1, "file_name": "b.png"}),
         "problem", ""),
        ("image twice", lambda v: v["images"].append(v["images"][0] | {"id": 9}), "warning", ""),
        ("annotation id twice", lambda v: v["annotations"][1].update(id=1), "warning", ""),
        ("size of another image", lambda v: v["images"][0].update(width=61), "problem", ""),
        ("size of 1e308", lambda v: v["images"][0].update(width=10**400), "problem", ""),
        ("unknown split", lambda v: v["images"][0].update(split="trian"), "problem", "")):
    add("coco", f"coco: {_name}", edited(coco, document(_change)), _outcome, _word)
add("coco", "coco: nested 100,000 deep", edited(coco, replaced(
    '"segmentation": [', '"segmentation": [' + "[" * 100_000)), "error", "not JSON")
add("coco", "coco: nested 900 deep", edited(coco, replaced(
    '"segmentation": [[', '"bbox": ' + "[" * 900 + "]" * 900 + ', "segmentation": [[')), "fine")
add("coco", "coco: a box nested 900 deep", edited(coco, replaced(
    '"segmentation": [[', '"bbox": ' + "[" * 900 + "]" * 900 + ', "none": [[')), "problem")
add("pixels", "via: a value nested 900 deep", edited(via, replaced(
    '"all_points_x": [', '"all_points_x": ' + "[" * 900 + "]" * 900 + ', "none": [')), "problem")
add("pixels", "via: a radius nested 900 deep", edited(functools.partial(
    via, name="circle", cx=1, cy=2, r=3), replaced(
        '"r": 3', '"r": ' + "[" * 900 + "]" * 900)), "problem")
add("coco", "coco: Latin-1", edited(coco, changed(
    lambda data: data.replace(b'"name": "crater"', b'"name": "crat\xe8re"'))), "fine")
add("pixels", "labelme: nested 100,000 deep", edited(labelme, replaced(
    '"points": [', '"points": [' + "[" * 100_000)), "error", "not JSON")
add("pixels", "labelme: image size of 400 digits", edited(labelme, document(
    lambda v: v.update(imageWidth=10**400))), "problem")
add("pixels", "yolo: names that are an alias bomb", edited(yolo, lambda path: (
    path.parents[1] / "data.yaml").write_text("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{y}: &{y} [{','.join([f'*{x}'] * 9)}]\n" for x, y in zip("abcdefgh", "bcdefghi"))
        + "names: *i\n")), "error", "names", "data.yaml")
add("pixels", "yolo: names that are code", edited(yolo, lambda path: (
    path.parents[1] / "data.yaml").write_text("names: !!python/object/apply:os.getpid []\n")),
    "error", "YAML", "data.yaml")

# XML that grows or reaches out.

for _name, _text in {
        "billion laughs": "<!DOCTYPE b [<!ENTITY a '" + "ha" * 50 + "'>" + "".join(
            f"<!ENTITY {y} '{f'&{x};' * 10}'>" for x, y in zip("abcdefgh", "bcdefghi")) + "]>",
        "external entity": '<!DOCTYPE b [<!ENTITY a SYSTEM "file:///etc/passwd">]>',
        "external document type": '<!DOCTYPE b SYSTEM "http://127.0.0.1:9/x.dtd">'}.items():
    add("pixels", f"cvat: {_name}", functools.partial(cvat, before=_text), "error", "entities")
add("pixels", "cvat: 100,000 elements deep", functools.partial(
    cvat, shape="<polygon>" * 100_000), "error", "deep|whole XML")

# Names that lead elsewhere. The good image beside the source must never be taken.

HOSTILE = {"up": "../secret.png", "up far": "../../../../../../etc/passwd",
           "absolute": "/etc/passwd", "of Windows": "C:\\x.png", "device": "/dev/zero",
           "NUL": "a\0.png", "empty": "",
           "of 5,000 letters": "x" * 5000 + ".png", "two lines": "a\nb.png",
           "link": "link.png", "address": "http://127.0.0.1:9/secret.png"}
for _format in ("coco", "via", "via_csv", "labelme", "cvat"):
    for _name, _said in HOSTILE.items():
        if _format == "cvat" and _name == "NUL":
            continue  # cannot be written in XML

        def _make(folder: Path, valid=SOURCES[_format], said=_said):
            png(folder.parent / "secret.png")
            (folder / "link.png").symlink_to(folder.parent / "secret.png")
            valid(folder, image=said)
        add(GROUPS[_format], f"{_format}: image name {_name}", _make, "problem",
            "which is not below|names the image ''")

# Maps and catalogues.

POLYGON = [[0.1, 0.1], [0.4, 0.1], [0.2, 0.3], [0.1, 0.1]]
for _name, _geometry, _outcome in (
        ("line", {"type": "LineString", "coordinates": POLYGON}, "problem"),
        ("coordinates not nested", {"type": "Polygon", "coordinates": [0.1, 0.2]}, "problem"),
        ("coordinates of text", {"type": "Polygon", "coordinates": "here"}, "problem"),
        ("no coordinates", {"type": "Polygon"}, "problem"),
        ("empty coordinates", {"type": "Polygon", "coordinates": []}, "problem"),
        ("unknown type", {"type": "Blob", "coordinates": [POLYGON]}, "problem"),
        ("latitude of 500", {"type": "Polygon", "coordinates": [[[0.1, 500], [0.4, 501], [0.2, 502],
                                                                 [0.1, 500]]]}, "problem"),
        ("in no image", {"type": "Polygon", "coordinates": [[[50 + x, y] for x, y in POLYGON]]},
         "warning"),
        ("collection", {"type": "GeometryCollection", "geometries": []}, "problem"),
        ("collections nested 500 deep", functools.reduce(
            lambda inner, _: {"type": "GeometryCollection", "geometries": [inner]}, range(200),
            {"type": "Point", "coordinates": [0.1, 0.1]}), "problem")):
    add("map", f"vector: {_name}", functools.partial(geojson, geometry=_geometry), _outcome)
for _name, _change, _outcome in (
        ("no geometry", lambda v: v["features"][0].update(geometry=None), "problem"),
        ("feature of text", lambda v: v["features"].insert(0, "x"), "warning"),
        ("features of text", lambda v: v.update(features="x"), "error"),
        ("no feature", lambda v: v.update(features=[]), "warning"),
        ("diameter of text", lambda v: v["features"][0]["properties"].update(diameter_km="wide"),
         "warning"),
        ("point with a negative diameter", lambda v: v["features"][0].update(
            geometry={"type": "Point", "coordinates": [0.1, 0.1]}, properties={"diameter_km": -2}),
         "problem"),
        ("system at an address", lambda v: v.update(
            crs={"type": "link", "properties": {"href": "http://127.0.0.1:9/crs"}}), "error"),
        ("unknown system", lambda v: v.update(
            crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:XX::1"}}), "warning")):
    add("map", f"vector: {_name}", edited(geojson, document(_change)), _outcome)
add("map", "vector: without a name", edited(geojson, document(lambda v: v.pop("name") and v)),
    "warning", "WGS 84")
add("map", "vector: nested 100,000 deep", edited(geojson, replaced(
    '"coordinates": [', '"coordinates": [' + "[" * 100_000)), "error")
add("map", "vector: images without a place", edited(geojson, lambda path: [
    tiff(path.parent / name) for name in ("a.tif", "b.tif")]), "error", "georeference", "source")
for _suffix in "gpkg", "shp":
    _valid = functools.partial(vector_file, suffix=_suffix)
    _expected = ("error", "cannot be read") if _suffix == "gpkg" else ("problem", "feature 2")
    add("map", f"vector: {_suffix} cut at the beginning", edited(_valid, cut(0.02)), "error",
        "cannot be read")
    for _share in 0.3, 0.6, 0.9:
        add("map", f"vector: {_suffix} cut at {_share}", edited(_valid, cut(_share)), *_expected)
    add("map", f"vector: {_suffix} of random bytes behind its beginning", edited(_valid, changed(
        lambda data: data[:100] + np.random.default_rng(0).bytes(len(data) - 100))), *_expected)
    add("map", f"vector: {_suffix} whole", _valid, "fine")
for _end, _without, _short in (
        ("shx", ("error", "no .shx"), ("error", "shx")), ("dbf", ("error", "no .dbf"), ("fine",)),
        ("prj", ("problem", "feature 1"), ("error", "cannot be read"))):
    add("map", f"vector: shapefile without {_end}", edited(
        functools.partial(vector_file, suffix="shp"),
        lambda path, end=_end: path.with_suffix(f".{end}").unlink()), *_without)
    add("map", f"vector: shapefile whose {_end} is cut short", edited(
        functools.partial(vector_file, suffix="shp"),
        lambda path, end=_end: cut(0.5)(path.with_suffix(f".{end}"))), *_short)
add("map", "vector: shapefile of a billion points", edited(
    functools.partial(vector_file, suffix="shp"), changed(
        lambda data: data[:148] + struct.pack("<i", 10**9) + data[152:])), "problem", "feature 1")

for _name, _row, _outcome in (
        ("text", "here,there,wide", "problem"), ("latitude of 95", "0.3,95,4", "problem"),
        ("longitude of 1e308", "1e308,0.2,4", "problem"),
        ("negative diameter", "0.3,0.2,-4", "problem"),
        ("no diameter", "0.3,0.2,", "problem"), ("infinite diameter", "0.3,0.2,inf", "problem"),
        ("NaN", "nan,nan,nan", "warning"), ("400 digits", f"0.3,0.2,{10**400}", "problem"),
        ("larger than the Moon", "0.3,0.2,1e9", "warning"),
        ("too small to see", "0.3,0.2,1e-9", "warning"),
        ("too many values", "0.3,0.2,4,5,6", "fine"), ("too few values", "0.3", "problem"),
        ("open quotes", '"0.3,0.2,4', "error"), ("NUL", "0.3,\0,4", "problem"),
        ("ten million letters", "x" * 10**7 + ",0.2,4", "problem"), ("nothing", "", "warning"),
        ("in no image", "200,-50,4", "warning")):
    add("map", f"catalogue: row of {_name}", functools.partial(catalogue, row=_row), _outcome)
add("map", "catalogue: column names only", edited(catalogue, lambda path: path.write_text(
    "lon,lat,diameter_km\n")), "warning")
add("map", "catalogue: column names twice", functools.partial(
    catalogue, header="lon,lat,diameter_km,lon,lat", row="0.3,0.2,4,80,80"), "fine")

# Images and masks: what a chunk or a tag claims.


def claiming_png(path: Path, width=100_000, height=100_000) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(
            ">I", zlib.crc32(kind + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(
        ">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(
            bytes(10**6))) + chunk(b"IEND", b""))


def giant_tiff(path: Path, side=100_000) -> None:
    """One packed strip of 10 GB, as far as the tags go."""
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 200),
            (277, 3, 1), (278, 4, side), (279, 4, 300)]
    data = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    for tag, kind, value in tags:
        data += struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value)
    path.write_bytes(data + bytes(400))


def gif(path: Path) -> None:
    from PIL import Image
    Image.new("L", (WIDTH, HEIGHT)).save(path, "GIF")


def jpeg_in_half(path: Path) -> None:
    from PIL import Image
    with io.BytesIO() as file:
        Image.open(path).save(file, "JPEG")
        path.write_bytes(file.getvalue()[:len(file.getvalue()) // 2])


def link_out(path: Path) -> None:
    shutil.move(path, path.parents[2] / f"secret{path.suffix}")
    path.symlink_to(path.parents[2] / f"secret{path.suffix}")


PICTURES = {
    "cut at 10 bytes": lambda path: path.write_bytes(path.read_bytes()[:10]),
    "cut at 40 bytes": lambda path: path.write_bytes(path.read_bytes()[:40]),
    "cut in half": cut(0.5), "cut at four fifths": cut(0.8),
    "empty": lambda path: path.write_bytes(b""), "a folder": folder_instead,
    "of text": lambda path: path.write_text("no image\n" * 100),
    "with a changed byte": changed(flipped),
    "claims 1e5 x 1e5 px": claiming_png,
    "claims 0 x 0 px": lambda path: claiming_png(path, 0, 0),
    "claims two billion px in a row": lambda path: claiming_png(path, 2**31 - 1, 1),
    "a GIF": gif, "half a JPEG": jpeg_in_half,
    "a virtual raster": lambda path: path.write_text(
        f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}"><VRTRasterBand dataType="Byte" '
        'band="1"><SimpleSource><SourceFilename>/etc/passwd</SourceFilename></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"),
    "one strip of 10 GB": giant_tiff,
    "missing": lambda path: path.unlink(),
}

def without_sizes(value: dict) -> None:
    for image in value["images"]:
        del image["width"], image["height"]


def image_edited(edit: Callable[[Path], object]) -> Callable:
    """Labels that do not say the images' sizes, and an edited image."""
    return edited(coco, lambda path: [document(without_sizes)(path), edit(path.parent / "a.png")])


for _name, _edit in PICTURES.items():
    add("images", f"image {_name}", image_edited(_edit), "problem", "", r"a\.png")
    _expected = ("problem", "", r"a_1\.png")
    if _name in ("a folder", "missing"):
        _expected = ("warning", "no mask", r"a\.png")
    add("images", f"mask {_name}", edited(mask_files, _edit), *_expected)
for _name, _edit in ("1e5 x 1e5 px", claiming_png), ("one strip of 10 GB", giant_tiff):
    add("images", f"image and mask of {_name}", edited(mask_files, lambda path, edit=_edit: [
        edit(path), edit(path.parents[1] / "a.png")]), "problem", "too large", r"a_1\.png")


def coco_tiff(folder: Path, values=None, edit=None, **more) -> None:
    document(without_sizes)(coco(folder, image="a.tif"))
    (folder / "a.png").unlink()
    tiff(folder / "a.tif", values, **more)
    if edit:
        edit(folder / "a.tif")


ROWS = np.ones((1, HEIGHT, 1)) * np.arange(WIDTH)
for _name, _options, _outcome in (
        ("wrong directory", {"edit": changed(lambda d: d[:4] + struct.pack("<I", 2**31) + d[8:])},
         "problem"),
        ("directory of itself", {"edit": changed(lambda d: d[:4] + struct.pack("<I", 4) + d[8:])},
         "problem"),
        ("one strip of 10 GB", {"edit": giant_tiff}, "problem"), ("cut in half", {"edit": cut(0.5)},
                                                                  "problem"),
        ("cut at nine tenths", {"edit": cut(0.9)}, "problem"),
        ("five bands", {"values": np.zeros((5, HEIGHT, WIDTH), np.uint8)}, "problem"),
        ("complex numbers", {"values": ROWS.astype(np.complex64)}, "problem"),
        ("real numbers, all NaN", {"values": ROWS * NAN}, "warning"),
        ("real numbers, some infinite", {"values": np.where(ROWS > 30, INF, ROWS)}, "fine"),
        ("real numbers up to 1e308", {"values": ROWS * 3e306}, "warning"),
        ("16 bit, all one value", {"values": np.full((1, HEIGHT, WIDTH), 700, np.uint16)},
         "warning"),
        ("16 bit, all 0", {"values": np.zeros((1, HEIGHT, WIDTH), np.uint16)}, "warning"),
        ("all nodata", {"values": np.zeros((1, HEIGHT, WIDTH), np.uint16), "nodata": 0},
         "warning")):
    add("images", f"TIFF: {_name}", functools.partial(coco_tiff, **_options), _outcome, "",
        r"a\.tif")
add("images", "PNG of 16 bit, all one value", image_edited(lambda path: png(
    path, np.full((HEIGHT, WIDTH), 700, np.uint16))), "warning", "", r"a\.png")
add("images", "PNG of 16 bit, cut short", image_edited(lambda path: [
    png(path, np.arange(2400, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 20), cut(0.7)(path)]),
    "problem", "cannot be read", r"a\.png")
for _name, _values, _file in (
        ("empty mask", np.zeros((HEIGHT, WIDTH), np.uint8), "a_1.png"),
        ("mask of everything", np.full((HEIGHT, WIDTH), 9, np.uint8), "a_1.png"),
        ("16-bit raster, all one value", np.full((HEIGHT, WIDTH), 900, np.uint16), "a.png"),
        ("mask of another size", np.zeros((WIDTH, HEIGHT), np.uint8), "a_1.png"),
        ("mask of no image", None, "c_1.png"),
        ("raster of noise", np.random.default_rng(0).integers(0, 65000, (HEIGHT, WIDTH)).astype(
            np.uint16) + 1, "a.png")):
    add("images", _name, functools.partial(mask_files, values=_values, name=_file), "problem", "",
        re.escape(_file))
add("images", "mask behind a link out of the source", edited(mask_files, link_out), "warning",
    "no mask", r"a\.png")
add("images", "image behind a link out of the source", edited(
    coco, lambda path: [(path.parent / "x").mkdir(), shutil.move(
        path.parent / "a.png", path.parent / "x"), link_out(path.parent / "x" / "a.png")]),
    "problem", "not below", r"a\.png")

# Archives and places.


def zipped(folder: Path, *members: tuple[str, bytes], good=True) -> Path:
    path = folder / "labels.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if good:
            coco(folder / "in")
            for inside in sorted((folder / "in").iterdir()):
                archive.write(inside, inside.name)
        for name, data in members:
            archive.writestr(name, data)
    return path


def lying(path: Path) -> Path:
    """The index of the archive says that a large member is small."""
    data = path.read_bytes()
    for mark, at in (b"PK\x01\x02", 24), (b"PK\x03\x04", 22):
        place = data.rindex(mark)
        data = data[:place + at] + struct.pack("<I", 10) + data[place + at + 4:]
    path.write_bytes(data)
    return path


def link_in_zip(folder: Path) -> Path:
    path = zipped(folder)
    with zipfile.ZipFile(path, "a") as archive:
        member = zipfile.ZipInfo("link.png")
        member.external_attr = 0o120777 << 16
        archive.writestr(member, "/etc/passwd")
    return path


for _name, _make, *_expected in (
        ("whole", zipped, "fine"), ("link", link_in_zip, "fine"),
        ("bomb", lambda f: zipped(f, ("x.bin", bytes(10**8))), "error", "grow"),
        ("bomb that lies", lambda f: lying(zipped(f, ("x.bin", bytes(10**8)))), "error", "CRC"),
        ("member ../x", lambda f: zipped(f, ("../x.txt", b"x")), "error", "leads out"),
        ("member /x", lambda f: zipped(f, ("/x.txt", b"x")), "error", "leads out"),
        ("member C:\\x", lambda f: zipped(f, ("C:\\x.txt", b"x")), "error", "leads out"),
        ("member ..\\x", lambda f: zipped(f, ("a\\..\\..\\x.txt", b"x")), "error", "leads out"),
        ("member with a long name", lambda f: zipped(f, ("x" * 5000, b"x")), "error"),
        ("file in place of a folder", lambda f: zipped(f, ("a.png/b.png", b"x")), "error"),
        ("cut in half", edited(zipped, cut(0.5)), "error", "cannot be unpacked"),
        ("no archive", lambda f: (f / "labels.zip").write_bytes(b"PK"), "error",
         "cannot be unpacked"),
        ("empty", functools.partial(zipped, good=False), "error"),
        ("changed byte", edited(zipped, changed(flipped)), "error", "CRC|cannot be unpacked")):
    add("images", f"zip: {_name}", _make, *_expected, *["", r"labels\.zip"][len(_expected) - 1:],
        at="labels.zip")
add("images", "no such source", lambda folder: None, "error", "does not exist", "none", at="none")
add("images", "an empty folder", lambda folder: None, "error", "no image", "source")
add("images", "an image as labels", pictures, "error", "no labels", r"a\.png", at="a.png")


# What other tools write: Pascal VOC, Label Studio, tracks, images in label files.


def voc(folder: Path, inside: str | None = None, image="a.png", before="") -> Path:
    pictures(folder)
    good = ("<object><name>crater</name><bndbox><xmin>5</xmin><ymin>6</ymin><xmax>30</xmax>"
            "<ymax>20</ymax></bndbox></object>")
    for name, picture, text in (("labels.xml", image, good if inside is None else inside),
                                ("b.xml", "b.png", good)):
        (folder / name).write_text(f'<?xml version="1.0"?>{before}<annotation><filename>{picture}'
                                   f"</filename>{text}</annotation>")
    return folder / "labels.xml"


def label_studio(folder: Path, kind="polygonlabels", value=None, size=(WIDTH, HEIGHT),
                 image="a.png", result: object = None, tasks: object = None) -> Path:
    pictures(folder)
    value = {"points": [[10, 10], [60, 20], [30, 70]]} if value is None else value

    def task(image, value, kind, size):
        region = {"type": kind, "original_width": size[0], "original_height": size[1],
                  "value": {**value, kind: ["crater"]}}
        return {"data": {"image": f"/data/upload/{image}"}, "annotations": [
            {"result": [region] if result is None or image == "b.png" else result}]}
    good = task("b.png", {"points": [[10, 10], [60, 20], [30, 70]]}, "polygonlabels",
                (WIDTH, HEIGHT))
    return dump(folder / "labels.json", [*(tasks or [task(image, value, kind, size)]), good])


def embedded(folder: Path, data) -> Path:
    path = labelme(folder)
    (folder / "a.png").unlink()
    files = sorted(folder.rglob("*.json"))
    value = json.loads(files[0].read_text())
    dump(files[0], value | {"imagePath": "a.png", "imageData": data})
    return path


_BOX = "<object><name>crater</name><bndbox>{}</bndbox></object>"
for _name, _make, *_expected in (
        ("voc: whole", voc, "fine"),
        ("voc: a half", edited(voc, cut(0.5)), "error", "not whole XML"),
        ("voc: entities", functools.partial(voc, before='<!DOCTYPE a [<!ENTITY b "c">]>'), "error",
         "entities", r"\.xml"),
        ("voc: 100,000 elements deep", functools.partial(voc, inside="<a>" * 100_000), "error",
         "deep|not whole"),
        ("voc: no such image", functools.partial(voc, image="gone.png"), "problem",
         "gone.png"),
        ("voc: nothing in a box", functools.partial(voc, inside=_BOX.format("")), "problem", "xmin"),
        ("voc: text in a box", functools.partial(voc, inside=_BOX.format(
            "<xmin>x</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>")), "problem", "xmin 'x'"),
        ("voc: a box turned over", functools.partial(voc, inside=_BOX.format(
            "<xmin>9</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax>")), "problem", "axes above 0"),
        ("voc: a box far outside", functools.partial(voc, inside=_BOX.format(
            "<xmin>900</xmin><ymin>1</ymin><xmax>950</xmax><ymax>5</ymax>")), "problem", "outside"),
        ("voc: no name", functools.partial(voc, inside="<object><bndbox/></object>"), "problem",
         "no name"),
        ("voc: a size in words", functools.partial(
            voc, inside="<size><width>wide</width><height>4</height></size>"), "problem",
         "image size"),
        ("labelstudio: whole", label_studio, "fine"),
        ("labelstudio: a half", edited(label_studio, cut(0.5)), "error", "not JSON"),
        ("labelstudio: no such image", functools.partial(label_studio, image="gone.png"), "problem",
         "gone.png"),
        ("labelstudio: tasks of numbers", functools.partial(label_studio, tasks=[7, None]),
         "problem", "expected an object"),
        ("labelstudio: a result of text", functools.partial(label_studio, result="x"), "problem",
         "list of results"),
        ("labelstudio: regions of numbers", functools.partial(label_studio, result=[5]), "problem",
         "expected an object"),
        ("labelstudio: no size", functools.partial(label_studio, size=(None, None)), "problem",
         "original_width"),
        ("labelstudio: a size of 1e400", functools.partial(label_studio, size=(10**400, 5)),
         "problem", "finite number"),
        ("labelstudio: another size", functools.partial(label_studio, size=(61, HEIGHT)), "problem",
         "made for"),
        ("labelstudio: points of text", functools.partial(label_studio, value={"points": "xy"}),
         "problem", "pairs"),
        ("labelstudio: an ellipse without axes", functools.partial(
            label_studio, kind="ellipselabels", value={"x": 5, "y": 5}), "problem", "radiusX"),
        ("labelstudio: a brush of nothing", functools.partial(
            label_studio, kind="brushlabels", value={"rle": []}), "problem", "cut short"),
        ("labelstudio: a brush of text", functools.partial(
            label_studio, kind="brushlabels", value={"rle": "abc"}), "problem", "list of bytes"),
        ("labelstudio: a brush of 1e5 x 1e5 px", functools.partial(
            label_studio, kind="brushlabels", value={"rle": [0] * 9}, size=(10**5, 10**5)),
         "problem", "too large"),
        ("labelme: imageData of nothing", functools.partial(embedded, data="aGk="), "problem",
         "imageData", ""),
        ("labelme: imageData that is not base64", functools.partial(embedded, data="?"), "problem",
         "imageData", ""),
        ("cvat: a track that moves", edited(cvat, changed(lambda data: data.replace(
            b"</annotations>", b'<track id="4" label="crater"><box frame="0" outside="0" xtl="1" '
            b'ytl="2" xbr="9" ybr="9"/><box frame="5" outside="0" xtl="1" ytl="2" xbr="9" '
            b'ybr="9"/></track></annotations>'))), "problem", "none between")):
    add("tools", _name, _make, *_expected)


# Running them.


def run_group(group: str, only: list[str]) -> None:
    """In the worker: runs cases and prints a line of JSON for each."""
    from crater_model.importing.dataset import import_dataset

    def alarm(*_):
        raise TimeoutError(f"took more than {SECONDS} s")

    def peak_memory() -> int:
        # Not getrusage, where a new process starts with its parent's peak.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    opened, peaks = [], [0]
    sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
    signal.signal(signal.SIGALRM, alarm)
    for name, case in CASES[group].items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as place:
            base, tempfile.tempdir = Path(place), None
            for folder in "source", "results", "temporary":
                (base / folder).mkdir()
            case.make(base / "source")
            source = base / "source" / case.at
            tempfile.tempdir = str(base / "temporary")
            opened.clear()
            start, runs = time.perf_counter(), []
            for skip_bad in False, True:
                signal.alarm(SECONDS)
                runs.append(run(import_dataset, source, base / "results" / "out", skip_bad))
                signal.alarm(0)
                runs[-1]["left"] = sorted(p.name for d in ("results", "temporary")
                                          for p in (base / d).iterdir())
                shutil.rmtree(base / "results" / "out", ignore_errors=True)
            tempfile.tempdir = None
            print(json.dumps({
                "name": name, "seconds": time.perf_counter() - start, "runs": runs,
                "opened": [p for p in opened if "secret" in p or p.startswith("/etc/passwd")],
                "peak_kb": peak if (peak := peak_memory()) > peaks[-1] else 0}), flush=True)
            peaks.append(peak)


def run(import_dataset: Callable, source: Path, out: Path, skip_bad: bool) -> dict:
    from crater_model.errors import CraterError
    try:
        report = import_dataset(source, out, skip_bad=skip_bad)
    except CraterError as error:
        return {"error": str(error)}
    except BaseException as error:  # the very thing that is looked for
        import traceback
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return {"crash": f"{type(error).__name__}: {str(error)[:300]} "
                         f"({Path(frame.filename).name}:{frame.lineno})"}
    return {"problems": report.problems, "warnings": report.warnings, "images": report.images}


def outcomes(group: str, *only: str) -> tuple[dict[str, dict], str]:
    """What the cases of a group came to, and how the worker ended."""
    done = subprocess.run([sys.executable, __file__, group, *only], capture_output=True, text=True,
                          cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO)}, timeout=120)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    how = f"exit {done.returncode}: {done.stderr[-500:]}"
    return {value["name"]: value for value in found}, how


@pytest.fixture(scope="module")
def workers(request):
    """A worker for each group that is asked for; two run at a time."""
    groups = {item.callspec.params["group"] for item in request.session.items
              if item.module is request.module and hasattr(item, "callspec")}
    with ThreadPoolExecutor(2) as pool:
        yield {group: pool.submit(outcomes, group) for group in CASES if group in groups}


@pytest.mark.parametrize("group, name", [(g, n) for g, cases in CASES.items() for n in cases])
def test_damage_ends_in_one_clear_line(group, name, workers):
    case, (found, how) = CASES[group][name], workers[group].result()
    assert name in found, f"the worker died at or before this case; {how}"
    result = found[name]
    strict, lenient = result["runs"]
    assert "crash" not in strict and "crash" not in lenient, result["runs"]
    for one in strict, lenient:
        lines = [one["error"]] if "error" in one else one["problems"] + one["warnings"]
        assert all(len(line.splitlines()) == 1 for line in lines), lines
        assert one["left"] == ([] if "error" in one else ["out"]), "left something behind"
    assert result["seconds"] < 2 * SECONDS and result["peak_kb"] < PEAK_KB
    assert not result["opened"], "opened a file outside of the source"
    kind, lines = outcome_of(strict, lenient)
    assert kind == case.outcome, result["runs"]
    assert kind == "fine" or any(
        re.search(case.word, line) and re.search(case.names, line) for line in lines), lines


def outcome_of(strict: dict, lenient: dict) -> tuple[str, list[str]]:
    if "error" in lenient:
        return "error" if "error" in strict else "only skip_bad fails", [lenient["error"]]
    if lenient["problems"]:
        return ("problem" if "error" in strict else "strict passes"), lenient["problems"]
    return ("warning" if lenient["warnings"] else "fine"), lenient["warnings"]


def test_there_are_enough_cases_of_every_format():
    names = [name for cases in CASES.values() for name in cases]
    assert len(names) >= 200
    for format in SOURCES:
        assert sum(format.split("_")[0].rstrip("s") in name for name in names) >= 10, format


if __name__ == "__main__":
    run_group(sys.argv[1], sys.argv[2:])
