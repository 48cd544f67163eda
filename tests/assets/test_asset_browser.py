"""A newcomer's way through Dagster's web UI, by clicks in a real browser: from the graph over a
run that fails to the leaderboard, and the data set of another day."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from crater_assets import launch
from tests.assets import browser
from tests.tiny import TINY, UNCOMPILED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RATE = "trainer.optimizer_config.learning_rate.cosine.initial_learning_rate"
SETS = f"first: {{}}\nsecond: {{{RATE}: 3e-3}}\ndiverging: {{{RATE}: 1e30}}\n"
ASSETS = ["annotated_images", "tfrecords", "checkpoint", "best_model", "serving_image"]
POOL = 2  # trainings at a time


@pytest.fixture(scope="module")
def page():
    """The one page of the browser for all tests."""
    with browser.open_browser() as page:
        yield page


@pytest.fixture(scope="module")
def folder(tmp_path_factory, make_dataset):
    """Where `dagster dev` runs: dagster.yaml, two data sets, an experiment, three sets."""
    folder = tmp_path_factory.mktemp("dev")
    settings = (ROOT / "dagster.yaml").read_text()
    (folder / "dagster.yaml").write_text(
        settings.replace("default_limit: 1", f"default_limit: {POOL}"))
    make_dataset(folder / "monday", craters=(4, 6, 0, 5, 3, 7))
    make_dataset(folder / "tuesday", craters=(5, 3, 4, 6, 2, 7), seed=1)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(
        {"experiment": "demo", **TINY, **UNCOMPILED, "trainer.train_steps": 2}))
    (folder / "sets.yaml").write_text(SETS)
    return folder


@pytest.fixture(scope="module")
def start(folder):
    """start(data set): `dagster dev` on it, after what ran before has ended, always at the same
    address; gives that."""
    port, running = launch.free_port(), ExitStack()

    def begin(dataset: str) -> str:
        running.close()
        return running.enter_context(launch.dagster_dev(
            folder, ROOT / "workspace.yaml", port=port, timeout_s=180, env={
                "CRATER_DATASET": dataset, "CRATER_STORAGE": "storage",
                "CRATER_EXPERIMENT": "tiny.yaml", "CRATER_HYPERPARAMETERS": "sets.yaml",
                "PYTHONPATH": str(ROOT), "DOCKER_HOST": "unix:///nowhere/docker.sock"}))

    with running:
        yield begin


@pytest.fixture(scope="module")
def opened(page, start):
    """The page on Monday's data."""
    page.goto(start("monday"))
    return page


@pytest.fixture(scope="module")
def reason(opened, folder):
    """An image is broken, the job for the data fails, the image is mended, and the run is started
    again. What its page said, one click from the failed check."""
    page, image = opened, folder / "monday" / "images" / "scene_002.png"
    kept = image.read_bytes()
    image.write_bytes(kept[:100])
    browser.navigate(page, "Jobs")
    page.locator("a[href$='/jobs/prepare_data']").first.click()
    page.get_by_text("Materialize all", exact=True).click()
    browser.view_launched(page)
    assert browser.ending(page) == "Failure"
    failed = page.url
    page.get_by_text("labels_valid", exact=True).first.click()
    said = page.get_by_text("scene_002.png").first
    said.wait_for()
    reason = said.inner_text()
    image.write_bytes(kept)
    page.goto(failed)
    page.get_by_text("Re-execute all").click()
    page.wait_for_url(lambda url: url != failed)
    assert browser.ending(page) == "Success"
    return reason


@pytest.fixture(scope="module")
def trained(reason, opened):
    """One partition, and a backfill of the two others beside it; waits until all have ended."""
    page, buttons = opened, []
    browser.navigate(page, "Lineage")
    page.locator("foreignObject").filter(has_text="checkpoint").click()
    for names in (["first"], ["second", "diverging"]):
        page.get_by_text("Materialize selected").click()
        browser.choose_partitions(page, names)
        button = page.get_by_role("button").filter(has_text=re.compile("^Launch "))
        buttons.append(button.inner_text())
        button.click()
        page.get_by_text("Launched run" if len(names) == 1 else "Created backfill").wait_for()
    browser.open_asset(page, "checkpoint", "Partitions")
    browser.wait_for(page, "Failed (1)")
    browser.wait_for(page, "Materialized (2)")
    return buttons


def test_the_graph_is_seen_from_left_to_right(opened):
    browser.navigate(opened, "Lineage")
    boxes = opened.locator("foreignObject")
    places = {}
    for name in ASSETS:
        boxes.filter(has_text=name).first.wait_for()
        places[name] = boxes.filter(has_text=name).first.bounding_box()["x"]
    assert sorted(places, key=places.get) == ASSETS


def test_a_failed_run_says_why_and_is_started_again(reason):
    assert "monday" in reason and "scene_002.png" in reason and "image" in reason


def test_partitions_are_launched_by_the_dialog(trained, opened):
    assert trained == ["Launch 1 run", "Launch backfill"]
    browser.open_asset(opened, "checkpoint", "Partitions")
    for name in ("first", "second"):
        opened.get_by_text(name, exact=True).first.click()
        opened.get_by_text("mask_AP50").first.wait_for()
        assert "mask_AP" in browser.entry(opened, "metric").inner_text()
        score = browser.entry(opened, "score").inner_text().split()[-1]
        assert 0 <= float(score) <= 1


def test_a_set_that_fails_says_why(trained, opened):
    browser.open_asset(opened, "checkpoint", "Partitions")
    opened.get_by_text("diverging", exact=True).first.click()
    opened.locator("a[href*='/runs/']").last.click()
    assert browser.ending(opened) == "Failure"
    opened.get_by_text("lower the learning rate").last.wait_for()


def test_the_leaderboard_and_a_picture_without_a_hunt(trained, opened):
    browser.open_asset(opened, "best_model")
    opened.get_by_text("Materialize", exact=True).first.click()
    browser.view_launched(opened)
    assert browser.ending(opened) == "Success"
    browser.open_asset(opened, "best_model")
    ranked = {row.split()[1]: row.split() for row in browser.rows(opened, "leaderboard")}
    assert {ranked["first"][0], ranked["second"][0]} == {"1", "2"}
    assert "learning" in ranked["diverging"]
    width, height = browser.picture_behind(opened, "leaderboard_picture")
    assert width > 400 and height > 100
    browser.open_asset(opened, "checkpoint", "Partitions")
    opened.get_by_text("second", exact=True).first.click()
    assert min(browser.picture_behind(opened, "rims")) > 100


def test_execute_all_on_the_checks_tab(trained, opened):
    browser.open_asset(opened, "checkpoint", "Checks")
    opened.get_by_role("button", name="Execute all").click()
    browser.view_launched(opened)
    assert browser.ending(opened) == "Success"
    browser.open_asset(opened, "checkpoint", "Checks")
    opened.get_by_text(re.compile(r"\d+ files.* are there")).wait_for()
    browser.open_tab(opened, "Partitions")


def test_the_launchpad_after_the_data_set_changed(trained, opened, start):
    """The last test: a form that was filled in on Monday is sent off on Tuesday, with its data."""
    page = opened
    browser.navigate(page, "Jobs")
    page.locator("a[href$='/jobs/prepare_data']").first.click()
    page.get_by_text("Materialize all", exact=True).locator("xpath=following::button[1]").click()
    page.get_by_text("Open launchpad").click()
    form = browser.dialog(page)
    form.get_by_text("No errors").wait_for()
    form.locator("pre").filter(has_text="seed: 0").click()
    page.keyboard.press("End")
    page.keyboard.press("Backspace")
    page.keyboard.type("3")
    page.keyboard.press("Control+End")
    page.keyboard.type("resources: {crater: {config: {dataset: monday}}}")
    form.get_by_text('unexpected config entry "dataset"').wait_for()
    launching = form.get_by_role("button", name="Materialize")
    assert launching.is_disabled()
    page.keyboard.press("Shift+Home")
    page.keyboard.press("Delete")
    form.get_by_text("No errors").wait_for()

    beside = page.context.new_page()
    beside.goto(start("tuesday"))
    browser.open_asset(beside, "best_model")
    beside.get_by_text("Materialize", exact=True).first.click()
    browser.view_launched(beside)
    assert browser.ending(beside) == "Failure"
    beside.get_by_text("monday").last.wait_for()  # which the records are of
    beside.close()

    form.locator("pre").filter(has_text="seed: 3").wait_for()
    launching.click()
    page.wait_for_url("**/runs/*")
    assert browser.ending(page) == "Success"
    page.get_by_text("/tuesday; storage:").first.wait_for()
    assert not page.get_by_text("monday").count()
