"""Backbones by one name: what each needs to be set to."""

from __future__ import annotations

# name -> (Model Garden's type, its model_id)
BACKBONES: dict[str, tuple[str, int | str]] = {
    **{f"resnet{depth}": ("resnet", depth) for depth in (10, 18, 34, 50, 101, 152)},
    **{f"spinenet{size}": ("spinenet", size) for size in ("49S", "49", "96", "143", "190")},
    **{f"efficientnet_{size}": ("efficientnet", size) for size in (f"b{i}" for i in range(8))},
    "mobilenet_v1": ("mobilenet", "MobileNetV1"), "mobilenet_v2": ("mobilenet", "MobileNetV2"),
    "mobilenet_v3_small": ("mobilenet", "MobileNetV3Small"),
    "mobilenet_v3_large": ("mobilenet", "MobileNetV3Large"),
}
# SpineNet makes its own pyramid, of just these levels (Du et al. 2020).
_SPINENET_LEVELS = (3, 7)


def apply_backbone(task, name: str) -> None:
    """Sets an experiment's task to a backbone.

    A ResNet keeps the width it is set to (`depth_multiplier`). SpineNet takes the pyramid's place:
    its finest level is 8 px, so the anchors' size is taken down by as much as the level goes
    up, and the smallest craters keep their anchors.

    Args:
      task: a `CraterTask`, changed in place.
      name: a key of `BACKBONES`.
    """
    kind, model_id = BACKBONES[name]
    model = task.model
    model.backbone.type = kind
    chosen = model.backbone.get()
    chosen.model_id = model_id
    if kind == "spinenet":
        model.decoder.type = "identity"
        model.anchor.anchor_size *= 2.0 ** (model.min_level - _SPINENET_LEVELS[0])
        model.min_level, model.max_level = _SPINENET_LEVELS
        chosen.min_level, chosen.max_level = _SPINENET_LEVELS
