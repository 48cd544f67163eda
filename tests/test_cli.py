"""The real command line: the whole way on tiny data, and one clear line for every mistake."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from crater_model.cli import main
from tests.tiny import TINY, UNCOMPILED


def crater(capsys, *arguments, status=0):
    """Runs a command with --json; gives its JSON, or its error lines where it fails."""
    assert main([*map(str, arguments), "--json"]) == status, capsys.readouterr().err
    out, err = capsys.readouterr()
    if status:
        return [line for line in err.splitlines()
                if line.startswith("crater: ") and not line.startswith("crater: warning: ")]
    return json.loads(out)


def test_help_names_every_command():
    done = subprocess.run([sys.executable, "-m", "crater_model.cli", "--help"], text=True,
                          capture_output=True, check=True)
    for command in ("synthesize", "dataset", "records", "train", "evaluate", "export", "image",
                    "serve", "detect"):
        assert command in done.stdout


@pytest.mark.parametrize("arguments", [
    [], ["nonsense"], ["synthesize"], ["synthesize", "x", "--size", "12"],
    ["records", "write", "a", "b", "--splits", "1,2"], ["train", "r"],
    ["train", "r", "--model-dir", "m", "--set", "novalue"],
    ["detect", "a.png", "--output", "b.csv"]])
def test_wrong_usage_is_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_synthesize_check_and_chips(tmp_path, capsys):
    made = crater(capsys, "synthesize", tmp_path / "data", "--scenes", 6, "--size", "120x80",
                  "--seed", 3)
    assert made["scenes"] == 6 and made["size"] == [120, 80]
    report = crater(capsys, "dataset", "check", tmp_path / "data", "--report",
                    tmp_path / "report.html")
    assert report["problems"] == [] and report["statistics"]["images"] == 6
    assert (tmp_path / "report.html").read_text().lower().startswith("<!doctype html")
    chips = crater(capsys, "dataset", "chips", tmp_path / "data", tmp_path / "chips",
                   "--size", 64, "--scales", "1,0.5")
    assert chips["scales"] == [1.0, 0.5] and chips["chips"] > 6


def test_import_then_chips_then_records(tmp_path, capsys):
    """Masks of two craters over a 16-bit image, cut with every option."""
    (tmp_path / "source/masks").mkdir(parents=True)
    yy, xx = np.mgrid[:80, :120]
    shapes = [np.hypot(xx - 30, yy - 40) < 12, np.hypot(xx - 90, yy - 20) < 7]
    image = 1000 + 300 * shapes[0] - 200 * shapes[1] + xx
    cv2.imwrite(str(tmp_path / "source/a.png"), image.astype(np.uint16))
    for number, shape in enumerate(shapes):
        cv2.imwrite(str(tmp_path / f"source/masks/a_{number}.png"), shape.astype(np.uint8) * 255)
    made = crater(capsys, "dataset", "import", tmp_path / "source", tmp_path / "data",
                  "--percentiles", "1,99")
    assert (made["format"], made["images"], made["instances"], made["stretched"]) == (
        "masks", 1, 2, 1)
    assert crater(capsys, "dataset", "check", tmp_path / "data")["statistics"]["label_sources"] == {
        "mask": 2}
    chips = crater(capsys, "dataset", "chips", tmp_path / "data", tmp_path / "chips", "--size", 40,
                   "--scales", "1,0.5", "--overlap", 0, "--empties", 0, "--max-craters", 1,
                   "--min-valid", 0.9, "--splits", "1,0,0")
    assert chips["left_out_empty"] > 0 and chips["lost"] == 0
    records = crater(capsys, "records", "write", tmp_path / "chips", tmp_path / "records",
                     "--splits", "1,0,0")
    assert sum(split["images"] for split in records["splits"].values()) == chips["chips"]
    manifest = json.loads((tmp_path / "records/manifest.json").read_text())
    assert manifest["stretch_percentiles"] == [1, 99]


def test_import_says_all_that_is_wrong(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("lon,lat,diam_km\n1,2,3\n")
    lines = crater(capsys, "dataset", "import", tmp_path, tmp_path / "out", status=1)
    assert len(lines) == 1 and "holds no image" in lines[0]
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps({
            "imagePath": f"{name}.png", "shapes": [
                {"label": "crater", "shape_type": "polygon", "points": [[1, 1], [2, 2]]}]}))
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((20, 30), np.uint8))
    lines = crater(capsys, "dataset", "import", tmp_path, tmp_path / "out", "--format", "labelme",
                   status=1)
    assert len(lines) == 3 and "a.json: shape 1" in lines[0] and "b.json: shape 1" in lines[1]
    assert "2 problem(s); leave them out with --skip-bad" in lines[2]
    assert not (tmp_path / "out").exists()
    made = crater(capsys, "dataset", "import", tmp_path, tmp_path / "out", "--format", "labelme",
                  "--skip-bad")
    assert made["images"] == 2 and made["instances"] == 0 and len(made["problems"]) == 2


BROKEN = {
    "missing image": (lambda d, a: (d / "images" / a["images"][0]["file_name"]).unlink(),
                      "scene_001.png"),
    "polygon outside": (lambda d, a: a["annotations"][0].update(
        segmentation=[[500, 500, 520, 500, 510, 520]]), "leaves its image"),
    "two points": (lambda d, a: a["annotations"][0].update(segmentation=[[1, 1, 5, 5]]), "point"),
    "duplicate id": (lambda d, a: a["images"][1].update(id=a["images"][0]["id"]), "id"),
    "unknown category": (lambda d, a: a["annotations"][0].update(category_id=9), "categor"),
    "unreadable PNG": (lambda d, a: (d / "images" / a["images"][0]["file_name"]).write_bytes(
        b"\x89PNG\r\n\x1a\n broken"), "scene_001.png"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_data_set_is_named_before_any_training(case, tiny_dataset, tmp_path, capsys):
    harm, word = BROKEN[case]
    path = tiny_dataset / "annotations.json"
    annotations = json.loads(path.read_text())
    harm(tiny_dataset, annotations)
    path.write_text(json.dumps(annotations))
    lines = crater(capsys, "dataset", "check", tiny_dataset, status=1)
    assert word in lines[0]
    lines = crater(capsys, "records", "write", tiny_dataset, tmp_path / "records", status=1)
    assert len(lines) == 1 and word in lines[0]
    assert not (tmp_path / "records").exists()


def test_a_path_that_is_a_file(tiny_dataset, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    for command in (["synthesize", tmp_path / "file"],
                    ["records", "write", tiny_dataset, tmp_path / "file"],
                    ["records", "write", tiny_dataset, tmp_path / "file" / "below"]):
        lines = crater(capsys, *command, status=1)
        assert len(lines) == 1 and "file" in lines[0]
    assert (tmp_path / "file").read_text() == "in the way"


def test_missing_things_are_named(tmp_path, capsys):
    for command, word in (
            (["dataset", "check", tmp_path / "none"], "none"),
            (["records", "show", tmp_path / "none"], "none"),
            (["train", tmp_path / "none", "--model-dir", tmp_path / "m"], "none"),
            (["evaluate", tmp_path / "none", tmp_path / "x"], "x"),
            (["export", tmp_path / "none", tmp_path / "out"], "none"),
            (["serve", tmp_path / "none"], "none"),
            (["detect", tmp_path / "no.png", "--model", tmp_path, "--output", "o.csv"], "no.png"),
            (["detect", tmp_path / "no.png", "--model", tmp_path, "--output", "o.xyz"], ".xyz")):
        lines = crater(capsys, *command, status=1)
        assert len(lines) == 1 and word in lines[0], command


def test_an_unknown_setting_is_refused_before_training(tiny_dataset, tmp_path, capsys):
    crater(capsys, "records", "write", tiny_dataset, tmp_path / "records")
    lines = crater(capsys, "train", tmp_path / "records", "--model-dir", tmp_path / "model",
                   "--set", "trainer.train_stepz=3", status=1)
    assert len(lines) == 1 and "did you mean 'trainer.train_steps'" in lines[0]


@pytest.mark.slow
def test_one_mosaic_goes_the_whole_way(make_dataset, tmp_path, capsys):
    """A data set of one image: it is cut into blocks before its chips are, and scored on one."""
    make_dataset(tmp_path / "mosaic", craters=(70,), size=(300, 200))
    report = crater(capsys, "dataset", "check", tmp_path / "mosaic")
    assert any("scene_001.png is cut into blocks" in line for line in report["warnings"])
    chips = crater(capsys, "dataset", "chips", tmp_path / "mosaic", tmp_path / "chips",
                   "--size", 64, "--scales", "1")
    assert "gaps of 18 px" in chips["splitting"]
    written = crater(capsys, "records", "write", tmp_path / "chips", tmp_path / "records")
    assert all(split["instances"] for split in written["splits"].values())
    assert written["splitting"]["by"] == "blocks"
    settings = [part for key, value in {**TINY, **UNCOMPILED, "trainer.train_steps": 2}.items()
                for part in ("--set", f"{key}={value}")]
    result = crater(capsys, "train", tmp_path / "records", "--model-dir", tmp_path / "model",
                    *settings)
    assert result["metric"]["value"] is not None and result["splitting"] == written["splitting"]
    scores = crater(capsys, "evaluate", tmp_path / "model", tmp_path / "mosaic", "--records",
                    tmp_path / "records", "--output", tmp_path / "scores")
    assert scores["images"] == 1 and 0 < scores["instances"] < 20
    assert scores["scenes"][0].startswith("scene_001.png#xywh=")
    # A mosaic that cannot be cut is refused before anything is trained.
    make_dataset(tmp_path / "small", craters=(3,))
    for arguments in (["dataset", "chips", tmp_path / "small", tmp_path / "c", "--size", 64],
                      ["records", "write", tmp_path / "small", tmp_path / "r"]):
        line, = crater(capsys, *arguments, status=1)
        assert "scene_001.png (96x64 px, 3 label(s)) has no room for blocks" in line


@pytest.mark.slow
def test_the_whole_way(make_dataset, tmp_path, capsys):
    """Records, training, scoring, export and detection on a scene with 600 craters and one
    with none: nothing is lost on the way."""
    # Small scenes: a network after two steps finds hundreds in every tile.
    crowded_dataset = make_dataset(tmp_path / "crowded", craters=(600, 0, 12), size=(150, 90))
    splits = {"scene_001.png": "train", "scene_002.png": "validation", "scene_003.png": "test"}
    path = crowded_dataset / "annotations.json"
    annotations = json.loads(path.read_text())
    for image in annotations["images"]:
        image["split"] = splits[image["file_name"]]
    path.write_text(json.dumps(annotations))
    written = crater(capsys, "records", "write", crowded_dataset, tmp_path / "records")
    assert written["splits"]["train"]["instances"] == 600
    assert written["splits"]["validation"]["empty_images"] == 1
    shown = crater(capsys, "records", "show", tmp_path / "records", "--picture",
                   tmp_path / "records.png")
    assert shown["splits"]["train"]["max_instances"] == 600
    assert (tmp_path / "records.png").read_bytes().startswith(b"\x89PNG")

    settings = [part for key, value in {**TINY, "trainer.train_steps": 2}.items()
                for part in ("--set", f"{key}={value}")]
    result = crater(capsys, "train", tmp_path / "records", "--model-dir", tmp_path / "model",
                    *settings)
    # The validation scene has no crater: there is no score, and none is made up.
    assert result["metric"]["value"] is None and result["loss"] > 0
    params = (tmp_path / "model" / "params.yaml").read_text()
    assert "max_num_instances: 608" in params and "max_num_detections: 900" in params

    scores = crater(capsys, "evaluate", tmp_path / "model", crowded_dataset, "--output",
                    tmp_path / "scores")
    assert scores["images"] == 3 and scores["instances"] == 612
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text()) == scores
    for picture in ("precision_recall.png", "completeness.png", "scene_001.png"):
        assert (tmp_path / "scores" / picture).read_bytes().startswith(b"\x89PNG")
    chosen = crater(capsys, "evaluate", tmp_path / "model", crowded_dataset, "--records",
                    tmp_path / "records")
    assert chosen["scenes"] == ["scene_003.png"] and chosen["instances"] == 12

    exported = crater(capsys, "export", tmp_path / "model", tmp_path / "saved")
    assert exported["version"] == 1
    again = crater(capsys, "export", tmp_path / "model", tmp_path / "saved")
    assert again["version"] == 2
    lines = crater(capsys, "export", tmp_path / "model", tmp_path / "saved", "--model-version",
                   "1", status=1)
    assert "this version exists" in lines[0]

    images = [crowded_dataset / "images" / f"scene_00{n}.png" for n in (2, 3)]
    counts = {crater(capsys, "detect", *images, "--model", tmp_path / model, "--threshold", "0.05",
                     "--output", tmp_path / f"{model}.csv")["detections"]
              for model in ("model", "saved")}
    assert len(counts) == 1
    lines = crater(capsys, "detect", *images, "--model", tmp_path / "saved", "--output",
                   tmp_path / "two.png", status=1)
    assert "a picture shows one image, got 2" in lines[0]
