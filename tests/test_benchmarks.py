"""The benchmarks: what they share, their own arithmetic, the tables of the READMEs, one run in all."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import evaluation, input_pipeline, kill_and_resume, mapping, records, tables
from benchmarks.data import terrain_dataset
from benchmarks.harness import (
    ROOT,
    Bench,
    crater,
    fill,
    grid,
    pretty,
    quantiles,
    ratio,
    repeated,
    run_child,
)
from crater_model.training import read_result
from tests.tiny import TINY


@pytest.mark.slow
def test_a_benchmark_from_its_command_to_its_table(tmp_path):
    """The one whole run; the scores are pycocotools', and Model Garden's for boxes."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "evaluation", "--quick", "--images", "3", "--craters",
         "10", "--json", "--output", tmp_path / "out.json", "--work", tmp_path / "work"],
        capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)  # nothing else on stdout
    assert found == json.loads((tmp_path / "out.json").read_text())
    assert found["taken"]["cores"] >= 1 and found["taken"]["packages"]["tensorflow"]
    assert found["settings"] == {"craters": [10], "images": 3}
    case = found["cases"]["10"]
    for side in ("ours", "model_garden", "pycocotools"):
        assert case[side]["seconds"] > 0 and case[side]["process_seconds"] > 0
        assert case[side]["peak_mb"] > case[side]["peak_before_mb"] / 2
        assert case[side]["scores"]["mask_AP"] > 0
    assert set(case["differences"]["pycocotools"].values()) == {0.0}
    assert case["differences"]["model_garden"]["box_AP"] == pytest.approx(0, abs=1e-4)
    assert case["times_model_garden"] == ratio(case["model_garden"]["seconds"],
                                               case["ours"]["seconds"])
    first = tables.block(found).splitlines()[2]
    assert first.startswith("| 10 | ours | ") and first.endswith(
        f"| {case['ours']['scores']['box_AP']:.3f} | {case['ours']['scores']['mask_AP']:.3f} |")


def test_committed_tables_are_what_the_results_make():
    for page in tables.PAGES:
        assert page.read_text() == tables.written(page.read_text()), (
            f"{page}: run python -m benchmarks tables")
    named = "".join(page.read_text() for page in tables.PAGES)
    for path in tables.RESULTS.iterdir():  # none is left out, each is of a benchmark there is
        assert f"<!-- table {path.stem} -->" in named
        assert json.loads(path.read_text())["benchmark"] in command.NAMES


@pytest.mark.parametrize("name", command.NAMES)
def test_settings_are_flags(name):
    module = __import__(f"benchmarks.{name}", fromlist=["FULL"])
    options, chosen = command.settings(module, [])
    assert chosen == module.FULL and not (options.quick or options.json or options.output)
    assert command.settings(module, ["--quick"])[1] == {**module.FULL, **module.QUICK}
    assert set(module.QUICK) <= set(module.FULL)


def test_flags_are_read_as_their_values_kinds():
    from benchmarks import yolo

    _, chosen = command.settings(input_pipeline, [
        "--quick", "--sizes", "64,128", "--seconds", "0.5", "--buffer"])
    assert chosen == {"sizes": (64, 128), "craters": (20,), "seconds": 0.5, "buffer": True}
    _, chosen = command.settings(yolo, ["--sides", "ours,yolo", "--train-scenes", "1"])
    assert chosen["sides"] == ("ours", "yolo") and chosen["train_scenes"] == 1


def test_what_is_finished_is_kept_and_what_failed_says_why(tmp_path):
    bench, script = Bench(tmp_path), tmp_path / "script.py"
    script.write_text("import json, os, sys\nprint('noise')\nprint(json.dumps("
                      "{'asked': sys.argv[1:], 'given': os.environ['GIVEN']}))")

    def ask(name: str, *arguments, **more) -> dict:
        return bench.command(name, [sys.executable, script, *arguments], {"GIVEN": "yes"}, **more)

    found = ask("a/run", 240.0)
    assert found["asked"] == ["240.0"] and found["given"] == "yes"
    assert found["process_seconds"] >= found["process_cpu_seconds"] >= 0
    script.write_text("import sys\nsys.exit('no such weights')")
    assert ask("a/run", 240.0) == found  # kept
    with pytest.raises(SystemExit, match="was made with other arguments; name another --work"):
        ask("a/run", 10.0)
    with pytest.raises(SystemExit, match="other: ended with 1: no such weights"):
        ask("other")
    assert ask("other", may_fail=True) == {"failed": "ended with 1: no such weights"}


def test_children_are_asked_by_name(tmp_path):
    found = Bench(tmp_path).child("data", terrain_dataset, folder=tmp_path / "data", size=96,
                                  craters=5, images=3)
    assert found["images"] == found["distinct_images"] == 3 and found["peak_mb"] > 20
    labels = json.loads((tmp_path / "data" / "annotations.json").read_text())
    assert len(labels["annotations"]) == 15
    failed = Bench(tmp_path).child("bad", terrain_dataset, may_fail=True, folder="/nowhere", size=4,
                                   craters=3, images=1)
    assert set(failed) == {"failed"} and "4" in failed["failed"]


def test_what_a_child_prints(capsys):
    run_child("benchmarks.kill_and_resume:settings_of", '{"size": 64, "steps": 12}')
    found = json.loads(capsys.readouterr().out)
    assert found["trainer.validation_interval"] == 4 and found["trainer.checkpoint_interval"] == 2
    assert found["peak_mb"] > 0
    full = kill_and_resume.settings_of(128, 600)
    assert (full["trainer.validation_interval"], full["trainer.checkpoint_interval"]) == (60, 20)
    assert "task.model.decoder.fpn.num_filters" not in full


def test_command_lines():
    assert crater("records", "write", Path("a"), "--full-masks", splits="1,0,0",
                  settings={"x.y": [1, 2]})[1:] == [
        "-m", "crater_model.cli", "records", "write", "a", "--full-masks", "--splits", "1,0,0",
        "--set", "x.y=[1, 2]"]


def test_times_and_ratios():
    found = repeated(lambda: None, 0.0, least=7)
    assert found["times"] == 7 and 0 <= found["seconds"] < 0.01
    assert quantiles(0.001 * n for n in range(1, 101)) == {
        "p50_ms": 50.5, "p99_ms": 100.0, "requests": 100}
    assert ratio(3, 2) == 1.5 and ratio(None, 2) is None and ratio(3, None) is None


def test_tables_leave_empty_what_is_missing():
    rows = [{"a": {"b": 1594.2}, "list": [{"c": 0.12345}]}, {"a": {}, "list": []}]
    assert grid({"": "{a.b}", "x": "{list.0.c} ± {list.0.d:.3f}", "y": "{list.0.c:.1f}"}, rows) == (
        "| | x | y |\n|---|---|---|\n| 1594 | 0.123 | 0.1 |\n| | | |")
    assert fill("""
        {wire.100.bytes:,}
        {none.at.all}|""", {"wire": {"100": {"bytes": 125378}}}) == "125,378\n|"


def test_json_has_a_line_for_what_fits():
    value = {"a": {str(n): n for n in range(40)}, "b": {"c": [1, 2]}}
    text = pretty(value)
    assert json.loads(text) == value
    assert text.splitlines()[-1] == ' "b": {"c": [1, 2]}}' and max(map(len, text.splitlines())) < 130


@pytest.mark.slow
def test_both_converters_write_the_same_craters(tmp_path):
    terrain_dataset(tmp_path / "data", 64, 5, 3)
    found = {side.__name__: side(str(tmp_path / "data"), str(tmp_path / side.__name__)) for side in (
        records.ours, records.ours_full_masks, records.model_garden)}
    assert found["ours"]["instances"] == found["ours_full_masks"]["instances"] == 15
    assert 0 < found["model_garden"]["instances"] <= 15  # without what touches the border
    assert 0 < found["ours"]["bytes"] < found["ours_full_masks"]["bytes"]
    images = sum(path.stat().st_size for path in (tmp_path / "data" / "images").iterdir())
    for side in found.values():
        assert side["seconds"] > 0 and side["size"] == round(side["bytes"] / images, 3)


def test_a_rate_counts_after_the_first_batches():
    seen: list[int] = []
    found = input_pipeline.rate(iter(range(100)), 0.0, work=seen.append)
    assert seen == [0, 1, 2, 3, 4] and found["images"] == 2 * input_pipeline.BATCH
    assert found["images_per_second"] > 0


def test_the_full_buffer_names_its_files_again(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "manifest.json").write_text(
        json.dumps({"splits": {"train": {"images": 300, "files": ["a", "b"]}}}))
    input_pipeline.fill_buffer(tmp_path / "records", tmp_path / "full")
    train = json.loads((tmp_path / "full" / "manifest.json").read_text())["splits"]["train"]
    assert train == {"images": 1200, "files": ["a", "b"] * 4}


def test_nine_in_ten_craters_are_found():
    drawn = list(evaluation.found_ellipses(5, 40))
    assert sum(len(found) for _, found, _ in drawn) == pytest.approx(5 * 40, abs=15)
    for real, found, scores in drawn:
        assert len(real) == 40 and len(found) == len(scores)
        assert (np.diff(scores) <= 0).all()


def test_mapping_loses_and_doubles_nothing(tmp_path):
    side = {"side": 768, "craters": 175}
    scene, journal = str(tmp_path / "scene.tif"), str(tmp_path / "journal")
    mapping.write_places(scene, 768)
    mapped = mapping.scene(scene, journal, **side)
    scored = mapping.score(journal, **side)
    assert scored["wrong_percent"] <= 0.6 and scored["nested_lost"] == 0 < scored["nested"]
    assert mapped["tiles"] > 1 and mapped["found"] == pytest.approx(175, abs=1)
    assert scored["lost"] == scored["doubled"] == 0
    ours, old = mapping.ours(scene, **side), mapping.old_way(scene, **side)
    assert ours["detections"] == old["detections"] > 175
    assert ours["lost"] + ours["doubled"] <= old["lost"] + old["doubled"]


def test_all_pairs_are_extrapolated_from_those_compared():
    found = mapping.merging(400, 768, 175, seconds=0.0)
    assert found["detections"] == 400 > found["kept"] > 0
    assert (found["all_pairs"]["measured_pairs"], found["all_pairs"]["pairs"]) == (
        400, 400 * 399 // 2)
    assert found["times_all_pairs"] > 1


@pytest.mark.slow
def test_a_killed_training_goes_on(tiny_records, tiny_model, tmp_path):
    """SIGKILL: the same command goes on from its checkpoint, and ends where it would have."""
    bench, model = kill_and_resume, tmp_path / "model"
    shutil.copytree(tiny_records, tmp_path / "records")
    process = bench.start(TINY, 0, model)
    while process.poll() is None and not (model / "checkpoint").exists():
        time.sleep(0.02)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert bench.inspect(model)["step"] == 2
    found, kills = bench.with_kills(TINY, 0, model, kills=0, longest=0.0)
    assert found["steps"] == 4 and found["validations"] == [2, 4] and kills == []
    assert found["loss"] == pytest.approx(read_result(tiny_model)["loss"], rel=0.25)
    left = bench.inspect(model)
    assert left["step"] == 4 and left["half_written"] == [] and left["rows"] == 4
    (model / "best" / ".half").touch()
    assert bench.inspect(model)["half_written"] == [".half"]
