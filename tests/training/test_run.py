"""What a kill leaves is cleared away, and nothing that is whole."""

from crater_model.training.run import _tidy


def test_half_written_files_go_and_whole_ones_stay(tmp_path):
    whole = ["ckpt-2.index", "ckpt-2.data-00000-of-00001", "checkpoint", "params.yaml",
             "metrics.jsonl", "best/ckpt-2.index", "best/ckpt-2.data-00000-of-00001", ".keep.txt"]
    broken = ["ckpt-4.data-00000-of-00001", "ckpt-4_temp/part-00000-of-00001.index",
              "best/ckpt-4.data-00000-of-00001", "best/ckpt-4_temp/part-00000-of-00001.index",
              ".result.json.x7ab", ".rims.png.0_q"]
    for name in whole + broken:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    _tidy(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(whole)
    _tidy(tmp_path)
