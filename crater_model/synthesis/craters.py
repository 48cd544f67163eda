"""One crater's place, outline and wear, and the population of craters in a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crater_model.synthesis.profiles import depth_after

MIN_DIAMETER = 8.0  # px, of the smallest labelled crater ...
CROWDED_DIAMETER = 6.0  # ... and of the smallest where there is no room for that
RIM_POINTS = 48
_ANGLES = np.arange(RIM_POINTS) * (2 * np.pi / RIM_POINTS)


@dataclass(frozen=True)
class Crater:
    """A crater; lengths in px, angles in rad, x right and y down.

    Attributes:
      x, y: the centre.
      radius: of the circle of (nearly) equal area.
      stretch: long axis / short axis of the outline's ellipse, >= 1.
      angle: of the long axis, from +x towards +y.
      waves: [k, 3] rows (order, share of the radius, phase): low-order Fourier terms.
      depth: depth / diameter at present, 0.2 when fresh.
    """

    x: float
    y: float
    radius: float
    stretch: float
    angle: float
    waves: np.ndarray
    depth: float

    def axes(self) -> tuple[float, float]:
        """Half the long and half the short axis of the ellipse, px."""
        root = self.stretch**0.5
        return self.radius * root, self.radius / root

    def wobble(self, theta: np.ndarray) -> np.ndarray:
        """Distance of the crest at angle theta in the ellipse's own frame; 1 on average."""
        order, share, phase = self.waves.T[:, :, None]
        return 1 + (share * np.cos(order * theta[None] + phase)).sum(0)

    def rim(self) -> np.ndarray:
        """The crest: float64 [RIM_POINTS, 2], x and y in px."""
        along, across = self.axes()
        distance = self.wobble(_ANGLES)
        u, v = along * distance * np.cos(_ANGLES), across * distance * np.sin(_ANGLES)
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.x + c * u - s * v, self.y + s * u + c * v], axis=1)

    def distance(self, points: np.ndarray) -> np.ndarray:
        """Distance of points [n, 2] (px) from the centre, in rim radii: 1 on the crest."""
        along, across = self.axes()
        dx, dy = points[:, 0] - self.x, points[:, 1] - self.y
        c, s = np.cos(self.angle), np.sin(self.angle)
        u, v = (c * dx + s * dy) / along, (c * dy - s * dx) / across
        return np.hypot(u, v) / self.wobble(np.arctan2(v, u))


def draw_craters(rng: np.random.Generator, width: int, height: int, count: int,
                 shallowest: float) -> list[Crater]:
    """Draws `count` craters in and around a scene, oldest first.

    Places are random, except that in a crowd (less than 16 x 16 px each) a crater takes
    the place where it cuts least into the others.

    Diameters follow a power law, N(>D) ~ D^-b, with b 1.1 to 1.8: a surface in
    equilibrium has about 2 (Gault 1970); less keeps large craters from being rare in
    small scenes. Wear goes with age / D, so small craters vanish first, as they do
    on the Moon; one worn beyond `shallowest` no longer shows and is drawn anew.

    Args:
      width, height: of the scene, px.
      count: craters to draw; centres may lie a little outside the scene.
      shallowest: the least depth / diameter that still shows.
    """
    if count == 0:
        return []
    slope = rng.uniform(1.1, 1.8)
    room = (width * height / count) ** 0.5
    crowded = room < 2 * MIN_DIAMETER
    smallest = float(np.clip(0.7 * room, CROWDED_DIAMETER, MIN_DIAMETER))
    largest = _largest_diameter(width, height, count, smallest, slope)
    old = np.exp(rng.uniform(np.log(0.05), np.log(0.6)))  # wear of the oldest 16 px crater
    found: list[tuple[float, Crater]] = []
    taken = np.zeros((count, 3))  # x, y, radius
    while len(found) < count:
        diameter = _power_law(rng, smallest, largest, slope)
        age = rng.uniform() ** 1.4  # a little more of the young: they show best
        depth = depth_after(0.002 + old * age * 16 / diameter) * rng.uniform(0.88, 1.0)
        if depth < shallowest * (1 + 4 / diameter):
            old *= 0.98  # a very old surface would otherwise be drawn for ever
            continue
        tries = 64 if crowded and found else 1
        x, y = _place(rng, width, height, diameter, taken[:len(found)], tries)
        taken[len(found)] = x, y, diameter / 2
        found.append((age, _outline(rng, x, y, diameter / 2, depth)))
    found.sort(key=lambda pair: -pair[0])
    return [crater for _, crater in found]


def _outline(rng, x: float, y: float, radius: float, depth: float) -> Crater:
    orders = np.array([2.0, 3.0, 4.0, 5.0])
    shares = rng.normal(0, 0.05, 4) / orders
    waves = np.stack([orders, shares, rng.uniform(0, 2 * np.pi, 4)], axis=1)
    oblique = rng.uniform() < 0.12  # a low impact angle leaves a clearly elliptical rim
    stretch = rng.uniform(1.15, 1.4) if oblique else rng.uniform(1.0, 1.1)
    return Crater(x, y, radius, stretch, rng.uniform(0, np.pi), waves, depth)


def _place(rng, width: int, height: int, diameter: float, taken: np.ndarray, tries: int):
    """A centre at random; of several tries, the one that cuts least into the others."""
    border = diameter * 0.25
    x = rng.uniform(-border, width + border, tries)
    y = rng.uniform(-border, height + border, tries)
    if tries == 1:
        return float(x[0]), float(y[0])
    gap = (np.hypot(taken[:, :1] - x, taken[:, 1:2] - y) - taken[:, 2:]).min(axis=0)
    free = np.flatnonzero(gap > diameter / 2)
    best = free[0] if len(free) else np.argmax(gap)
    return float(x[best]), float(y[best])


def _power_law(rng, smallest: float, largest: float, slope: float) -> float:
    low, high = smallest**-slope, largest**-slope
    return float((low - rng.uniform() * (low - high)) ** (-1 / slope))


def _largest_diameter(width: int, height: int, count: int, smallest: float,
                      slope: float) -> float:
    """The largest diameter at which `count` craters fit without hiding each other."""
    largest = max(0.5 * min(width, height), 1.25 * smallest)
    while largest > 1.25 * smallest:
        d = np.geomspace(smallest, largest, 64)
        weight = d**-slope  # the power law's density per log interval
        area = np.pi / 4 * (d**2 * weight).sum() / weight.sum()
        if count * area < 0.5 * width * height:
            break
        largest *= 0.9
    return largest
