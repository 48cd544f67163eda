"""Every kind of backbone by its name: the levels fit, and the smallest craters keep an anchor."""

import pytest
import tensorflow as tf

from crater_model.detector.backbones import BACKBONES
from crater_model.detector.experiment import load_experiment
from crater_model.detector.model import build_model
from crater_model.detector.targets import anchors_of
from crater_model.errors import ConfigError

SMALL = {"task.model.num_classes": 2, "task.model.detection_generator.max_num_detections": 100,
         "task.model.input_size": [128, 256, 3]}


@pytest.mark.slow
@pytest.mark.parametrize("name, levels", [
    ("resnet18", range(2, 7)), ("mobilenet_v3_small", range(2, 7)),
    ("efficientnet_b0", range(2, 7)), ("spinenet49S", range(3, 8))])
def test_a_backbone_of_each_kind_detects(name, levels):
    experiment = load_experiment("demo", {**SMALL, "task.backbone": name})
    model = build_model(experiment.task)
    anchors = anchors_of(experiment.task.model, (128, 256))
    assert [int(level) for level in anchors] == list(levels)
    smallest = anchors[str(min(levels))][0, 0].numpy()
    assert smallest[2] - smallest[0] == pytest.approx(12.0)
    found = model(tf.random.stateless_normal([2, 128, 256, 3], [0, 1]),
                  image_shape=tf.constant([[128.0, 256.0]] * 2), training=False)
    assert found["detection_boxes"].shape[0] == 2 and found["detection_boxes"].shape[2] == 4
    assert found["detection_masks"].shape[1:] == (found["detection_boxes"].shape[1], 28, 28)
    assert found["detection_boxes"].shape[1] > 0


def test_names_set_model_gardens_type_and_id():
    for name, (kind, model_id) in BACKBONES.items():
        backbone = load_experiment("demo", {"task.backbone": name}).task.model.backbone
        assert backbone.type == kind and backbone.get().model_id == model_id
    task = load_experiment("demo", {"task.backbone": "spinenet96"}).task
    assert task.model.decoder.type == "identity" and task.model.anchor.anchor_size == 1.5


def test_single_settings_go_over_the_name():
    task = load_experiment("resnet50_1024", {
        "task.model.backbone.efficientnet.se_ratio": 0.25, "task.backbone": "efficientnet_b3"}).task
    assert task.model.backbone.get().model_id == "b3" and task.model.backbone.get().se_ratio == 0.25
    with pytest.raises(ConfigError, match="'task.model.backbone.type' is 'resnet'; set that to"):
        load_experiment("demo", {"task.model.backbone.mobilenet.model_id": "MobileNetV1"})
