"""The real labelled imagery, checked once for all tests that look at what was found."""

import json

import pytest

from crater_model.annotations.validate import check_dataset
from tests.shared import made_once


@pytest.fixture(scope="session")
def checked(real_data):
    """checked(name): `check_dataset`'s report of a data set of the real imagery, as JSON values."""
    def check(name) -> dict:
        folder = real_data / name
        changed = (folder / "annotations.json").stat().st_mtime_ns

        def make(into) -> None:
            (into / "report.json").write_text(check_dataset(folder).to_json())
        made = made_once(f"checked-{name}", make, key=(str(folder), changed))
        return json.loads((made / "report.json").read_text())
    return check
