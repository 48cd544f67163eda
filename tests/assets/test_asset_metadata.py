"""Metadata is what its table says, and the tables are of what there is."""

import logging
import re
from pathlib import Path

import pytest

from crater_assets.definitions import defs
from crater_assets.metadata import (
    ASSETS,
    CHECKS,
    OBSERVATIONS,
    PROBLEMS,
    described,
    differences,
    ordered,
)
from crater_assets.reading import Metadata
from crater_model.errors import DataError

SEEN = {"mask_AP_then": 0.5, "mask_AP": 0.25}


def test_values_come_back_as_they_are():
    assert described("keeps_its_scores", SEEN) == SEEN
    compared = {"in_service": "none", "in_service_score": None, "test_score": 0.5, "tolerance": 0.0}
    assert described("not_worse_than_in_service", compared) == compared
    row = {"stage": "validated", "steps": 4.0, "mask_AP50": 0.5, "box_AP": 0.25}
    assert described("validated", row) == row


@pytest.mark.parametrize("name, values, words", [
    ("keeps_its_scores", {"mask_AP": 0.5},
     "metadata of keeps_its_scores: 'mask_AP_then' is missing"),
    ("keeps_its_scores", SEEN | {"mask_AR": 0.5},
     "metadata of keeps_its_scores: 'mask_AR' is not described; add it to crater_assets/metadata"),
    ("keeps_its_scores", SEEN | {"mask_AP": None}, "NoneType, expected float"),
    ("image_answers", {"detections": True}, "'detections' is a bool, expected int"),
    (PROBLEMS, {"problems": "a line"}, "is a str, expected markdown"),
    ("validated", {"stage": "validated", "steps": 4.0, "mask_AP": "0.5"}, "'mask_AP'"),
])
def test_what_differs_from_the_table_is_told_and_stops_nothing(name, values, words, monkeypatch,
                                                               caplog):
    line, = differences(name, values)
    assert words in line
    monkeypatch.setattr(logging.getLogger("crater_assets.metadata"), "handlers", [])
    assert described(name, values) == values
    assert caplog.messages == [line]


def test_values_stand_in_the_order_of_the_table():
    values = {"url": "u", "test_AP50": 0.5, "unheard_of": 1, "test_AP": 0.25, "version": 1,
              "leaderboard": "l", "test_scenes": 2, "summary": "s"}
    lines = differences("best_model", values)  # what is missing does not matter here
    with_order = list(ordered("best_model", values))
    assert lines and with_order == ["summary", "leaderboard", "test_scenes", "version", "test_AP50",
                                    "test_AP", "url", "unheard_of"]


def test_results_come_first_and_files_last():
    for name, table in ASSETS.items():
        names = list(table)
        assert names[0] == "summary", name
        if name != "training_progress":
            assert names[-1] == "artifact_manifest", name
    assert list(ASSETS["best_model"])[1:3] == ["leaderboard", "leaderboard_picture"]
    assert list(ASSETS["checkpoint"])[1:4] == ["score", "curves", "rims"]


def test_a_whole_number_is_a_float():
    found = described("keeps_its_scores", SEEN | {"mask_AP": 1})
    assert found["mask_AP"] == 1.0 and isinstance(found["mask_AP"], float)
    assert differences("keeps_its_scores", SEEN | {"mask_AP": 1}) != []


@pytest.mark.parametrize("values, reported, words", [
    ({}, True, "checkpoint[a]: its last materialization has no 'result': it was reported by hand; "
               "materialize checkpoint[a] again"),
    ({"result": "good"}, False, "says result: 'good', expected json: it is another version's")])
def test_metadata_of_others_is_read_in_words(values, reported, words):
    with pytest.raises(DataError) as error:
        Metadata("checkpoint", "checkpoint[a]", values, reported)["result"]
    assert words in str(error.value)


def test_metadata_is_read_as_it_is():
    values = {"score": 1, "result": {"loss": 2.0}, "reused": True, "log": "/a/train.log"}
    read = Metadata("checkpoint", "checkpoint[a]", values)
    assert {name: read[name] for name in values} == values
    assert read.get("rims") is None and read.get("steps", 3.0) == 3.0
    assert Metadata("of_somebody", "of_somebody", {"result": "any"})["result"] == "any"


def test_the_tables_are_of_the_assets_and_checks_that_there_are():
    graph = defs.resolve_asset_graph()
    assets = {key.to_user_string() for key in graph.get_all_asset_keys()}
    assert set(ASSETS) == assets | {"pretrained", "crater_map"}  # two that are there on demand
    assert set(CHECKS) == {key.name for key in graph.asset_check_keys} | {PROBLEMS}


def test_no_asset_goes_past_the_table():
    folder = Path(__file__).resolve().parents[2] / "crater_assets"
    for path in folder.rglob("*.py"):
        for made in re.findall(r"(?:MaterializeResult|AssetObservation)\((.*?)\)\)",
                               path.read_text(), re.S):
            assert "described(" in made, path


def test_entries_say_something():
    for name, table in {**ASSETS, **CHECKS, **OBSERVATIONS}.items():
        for key, entry in table.items():
            assert entry.meaning and not entry.meaning.endswith("."), (name, key)
