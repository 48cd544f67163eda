"""What a kill leaves is cleared away, and nothing that is whole."""

import pytest
import tensorflow as tf

from crater_model.training.checkpoints import step_of, tidy


@pytest.fixture
def folder(tmp_path):
    """A model directory with whole checkpoints of step 2, 4 and 10."""
    step = tf.Variable(0, dtype=tf.int64)
    written = tf.train.Checkpoint(global_step=step)
    manager = tf.train.CheckpointManager(written, str(tmp_path), max_to_keep=3)
    for number in (2, 4, 10):
        step.assign(number)
        manager.save(checkpoint_number=number)
    return tmp_path


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_half_written_files_go_and_whole_ones_stay(folder):
    for name in ("params.yaml", "metrics.jsonl", "best/ckpt-2.index", ".keep.txt",
                 "best/ckpt-2.data-00000-of-00001"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    whole = files(folder)
    for name in ("ckpt-14.data-00000-of-00001", "ckpt-14_temp/part-00000-of-00001.index",
                 "best/ckpt-4.data-00000-of-00001", "best/ckpt-4_temp/part-00000-of-00001.index",
                 ".result.json.x7ab", ".rims.png.0_q"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    for _ in range(2):
        tidy(folder)
        assert files(folder) == whole


@pytest.mark.parametrize("damage, newest", [
    (lambda folder: (folder / "checkpoint").write_bytes(b"model_checkpoint_path: \"ck"), 10),
    (lambda folder: (folder / "checkpoint").write_bytes(b""), 10),
    (lambda folder: (folder / "checkpoint").unlink(), 10),
    (lambda folder: (folder / "ckpt-10.index").unlink(), 4),
    (lambda folder: cut(folder / "ckpt-10.index"), 4),
    (lambda folder: (folder / "ckpt-10.data-00000-of-00001").unlink(), 4),
    (lambda folder: cut(folder / "ckpt-10.data-00000-of-00001"), 4),
    (lambda folder: (cut(folder / "ckpt-10.index"), cut(folder / "ckpt-4.index")), 2)])
def test_the_newest_whole_checkpoint_is_the_one_that_is_named(folder, damage, newest):
    damage(folder)
    tidy(folder)
    found = tf.train.latest_checkpoint(str(folder))
    assert found == str(folder / f"ckpt-{newest}") and step_of(found) == newest


def test_without_a_whole_one_none_is_named(folder, capsys):
    for path in folder.glob("ckpt-*.index"):
        cut(path)
    before = files(folder)
    tidy(folder)
    assert tf.train.latest_checkpoint(str(folder)) is None
    assert files(folder) == {f".{name}" for name in before - {"checkpoint"}}  # set aside
    assert "ckpt-2 cannot be read and is set aside" in capsys.readouterr().err
    assert step_of(None) == 0


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])
