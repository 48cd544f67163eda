"""The revision of the code: a clone's commit, or the package's version."""

import shutil
import subprocess

import pytest

from crater_model import __version__, revision


def test_commit_dirt_and_no_clone(tmp_path, monkeypatch):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    monkeypatch.setattr(revision, "ROOT", tmp_path)
    assert revision.source_revision() == f"v{__version__}"

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *arguments],
            check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "file").write_text("1")
    git("init", "--quiet")
    git("add", "file")
    git("commit", "--quiet", "--message", "one")
    git("tag", "--annotate", "--message", "a tag", "v9")  # a name that could be moved
    commit = git("rev-parse", "HEAD")
    assert revision.source_revision() == commit
    (tmp_path / "file").write_text("2")
    assert revision.source_revision() == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "/nowhere")
    assert revision.source_revision() == f"v{__version__}"
