"""The presets: complete experiments to start from, each with its reasons."""

from __future__ import annotations

from collections.abc import Callable

from official.core import config_definitions as cfg
from official.modeling import optimization
from official.vision.configs import backbones, common, decoders, maskrcnn

from crater_model.detector.configs import CraterTask, DataConfig, Experiment, Parser, Trainer


def demo() -> Experiment:
    """A small Mask R-CNN that learns craters from nothing in minutes on two cores.

    ResNet-10 of half width and a feature pyramid of 64 channels on 256 x 256 px. Square
    anchors only, since craters are round, of 3 x 2^level = 12 to 192 px: at an IoU of
    0.5 to 0.7 they reach craters of about 8 to 270 px. Batch statistics adapt fast
    (momentum 0.9), since a run is a few hundred steps.
    """
    return _experiment(_small_task(), _adamw(3e-3, steps=700, warmup=50), steps=700,
                       interval=350, checkpoints=100, loop=10)


def chips_256() -> Experiment:
    """Dense small craters, most of them of 7 to 20 px: chips of 256 px, two cores or one GPU.

    The network of `demo`, for longer and in bfloat16. On chips of 128 px of LROC NAC mosaics,
    scaled up twice, anchors of 3 x 2^level were best by far (of 2: mask AP 0.206, of 3: 0.263,
    of 4: 0.222), a second anchor scale cost a quarter of the speed for nothing, and bfloat16 scored
    as float32 does and is faster where the processor has instructions for it. Detections from a
    score of 0.001 on are kept, since among many craters the faint ones count. More in
    docs/training-log.md, also how much starting from rendered terrain gains.
    """
    task = _small_task()
    task.model.detection_generator.pre_nms_score_threshold = 0.001
    experiment = _experiment(task, _adamw(3e-3, steps=2000, warmup=50), steps=2000, interval=500,
                             checkpoints=100, loop=10)
    experiment.runtime.mixed_precision_dtype = "bfloat16"
    return experiment


def resnet50_1024() -> Experiment:
    """ResNet-50 FPN on 1024 x 1024 px, for GPUs; mixed precision, over all GPUs there are.

    500 instances: what a square of 1024 px of the lunar highlands or of a NAC image holds; records
    with fuller images are refused by name rather than cut (0 in both places takes what the
    records need). Anchors of 3 x 2^level and one intermediate scale, square, reach from 12 px
    (level 2) to 270 px (level 6). 128 masks an image are learnt from, since so many of its
    regions are craters. Start from an ImageNet ResNet-50 by setting `task.init_checkpoint`
    and `task.init_checkpoint_modules=backbone`.
    """
    return _large("resnet50")


def resnet101_1024() -> Experiment:
    """As `resnet50_1024` with a ResNet-101, for large labelled sets.

    Batch 4 instead of 8, which is what 16 GB of GPU memory hold, and half the learning rate with
    it (the linear scaling rule, Goyal et al. 2017).
    """
    experiment = _large("resnet101")
    experiment.task.train_data.global_batch_size = 4
    experiment.trainer.optimizer_config.learning_rate.cosine.initial_learning_rate = 0.01
    return experiment


def legacy_1024() -> Experiment:
    """The old system's settings, to compare with its models.

    1024 px, momentum 0.9, cosine decay from 1e-3 after 5,000 steps of linear warm-up, gradients
    clipped to a norm of 10, flips, quarter turns, brightness and contrast. What it ran on (TF
    Object Detection API) changes brightness by up to 0.2 of the range and contrast by a
    quarter; the former is about one standard deviation of such images. Its anchors had three
    aspect ratios. float32, as there was no mixed precision.
    """
    experiment = _large("resnet50")
    task = experiment.task
    task.model.anchor.aspect_ratios = [0.5, 1.0, 2.0]
    parser = task.train_data.parser
    parser.aug_brightness, parser.aug_contrast = 1.0, 0.25
    parser.aug_scale_min = parser.aug_scale_max = 1.0
    experiment.trainer.optimizer_config = _sgd(1e-3, steps=50_000, warmup=5_000)
    experiment.trainer.train_steps = 50_000
    experiment.runtime.mixed_precision_dtype = "float32"
    return experiment


BUILDERS: dict[str, Callable[[], Experiment]] = {
    preset.__name__: preset
    for preset in (demo, chips_256, resnet50_1024, resnet101_1024, legacy_1024)}


def _small_task() -> CraterTask:
    augmentation = Parser(aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True,
                          rpn_batch_size_per_im=128)
    return CraterTask(
        model=maskrcnn.MaskRCNN(
            num_classes=0, input_size=[256, 256, 3], min_level=2, max_level=6,
            anchor=maskrcnn.Anchor(num_scales=1, aspect_ratios=[1.0], anchor_size=3.0),
            backbone=backbones.Backbone(
                type="resnet", resnet=backbones.ResNet(model_id=10, depth_multiplier=0.5)),
            decoder=decoders.Decoder(type="fpn", fpn=decoders.FPN(num_filters=64)),
            rpn_head=maskrcnn.RPNHead(num_filters=64),
            detection_head=maskrcnn.DetectionHead(num_convs=0, num_filters=64, fc_dims=256),
            roi_generator=maskrcnn.ROIGenerator(
                pre_nms_top_k=500, num_proposals=200, test_pre_nms_top_k=500,
                test_num_proposals=200, use_batched_nms=True),
            roi_sampler=maskrcnn.ROISampler(num_sampled_rois=128),
            detection_generator=maskrcnn.DetectionGenerator(
                max_num_detections=0, pre_nms_score_threshold=0.05, nms_version="batched",
                pre_nms_top_k=500),
            mask_head=maskrcnn.MaskHead(num_convs=2, num_filters=64),
            mask_sampler=maskrcnn.MaskSampler(num_sampled_masks=16),
            norm_activation=common.NormActivation(
                norm_momentum=0.9, norm_epsilon=1e-4, use_sync_bn=False)),
        train_data=DataConfig(is_training=True, split="train", global_batch_size=4,
                              shuffle_buffer_size=1000, parser=augmentation),
        validation_data=DataConfig(is_training=False, split="validation",
                                   global_batch_size=4, drop_remainder=False))


def _large(backbone: str) -> Experiment:
    augmentation = Parser(
        max_num_instances=500, aug_rand_hflip=True, aug_rand_vflip=True, aug_rand_rot90=True,
        aug_scale_min=0.8, aug_scale_max=1.25)
    task = CraterTask(
        backbone=backbone,
        model=maskrcnn.MaskRCNN(
            num_classes=0, input_size=[1024, 1024, 3], min_level=2, max_level=6,
            anchor=maskrcnn.Anchor(num_scales=2, aspect_ratios=[1.0], anchor_size=3.0),
            roi_generator=maskrcnn.ROIGenerator(use_batched_nms=True),
            detection_generator=maskrcnn.DetectionGenerator(
                max_num_detections=500, nms_version="batched"),
            mask_sampler=maskrcnn.MaskSampler(num_sampled_masks=128),
            norm_activation=common.NormActivation(
                norm_momentum=0.99, norm_epsilon=1e-4, use_sync_bn=True)),
        losses=maskrcnn.Losses(l2_weight_decay=4e-5),
        train_data=DataConfig(is_training=True, split="train", global_batch_size=8,
                              shuffle_buffer_size=500, parser=augmentation),
        validation_data=DataConfig(is_training=False, split="validation",
                                   global_batch_size=4, drop_remainder=False,
                                   parser=Parser(max_num_instances=500)))
    experiment = _experiment(task, _sgd(0.02, steps=20_000, warmup=1_000), steps=20_000,
                             interval=1_000, checkpoints=500, loop=100)
    experiment.runtime.distribution_strategy = "mirrored"
    experiment.runtime.mixed_precision_dtype = "bfloat16"
    return experiment


def _adamw(rate: float, steps: int, warmup: int) -> optimization.OptimizationConfig:
    return _optimization({"type": "adamw_experimental", "adamw_experimental": {
        "weight_decay": 1e-4, "global_clipnorm": 10.0}}, rate, steps, warmup)


def _sgd(rate: float, steps: int, warmup: int) -> optimization.OptimizationConfig:
    return _optimization({"type": "sgd", "sgd": {"momentum": 0.9, "global_clipnorm": 10.0}},
                         rate, steps, warmup)


def _optimization(optimizer: dict, rate: float, steps: int,
                  warmup: int) -> optimization.OptimizationConfig:
    return optimization.OptimizationConfig({
        "optimizer": optimizer,
        "learning_rate": {"type": "cosine", "cosine": {
            "initial_learning_rate": rate, "decay_steps": steps, "alpha": 0.01}},
        "warmup": {"type": "linear", "linear": {
            "warmup_steps": warmup, "warmup_learning_rate": 0.0}},
    })


def _experiment(task: CraterTask, optimizer: optimization.OptimizationConfig, steps: int,
                interval: int, checkpoints: int, loop: int) -> Experiment:
    return Experiment(
        runtime=cfg.RuntimeConfig(
            distribution_strategy="one_device", mixed_precision_dtype="float32"),
        task=task,
        trainer=Trainer(
            train_steps=steps, validation_steps=-1, validation_interval=interval,
            steps_per_loop=loop, summary_interval=loop, checkpoint_interval=checkpoints,
            max_to_keep=2, best_checkpoint_export_subdir="best",
            best_checkpoint_eval_metric="mask_AP", best_checkpoint_metric_comp="higher",
            optimizer_config=optimizer),
        restrictions=[
            "task.train_data.is_training != None",
            "task.model.min_level < task.model.max_level",
        ])
