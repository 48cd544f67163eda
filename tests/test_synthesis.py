"""The embedded terrain: shapes, labels, light, and the data set it makes."""

import filecmp
import json

import numpy as np
import pytest

from crater_model.annotations.dataset import load_dataset
from crater_model.errors import ConfigError, CraterError
from crater_model.synthesis import profiles, render_scene, synthesize
from crater_model.synthesis.craters import Crater, draw_craters
from crater_model.synthesis.light import brightness, sunlit
from crater_model.synthesis.relief import Ground, cut_crater, fractal, surviving

AT = np.linspace(0, profiles.REACH, profiles.SAMPLES)
NO_WAVES = np.zeros((1, 3))


def flat(height, width, margin=0):
    shape = height, width
    return Ground(np.zeros(shape, np.float32), np.ones(shape, np.float32),
                  np.ones(shape, np.float32), margin)


def shine(height, azimuth, elevation):
    return brightness(height, sunlit(height, azimuth, elevation), azimuth, elevation)


def diameters(rims):
    x, y = zip(*(rim.T for rim in rims), strict=True)
    area = [abs(np.dot(a, np.roll(b, -1)) - np.dot(b, np.roll(a, -1))) / 2
            for a, b in zip(x, y, strict=True)]
    return 2 * np.sqrt(np.array(area) / np.pi)


def test_fresh_profile_follows_pike_and_mcgetchin():
    fresh = profiles.profile(0.2)
    assert AT[fresh.argmax()] == pytest.approx(1, abs=0.01)
    assert (fresh.max() - fresh[0]) / 2 == pytest.approx(0.2, abs=0.01)
    assert fresh.max() / 2 == pytest.approx(0.036, abs=0.003)
    outside = (AT > 1.05) & (AT < 1.5)
    fall = np.polyfit(np.log(AT[outside]), np.log(fresh[outside]), 1)[0]
    assert fall == pytest.approx(-3, abs=0.3)
    assert fresh[-1] == 0


@pytest.mark.parametrize("depth", [0.15, 0.1, 0.06, 0.04])
def test_wear_makes_shallow_with_the_crest_still_at_one(depth):
    worn = profiles.profile(depth)
    assert AT[worn.argmax()] == pytest.approx(1, abs=0.02)
    assert (worn.max() - worn[0]) / 2 == pytest.approx(depth, abs=0.003)
    assert worn.max() < profiles.profile(0.19).max()


def test_small_craters_wear_out_first():
    wear = [0.05 * 16 / d for d in (8, 16, 64)]
    assert np.all(np.diff([profiles.depth_after(w) for w in wear]) > 0.02)


def test_fractal_relief_has_unit_slope_and_its_wavelengths():
    ground = fractal(np.random.default_rng(4), 200, 330, hurst=0.8, longest=40, shortest=8)
    gy, gx = np.gradient(ground)
    assert np.sqrt((gx**2 + gy**2).mean()) == pytest.approx(1, abs=0.2)
    power = np.abs(np.fft.fft2(ground)) ** 2
    fy, fx = np.fft.fftfreq(200)[:, None], np.fft.fftfreq(330)[None]
    radius = np.hypot(fy, fx)
    assert power[radius > 1 / 6].sum() < 0.01 * power.sum()
    assert power[(radius > 1 / 60) & (radius < 1 / 20)].sum() > 0.5 * power.sum()


def test_ground_is_highest_on_the_rim_polygon():
    waves = np.array([[3.0, 0.03, 1.0], [5.0, 0.02, 2.0]])
    crater = Crater(70.3, 50.8, 25.0, 1.3, 0.6, waves, 0.18)
    ground = flat(110, 150, margin=5)
    cut_crater(np.random.default_rng(0), ground, crater)
    rim = crater.rim()
    assert crater.distance(rim) == pytest.approx(np.ones(len(rim)))

    def height(points):  # heights at scene points; cells are 1 px, centred at +0.5
        column, row = np.floor(points + 5).astype(int).T
        return ground.height[row, column].mean()

    centre = np.array([crater.x, crater.y])
    along = [height(centre + s * (rim - centre)) for s in (0.05, 0.7, 1.0, 1.3)]
    assert along[2] == max(along)
    assert along[2] - along[0] == pytest.approx(2 * 25 * 0.18, rel=0.08)


def test_later_crater_wipes_out_the_rim_it_covers():
    old = Crater(50, 40, 15, 1.0, 0.0, NO_WAVES, 0.1)
    away = Crater(110, 40, 15, 1.0, 0.0, NO_WAVES, 0.1)
    small = Crater(65, 40, 4, 1.0, 0.0, NO_WAVES, 0.2)
    half = Crater(65, 40, 18, 1.0, 0.0, NO_WAVES, 0.2)
    over = Crater(52, 41, 30, 1.0, 0.0, NO_WAVES, 0.2)
    assert surviving([old, away]).tolist() == [1, 1]
    assert 0.8 < surviving([old, small])[0] < 1
    assert 0.4 < surviving([old, half])[0] < 0.7
    assert surviving([old, over]).tolist() == [0, 1]
    ground = flat(80, 140)
    for crater in (old, half):
        cut_crater(np.random.default_rng(0), ground, crater)
    alone = flat(80, 140)
    cut_crater(np.random.default_rng(0), alone, half)
    assert abs(ground.height[40, 65] - alone.height[40, 65]) < 2  # only a smooth rest is left


def test_sun_lights_the_wall_that_faces_it():
    ground = flat(60, 90)
    cut_crater(np.random.default_rng(0), ground, Crater(45, 30, 20, 1, 0, NO_WAVES, 0.19))
    for azimuth, bright, dark in (
            (0, (30, 30), (30, 59)), (np.pi / 2, (15, 45), (44, 45)),
            (np.pi, (30, 59), (30, 30)), (-np.pi / 2, (44, 45), (15, 45))):
        light = shine(ground.height, azimuth, np.radians(25))
        assert light[bright] > 1.3
        assert light[dark] < 0.2
    assert np.median(light) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("azimuth, shadow, lit", [
    (np.pi, (30, slice(52, 66)), (30, slice(72, 85))),  # from the left: falls to the right
    (-np.pi / 2, (slice(32, 44), 46), (slice(52, 58), 46))])  # from above: falls downwards
def test_cast_shadow_has_the_length_of_height_over_tangent(azimuth, shadow, lit):
    wall = np.zeros((60, 90), np.float32)
    if azimuth == np.pi:
        wall[:, 46:48] = 5  # reaches 5 / tan(14 deg) = 20 px
    else:
        wall[24:26] = 5
    light = shine(wall, azimuth, np.radians(14.04))
    assert light[shadow].max() < 0.05
    assert light[lit].min() > 0.9


def test_diameters_follow_a_power_law_and_ages_are_in_order():
    rng = np.random.default_rng(3)
    found = [c for _ in range(40) for c in draw_craters(rng, 400, 300, 50, 0.04)]
    d = np.array([2 * c.radius for c in found])
    assert 8 <= d.min() < 8.2
    assert d.max() > 100
    ratio = (d > 16).sum() / (d > 32).sum()
    assert 1.7 < ratio < 4.5  # 2^b
    assert min(c.depth for c in found) >= 0.04
    one = draw_craters(np.random.default_rng(5), 400, 300, 60, 0.04)
    big = [c.depth for c in one if 8 < 2 * c.radius < 12]
    assert np.corrcoef(np.arange(len(big)), big)[0, 1] > 0.8  # later ones are fresher


def test_scene_is_the_same_for_the_same_seed_only():
    one, two, other = (render_scene(seed, 120, 90) for seed in (11, 11, 12))
    assert one.image.shape == (90, 120) and one.image.dtype == np.uint8
    assert np.array_equal(one.image, two.image)
    assert all(np.array_equal(a, b) for a, b in zip(one.rims, two.rims, strict=True))
    assert not np.array_equal(one.image, other.image)


@pytest.mark.parametrize("width, height", [(16, 16), (17, 301), (500, 33)])
def test_any_size(width, height):
    scene = render_scene(2, width, height)
    assert scene.image.shape == (height, width)
    for rim in scene.rims:
        assert rim.min() >= 0 and (rim <= (width, height)).all() and len(rim) >= 4


def test_labels_show_in_the_picture():
    """The light inside a label varies more than that of equal discs elsewhere."""
    inside, outside = [], []
    for seed in range(30):
        scene = render_scene((21, seed), 256, 192)
        row, column = np.mgrid[:192, :256] + 0.5
        covered = np.zeros((192, 256), bool)
        discs = []
        for rim in scene.rims:
            x, y = rim.mean(0)
            radius = np.ptp(rim, axis=0).min() / 2
            covered |= np.hypot(column - x, row - y) < 1.5 * radius
            discs.append(np.hypot(column - x, row - y) < radius)
        rest = scene.image[~covered].astype(float)
        inside += [scene.image[disc].std() / rest.std() for disc in discs]
    assert np.median(inside) > 2
    assert np.percentile(inside, 5) > 0.9


def test_no_crater_and_a_crowd():
    empty = render_scene(6, 200, 100, count=0)
    assert empty.rims == [] and empty.image.std() > 1
    crowd = render_scene(6, 256, 256, count=800)
    assert len(crowd.rims) >= 600
    assert diameters(crowd.rims).min() > 2.5


def test_data_set_reads_back_and_does_not_depend_on_workers(tmp_path):
    summary = synthesize(tmp_path / "a", scenes=21, size=(96, 72), seed=5, workers=1)
    synthesize(tmp_path / "b", scenes=21, size=(96, 72), seed=5, workers=3)
    names = ["annotations.json"] + [f"images/terrain_{i:05d}.png" for i in range(21)]
    assert filecmp.cmpfiles(tmp_path / "a", tmp_path / "b", names, shallow=False)[0] == names
    dataset = load_dataset(tmp_path / "a")
    assert dataset.label_map == {1: "crater"}
    assert len(dataset.scenes) == summary["scenes"] == 21
    assert sum(len(s.instances) for s in dataset.scenes) == summary["instances"] > 21
    assert dataset.scenes[19].instances == ()  # one in twenty has no crater
    scene = dataset.scenes[3]
    rendered = render_scene((5, 3), 96, 72)
    assert np.array_equal(dataset.read_image(scene), rendered.image)
    for instance, rim in zip(scene.instances, rendered.rims, strict=True):
        assert instance.rings[0] == pytest.approx(rim, abs=1e-3)
        assert instance.diameter == pytest.approx(diameters([rim])[0], rel=1e-3)
    coco = json.loads((tmp_path / "a" / "annotations.json").read_text())
    assert coco["images"][0]["width"] == 96 and coco["images"][0]["height"] == 72


def test_a_shorter_data_set_is_the_start_of_a_longer_one(tmp_path):
    synthesize(tmp_path / "a", scenes=3, size=(64, 48), seed=1)
    synthesize(tmp_path / "b", scenes=5, size=(64, 48), seed=1)
    names = [f"terrain_{i:05d}.png" for i in range(3)]
    same = filecmp.cmpfiles(tmp_path / "a/images", tmp_path / "b/images", names, shallow=False)
    assert same[0] == names


@pytest.mark.parametrize("wrong, words", [
    ({"scenes": 0}, "scenes 0"), ({"size": (8, 300)}, "size 8x300"), ({"seed": -1}, "seed -1"),
    ({"empty_share": 1.5}, "empty_share 1.5"), ({"count": -2}, "count -2"),
    ({"workers": 0}, "workers 0")])
def test_wrong_arguments_are_named_and_nothing_is_written(tmp_path, wrong, words):
    with pytest.raises(ConfigError, match=words):
        synthesize(tmp_path / "out", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(CraterError, match="out: is a file"):
        synthesize(tmp_path / "out", scenes=1, size=(32, 24))
    assert (tmp_path / "out").read_text() == "mine"
