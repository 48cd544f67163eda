"""Each benchmark runs to its end and gives both sides' figures and their ratio."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


def run(name: str, *options: str) -> dict:
    done = subprocess.run([sys.executable, ROOT / "benchmarks" / f"{name}.py", "--quick", *options],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing else on stdout
    assert found["machine"]["cores"] >= 1 and found["machine"]["packages"]["tensorflow"]
    return found


def positive(values: dict, *names: str) -> None:
    for name in names:
        assert isinstance(values[name], (int, float)) and values[name] > 0, (name, values)


def test_input_pipeline():
    found = run("input_pipeline", "--sizes", "64", "--craters", "3", "--seconds", "0.1")
    case = found["cases"]["64px_3"]
    for side in ("ours", "ours_and_targets", "model_garden", "png"):
        positive(case[side], "images_per_second", "peak_mb", "images")
    positive(case["ours"]["imports_peak_mb"], "tensorflow", "all")
    positive(case["ours"]["validation"], "images_per_second")
    positive(case, "times_model_garden", "with_targets_times_model_garden", "share_of_png",
             "memory_share_of_model_garden")


def test_records():
    found = run("records", "--cases", "64:5:3")
    case = found["cases"]["64px_5"]
    for side in ("ours", "ours_full_masks", "model_garden"):
        positive(case[side], "seconds", "bytes", "size", "peak_mb")
    assert case["ours"]["instances"] == 15
    assert case["ours"]["bytes"] < case["ours_full_masks"]["bytes"]
    positive(case, "times_model_garden", "full_masks_times_model_garden",
             "size_share_of_model_garden")


def test_evaluation():
    found = run("evaluation", "--images", "3", "--craters", "10")
    case = found["cases"]["3x10"]
    for side in ("ours", "model_garden", "pycocotools"):
        positive(case[side], "seconds", "peak_mb")
        positive(case[side]["scores"], "box_AP", "mask_AP", "mask_AP50")
    positive(case, "times_model_garden", "times_pycocotools")
    assert set(case["differences"]["pycocotools"].values()) == {0.0}
    assert case["differences"]["model_garden"]["box_AP"] == pytest.approx(0, abs=1e-4)


def test_kill_and_resume():
    """SIGKILL at random moments: the same command goes on, and ends where it would have."""
    found = run("kill_and_resume")
    assert len(found["kills"]) == 2
    assert found["killed"]["steps"] == found["undisturbed"]["0"]["steps"] == 12
    assert found["killed"]["validations"] == [4, 8, 12]
    assert found["killed"]["loss"] == pytest.approx(found["undisturbed"]["0"]["loss"], rel=0.25)


def test_mapping():
    found = run("mapping")
    for scene in (found["scenes"]["whole"], found["scenes"]["quarter"]):
        positive(scene, "seconds", "peak_mb", "megapixels_per_second", "tiles", "nested")
        assert scene["wrong_percent"] <= 0.5 and scene["nested_lost"] == 0
    positive(found["scenes"], "streamed_peak_ratio", "peak_ratio")
    merging = found["merging"]
    positive(merging, "times_all_pairs", "times_all_pairs_in_rows")
    assert merging["detections"] == 1500 and merging["times_all_pairs"] > 1
    both = found["end_to_end"]
    positive(both, "times_old_way")
    assert both["ours"]["detections"] == both["old_way"]["detections"]


def test_a_failed_side_says_why(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import common

    found = common.in_child(str(ROOT / "benchmarks" / "records.py"), "prepare",
                            folder="/nowhere", size=4, craters=3, images=1)
    assert set(found) == {"failed"} and "4" in found["failed"]
