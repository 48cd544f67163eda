"""Tiles cover the image, from its top down; what touches a tile's inner edge is cut."""

import numpy as np
import pytest

from crater_model.mapping.tiles import Tile, plan, touches_inner_edge


@pytest.mark.parametrize("height, width, side, overlap", [
    (300, 500, 128, 0.25), (128, 128, 128, 0.25), (90, 400, 128, 0.5), (257, 129, 128, 0.0)])
def test_tiles_cover_everything(height, width, side, overlap):
    seen = np.zeros((height, width), int)
    for band in plan(height, width, side, (1.0,), overlap):
        for tile in band.tiles():
            assert (tile.y1 - tile.y0, tile.x1 - tile.x0) == (min(side, height), min(side, width))
            seen[tile.y0:tile.y1, tile.x0:tile.x1] += 1
    assert seen.min() == 1


def test_all_scales_go_down_together():
    bands = plan(1000, 700, 128, (1.0, 0.25, 2.0), 0.25)
    tops = [band.y0 for band in bands]
    assert tops == sorted(tops) and tops[:3] == [0, 0, 0] and {b.y1 for b in bands} >= {1000}
    tiles = [tile for band in bands for tile in band.tiles()]
    assert [tile.number for tile in tiles] == list(range(len(tiles)))
    assert [bands[tile.band].scale for tile in tiles] == [tile.scale for tile in tiles]
    assert {t.y1 - t.y0 for t in tiles if t.scale == 0.25} == {512}
    for scale in (1.0, 0.25, 2.0):
        seen = np.zeros((1000, 700), bool)
        for tile in tiles:
            if tile.scale == scale:
                seen[tile.y0:tile.y1, tile.x0:tile.x1] = True
        assert seen.all()


def test_inner_edges_cut():
    boxes = np.array([[1, 20, 9, 30], [20, 1, 30, 9], [20, 20, 49, 30], [20, 20, 30, 79],
                      [10, 10, 40, 70]], float)
    inside = Tile(0, 0, 1.0, 100, 200, 150, 280)
    assert touches_inner_edge(boxes, inside, 400, 600).tolist() == [True] * 4 + [False]
    corner = Tile(0, 0, 1.0, 0, 0, 50, 80)
    assert touches_inner_edge(boxes, corner, 50, 600).tolist() == [False] * 3 + [True, False]


def test_the_margin_is_of_the_networks_px():
    box = np.array([[7, 20, 20, 30]], float)
    assert not touches_inner_edge(box, Tile(0, 0, 1.0, 100, 0, 150, 80), 150, 80)[0]
    assert touches_inner_edge(box, Tile(0, 0, 0.25, 100, 0, 150, 80), 150, 80)[0]
