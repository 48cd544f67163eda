"""From ground to picture: sunlight with cast shadows, then a camera."""

from __future__ import annotations

import cv2
import numpy as np

CONTRASTS = (12.0, 22.0, 34.0, 48.0)  # gain settings: r.m.s. contrast asked for, grey levels
_MIX = 0.7  # share of the Lommel-Seeliger term in the photometry


def brightness(ground: np.ndarray, lit: np.ndarray, azimuth: float,
               elevation: float) -> np.ndarray:
    """How bright sunlit ground looks from straight above, 1 where it is level.

    Lunar-Lambert photometry (McEwen 1991).

    Args:
      ground: float32 [h, w], height in px.
      lit: float32 [h, w] of `sunlit`.
      azimuth: direction the light comes from, rad, from +x towards +y.
      elevation: of the sun above the horizon, rad.

    Returns:
      float32 [h, w].
    """
    zx = cv2.Sobel(ground, -1, 1, 0, ksize=1, scale=0.5)
    zy = cv2.Sobel(ground, -1, 0, 1, ksize=1, scale=0.5)
    east, south = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    up = np.float32(np.sin(elevation))
    view = 1 / np.sqrt(1 + zx * zx + zy * zy)
    sun = (up - np.float32(east) * zx - np.float32(south) * zy) * view
    np.maximum(sun, 0, out=sun)
    sun *= lit
    mix = np.float32(_MIX)
    light = (2 * mix) * sun / (sun + view) + (1 - mix) * sun
    level = 2 * _MIX * up / (up + 1) + (1 - _MIX) * up
    return light * np.float32(1 / level)


def sunlit(ground: np.ndarray, azimuth: float, elevation: float) -> np.ndarray:
    """1 in the sun, 0 in a cast shadow, between at its edge; float32 [h, w].

    Arguments as for `brightness`. The ground is turned so that the light comes from the
    left; there, a point is in shadow when any point to its left reaches above the ray
    through it.
    """
    height, width = ground.shape
    slope = np.float32(np.tan(elevation))
    side = int(np.ceil(np.hypot(height, width)))
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2),
                                   np.degrees(azimuth) + 180, 1.0)
    turn[:, 2] += (side - width) / 2, (side - height) / 2
    turned = cv2.warpAffine(ground, turn, (side, side), borderMode=cv2.BORDER_REPLICATE)
    ramp = np.arange(side, dtype=np.float32)[None] * slope
    ray = np.maximum.accumulate(turned + ramp, axis=1) - ramp
    ray = cv2.warpAffine(ray, turn, (width, height),
                         flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                         borderMode=cv2.BORDER_REPLICATE)
    edge = np.float32(1 / max(0.6 * float(slope), 0.08))
    return np.clip(1.15 - (ray - ground) * edge, 0.0, 1.0)


def photograph(rng: np.random.Generator, light: np.ndarray) -> np.ndarray:
    """A camera's picture: blur, one of several gains, noise, 8 bits.

    Args:
      light: float32 [h, w], 1 on level ground.

    Returns:
      uint8 [h, w].
    """
    blur = rng.uniform(0.35, 0.75)
    light = cv2.GaussianBlur(light, (0, 0), blur)
    contrast = rng.choice(CONTRASTS, p=(0.15, 0.3, 0.35, 0.2))
    # A large shadow must not leave the ground around it without contrast.
    gain = min(contrast / (float(np.clip(light, 0.4, 1.6).std()) + 0.02), 240.0)
    # Shadows come out near black and level ground grey, whatever the gain.
    level = np.clip(gain * float(light.mean()) + rng.uniform(-15, 20), 60, 150)
    picture = np.float32(level) + np.float32(gain) * (light - light.mean())
    noise = rng.uniform(0.03, 0.13) * contrast + 0.5
    picture += np.float32(noise) * rng.standard_normal(light.shape, np.float32)
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
