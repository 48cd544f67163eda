"""A map is one version's work, whatever the server loads meanwhile."""

import csv
import functools

import cv2
import pytest

from crater_model.cli import main
from crater_model.errors import ConfigError, VersionGone
from crater_model.mapping import detect
from tests.serving.blobs import blob_image, write_blob_model
from tests.serving.strict_server import StrictServer, TokenAsked

# Runs of columns, tile by tile of 64 px: several bands of a tall image.
BOXES = [(y, x, y + 10, x + 12) for y in range(10, 600, 60) for x in (10, 70, 120)]


class Changing(StrictServer):
    """Does something once it has been asked for `at` images."""

    def __init__(self, *arguments, at, then, **options):
        super().__init__(*arguments, **options)
        self._at, self._then = at, then

    def predict(self, request):
        if self._then and sum(images for _, images in self.asked) >= self._at:
            then, self._then = self._then, None
            then(self)
        return super().predict(request)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The folder of versions 1 and 2, whose best scores are 0.9 and 0.6."""
    folder = tmp_path_factory.mktemp("models")
    write_blob_model(folder, 1)
    write_blob_model(folder, 2, best=0.6)
    return folder


@pytest.fixture
def scene(tmp_path):
    path = tmp_path / "scene.png"
    cv2.imwrite(str(path), blob_image(640, 150, BOXES))
    return path


def rows(path):
    return sorted((row["y_px"], row["x_px"], row["score"]) for row in csv.DictReader(path.open()))


@pytest.fixture
def expected(models, scene, tmp_path):
    """What version 1 alone gives, and of how many tiles."""
    with StrictServer({1: models / "1"}) as server:
        detect.detect_files([scene], tmp_path / "expected.csv", server=server.endpoint)
        tiles = sum(images for _, images in server.asked)
    found = rows(tmp_path / "expected.csv")
    assert len(found) >= 20 and max(score for *_, score in found) == "0.9" and tiles > 30
    return found, tiles


def test_a_new_version_in_the_middle_changes_nothing(models, scene, tmp_path, expected):
    with Changing({1: models / "1"}, at=16,
                  then=lambda server: server.load(2, models / "2")) as server:
        detect.detect_files([scene], tmp_path / "found.csv", server=server.endpoint)
        assert {version for version, _ in server.asked} == {1}
    assert rows(tmp_path / "found.csv") == expected[0]


def test_a_version_that_goes_ends_the_map_and_its_return_goes_on(models, scene, tmp_path,
                                                                 expected, monkeypatch):
    def replace(server):
        server.load(2, models / "2")
        server.unload(1)

    monkeypatch.setattr(detect, "Journal", functools.partial(detect.Journal, every_s=0.0))
    output = tmp_path / "found.csv"
    with Changing({1: models / "1"}, at=24, then=replace) as server:
        with pytest.raises(VersionGone, match="version 1 of model 'crater'.*does not answer any "
                                              "more.*found.csv.partial.*--version-number"):
            detect.detect_files([scene], output, server=server.endpoint,
                                server_options={"max_batch": 4})
        assert not output.exists() and (tmp_path / "found.csv.partial").exists()
        with pytest.raises(ConfigError, match="begun with version 1, now it is 2"):
            detect.detect_files([scene], output, server=server.endpoint)
        server.load(1, models / "1")
        asked = len(server.asked)
        detect.detect_files([scene], output, server=server.endpoint,
                            server_options={"version": 1, "max_batch": 4})
        again = server.asked[asked:]
    assert rows(output) == expected[0]
    assert {version for version, _ in again} == {1} and sum(n for _, n in again) < expected[1]


def test_the_command_line_names_the_version_and_holds_the_token(models, scene, tmp_path, expected,
                                                                capsys):
    versions = {number: models / str(number) for number in (1, 2)}
    (tmp_path / "token").write_text("open sesame\n")
    with StrictServer(versions, labels={"stable": 1},
                      interceptors=[TokenAsked("open sesame")]) as server:
        command = ["detect", str(scene), "--server", server.endpoint,
                   "--output", str(tmp_path / "found.csv")]
        for version in (["--version-number", "1"], ["--version-label", "stable"]):
            assert main([*command, *version, "--server-token-file", str(tmp_path / "token")]) == 0
            assert rows(tmp_path / "found.csv") == expected[0]
        assert {version for version, _ in server.asked} == {1}
        capsys.readouterr()
        assert main(command) == 1
        assert "UNAUTHENTICATED: who is there?" in capsys.readouterr().err
        assert main([*command, "--server-key", str(tmp_path / "token")]) == 1
        assert "key was given and no certificate" in capsys.readouterr().err
