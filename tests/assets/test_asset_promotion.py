"""The best model against the one in service: what is compared, and what is refused."""

import pytest

from crater_assets.promotion import comparison, in_service, promotion_problem, promotion_words

MADE = {"artifact": "best_model/new", "in_service": "best_model/old", "metric": "mask_AP",
        "objective": "max", "tolerance": 0.0, "test_scenes": 3, "test_score": 0.5,
        "in_service_score": 0.5}


@pytest.mark.parametrize("change", [
    {}, {"test_score": 0.6}, {"test_score": 0.45, "tolerance": 0.05},
    {"test_score": 0.4, "tolerance": None}, {"in_service": "none"},
    {"test_score": 0.1, "in_service": "best_model/new"}, {"test_scenes": 0},
    {"in_service_score": None}, {"in_service_score": -1.0}, {"objective": "min", "test_score": 0.4},
])
def test_what_may_go_into_service(change):
    made = MADE | change
    assert promotion_problem(made) == "" and promotion_words(made)


@pytest.mark.parametrize("change, words", [
    ({"test_score": 0.4}, "mask_AP 0.4000 on 3 test scenes, the model in service has 0.5000 (the "
     "best is the max): worse by 0.1000, allowed are 0"),
    ({"test_score": 0.4, "tolerance": 0.05}, "allowed are 0.05"),
    ({"objective": "min", "test_score": 0.6}, "(the best is the min): worse by 0.1000"),
    ({"test_score": None}, "the new model has no mask_AP on 3 test scenes"),
    ({"test_score": -1.0}, "the new model has no mask_AP"),
])
def test_what_is_refused(change, words):
    line = promotion_problem(MADE | change)
    assert words in line and "tolerance" in line and "\n" not in line


def test_nothing_is_in_service_at_first(instance):
    assert in_service(instance) is None


def test_both_models_are_shown():
    shown = comparison({"mask_AP": 0.5, "recall": 0.25, "scenes": ["a"]},
                       {"mask_AP": 0.375, "mask_AP50": 0.625}, "mask_AP")
    assert (shown["test_score"], shown["in_service_score"]) == (0.5, 0.375)
    assert shown["in_service_metrics"].value == {"mask_AP": 0.375, "mask_AP50": 0.625}
    assert [record.data for record in shown["comparison"].records] == [
        {"score": "mask_AP", "new": "0.5", "in service": "0.375"},
        {"score": "recall", "new": "0.25", "in service": "-"}]
