"""The code's revision in the model card."""

import os
import subprocess

from crater_model.export.card import source_revision


def git(folder, *arguments):
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *settings, *arguments], cwd=folder, check=True, text=True,
                          capture_output=True).stdout.strip()


def test_the_revision_is_that_of_the_clone(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    clone = tmp_path / "clone"
    (clone / "inner").mkdir(parents=True)
    assert source_revision(clone) is None  # no repository
    git(clone, "init", "-q")
    (clone / "file").write_text("one")
    git(clone, "add", "file")
    git(clone, "commit", "-q", "-m", "one")
    git(clone, "tag", "-a", "v1", "-m", "v1")  # a tag's name is no commit
    commit = git(clone, "rev-parse", "HEAD")
    assert len(commit) == 40 and source_revision(clone) == commit
    (clone / "file").write_text("two")
    assert source_revision(clone) == f"{commit}-dirty"
    assert source_revision(clone / "inner") is None  # as a package installed below a clone
    monkeypatch.setenv("PATH", os.devnull)
    assert source_revision(clone) is None  # no git
