"""Which images `crater_map` has as partitions."""

import pytest

from crater_assets.map_images import load_map_images
from crater_model.errors import ConfigError


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_a_folder(tmp_path):
    """By the label where it lies beside its data; the notes of other programs are no images."""
    touch(tmp_path, "b.tif", "b.tif.aux.xml", "a one.PNG", "notes.txt", "m.lbl", "m.img", "deeper/c.tif",
          "p.xml", "p.img", "alone.img", "other.xml")
    assert load_map_images(tmp_path) == {
        "a_one": tmp_path / "a one.PNG", "alone": tmp_path / "alone.img", "b": tmp_path / "b.tif",
        "m": tmp_path / "m.lbl", "p": tmp_path / "p.xml"}


def test_one_image_and_a_list(tmp_path):
    touch(tmp_path, "b.tif", "deeper/a.tif", "deeper/b.jp2")
    assert load_map_images(tmp_path / "b.tif") == {"b": tmp_path / "b.tif"}
    (tmp_path / "list.txt").write_text(f"# first\ndeeper/b.jp2\n\n{tmp_path}/deeper/a.tif\nb.tif\n")
    found = load_map_images(tmp_path / "list.txt")
    assert found == {"b_jp2": tmp_path / "deeper/b.jp2", "a": tmp_path / "deeper/a.tif",
                     "b_tif": tmp_path / "b.tif"}
    assert list(found) == ["b_jp2", "a", "b_tif"]


@pytest.mark.parametrize("files, source, words", [
    ([], "nowhere", "no such image, folder or list"),
    (["only.csv"], ".", "has no image"),
    (["a.tif"], "list.txt", "gone.tif is not there"),
    (["x/a.tif", "y/a.tif"], "list.txt", "both be the partition 'a_tif'")])
def test_what_cannot_be_mapped(tmp_path, files, source, words):
    touch(tmp_path, *files)
    (tmp_path / "list.txt").write_text("\n".join(files if len(files) == 2 else ["gone.tif"]))
    with pytest.raises(ConfigError, match=words):
        load_map_images(tmp_path / source)
