"""What the asset tests share: a code location's resource on a tiny data set."""

import logging
from pathlib import Path

import dagster as dg
import pytest
import yaml

from crater_assets.assets import ASSETS
from crater_assets.checks import CHECKS
from crater_assets.resources import Crater
from tests.tiny import TINY, UNCOMPILED


class _Warnings(logging.Handler):
    """Keeps what metadata.py says of values that differ from its tables."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record):
        self.lines.append(record.getMessage())


_WARNINGS = _Warnings()
logging.getLogger("crater_assets.metadata").addHandler(_WARNINGS)


@pytest.fixture(autouse=True)
def metadata_is_as_its_tables_say():
    """What is a warning in use is an error here."""
    yield
    lines, _WARNINGS.lines = _WARNINGS.lines, []
    assert lines == []


@pytest.fixture
def crater(tmp_path, tiny_dataset) -> Crater:
    """The resource on the tiny data set, with an empty storage."""
    return Crater(dataset=str(tiny_dataset), storage=str(tmp_path / "storage"))


@pytest.fixture(scope="session")
def tiny_experiment(tmp_path_factory) -> Path:
    """`TINY` as an experiment of its own, a YAML file; its trainings are not compiled."""
    path = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    path.write_text(yaml.safe_dump({"experiment": "demo", **TINY, **UNCOMPILED}))
    return path


@pytest.fixture
def instance():
    """A Dagster instance of this test's own."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="session")
def run_assets():
    """run_assets(instance, crater, *assets, partition=None, without="", **config): materializes
    them, with all of their checks but the one named `without`."""
    def run(instance, crater, *assets, partition=None, without="", **config):
        left_out = [check for check in CHECKS if without in {key.name for key in check.check_keys}]
        return dg.materialize(
            ASSETS + CHECKS, instance=instance, resources={"crater": crater},
            selection=dg.AssetSelection.assets(*assets) - dg.AssetSelection.checks(*left_out),
            partition_key=partition,
            raise_on_error=False,
            run_config={"ops": {name: {"config": values} for name, values in config.items()}})
    return run


@pytest.fixture(scope="session")
def run_check():
    """run_check(instance, crater, name, partition=None): runs one check, gives its evaluation."""
    def run(instance, crater, name, partition=None):
        wanted = [check for check in CHECKS if name in {k.name for k in check.check_keys}]
        result = dg.materialize(
            ASSETS + wanted, instance=instance, resources={"crater": crater},
            selection=dg.AssetSelection.checks(*wanted), partition_key=partition,
            raise_on_error=False)
        return result.get_asset_check_evaluations()[0]
    return run
