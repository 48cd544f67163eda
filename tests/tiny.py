"""The smallest experiment that has every part: for tests of the machinery, not of scores."""

TINY = {
    "task.model.input_size": [96, 96, 3],
    "task.model.min_level": 3,
    "task.model.max_level": 4,
    "task.model.backbone.resnet.depth_multiplier": 0.25,
    "task.model.decoder.fpn.num_filters": 16,
    "task.model.rpn_head.num_filters": 16,
    "task.model.detection_head.fc_dims": 32,
    "task.model.mask_head.num_convs": 1,
    "task.model.mask_head.num_filters": 16,
    "task.train_data.global_batch_size": 2,
    "task.validation_data.global_batch_size": 2,
    "trainer.train_steps": 4,
    "trainer.steps_per_loop": 2,
    "trainer.validation_interval": 2,
    "trainer.checkpoint_interval": 2,
}

# Where a training is not what is tested: its few steps are over before its loop would be compiled.
UNCOMPILED = {"trainer.train_tf_while_loop": False, "trainer.train_tf_function": False,
              "trainer.eval_tf_function": False}
