"""The sides of `training.py`: one training each, in a process of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import time

from benchmarks.harness import peak_mb, repeated

LOOP = 10  # steps between two looks at the clock
SCORES = ("mask_AP", "mask_AP50", "box_AP", "detections")


def trainer(side: str, folder: str, size: int, steps: int, seed: int):
    """Model Garden's trainer around one side's task, with fresh weights from `seed`."""
    import orbit
    import tf_keras
    from official.common import distribute_utils
    from official.core import base_trainer, task_factory

    import crater_model.detector.task  # noqa: F401  registers our task

    config = experiment(f"{folder}/train_compact", size, steps, seed)
    if side == "model_garden":
        config = garden_experiment(config, f"{folder}/train_full")
    if side == "plain":
        uncorrect()
    tf_keras.utils.set_random_seed(seed)
    strategy = distribute_utils.get_distribution_strategy("one_device", num_gpus=0)
    with strategy.scope():
        task = task_factory.get_task(config.task)
        model = task.build_model()
        optimizer = task.create_optimizer(config.trainer.optimizer_config, config.runtime)
        # Made here, since an error within the trainer would hide its cause in the last line.
        batches = orbit.utils.make_distributed_dataset(
            strategy, task.build_inputs, config.task.train_data)
        return base_trainer.Trainer(config, task, model, optimizer, evaluate=False,
                                    train_dataset=batches)


def experiment(records: str, size: int, steps: int, seed: int):
    """The demo without turns, fitted to the records."""
    from crater_model.detector.experiment import fit_to_records, load_experiment
    from crater_model.records.manifest import read_manifest

    manifest = read_manifest(records)
    images = manifest.splits["train"]["images"]
    found = load_experiment("demo", {
        "task.model.input_size": [size, size, 3], "task.train_data.input_path": records,
        "task.train_data.seed": seed, "task.train_data.shuffle_buffer_size": images,
        "task.train_data.parser.aug_rand_rot90": False, "trainer.train_steps": steps})
    return fit_to_records(found, manifest)


def garden_experiment(ours, records: str):
    """The same settings for Model Garden's own task."""
    from official.core.config_definitions import ExperimentConfig
    from official.vision.configs import maskrcnn

    data = ours.task.train_data
    parser = maskrcnn.Parser(**{field.name: getattr(data.parser, field.name)
                                for field in dataclasses.fields(maskrcnn.Parser)})
    same = ("is_training", "global_batch_size", "shuffle_buffer_size", "dtype", "seed")
    task = maskrcnn.MaskRCNNTask(
        model=ours.task.model, losses=ours.task.losses, train_data=maskrcnn.DataConfig(
            input_path=f"{records}/train-*", parser=parser,
            **{name: getattr(data, name) for name in same}))
    return ExperimentConfig(task=task, trainer=ours.trainer, runtime=ours.runtime)


def uncorrect() -> None:
    """Takes back what our model and input pipeline do otherwise than Model Garden's."""
    from official.vision.modeling.layers.roi_aligner import MultilevelROIAligner
    from official.vision.ops import preprocess_ops

    from crater_model.detector import inputs, model

    model.AlignedROIAligner.call = MultilevelROIAligner.call
    inputs.standardize = lambda image: preprocess_ops.normalize_scaled_float_image(image / 255.0)


def _count(steps: int):
    import tensorflow as tf

    return tf.constant(steps)  # a Python number would be traced anew


def train(side: str, folder: str, size: int, steps: int, seed: int, step_seconds: float) -> dict:
    """One training, timed, its scores on the held-out scenes, and the step alone."""
    from crater_model.annotations.dataset import load_dataset

    started, cpu = time.perf_counter(), time.process_time()
    run = trainer(side, folder, size, steps, seed)
    start = weights_hash(run)
    losses = [run.train(_count(min(LOOP, steps)))]
    traced = time.perf_counter()
    for done in range(LOOP, steps, LOOP):
        losses.append(run.train(_count(min(LOOP, steps - done))))
    ended, cpu = time.perf_counter(), time.process_time() - cpu
    later = max(steps - LOOP, 1)
    found = {"start": start, "seconds": round(ended - started, 1), "cpu_seconds": round(cpu, 1),
             "seconds_without_tracing": round((ended - traced) * steps / later, 1),
             "steps_per_second": round(later / (ended - traced), 3), "training_peak_mb": peak_mb(),
             "first_loss": round(float(losses[0]["total_loss"]), 4),
             "last_loss": round(float(losses[-1]["total_loss"]), 4)}
    scores = score(run, load_dataset(f"{folder}/held_out"), f"{folder}/held_out_full")
    found["scores"] = {name: round(scores[name], 4) for name in SCORES}
    # One batch again and again: the step without the input pipeline.
    batches = run.task.build_inputs(run.config.task.train_data)
    run.train_dataset = run.distribute_dataset(batches.take(1).cache().repeat())
    run.train(_count(LOOP))
    step = repeated(lambda: run.train(_count(LOOP)), step_seconds)
    return {**found, "step_seconds": round(step["seconds"] / LOOP, 4),
            "step_cpu_seconds": round(step["cpu_seconds"] / LOOP, 4)}


def weights_hash(run) -> str:
    """Tells whether two sides begin alike."""
    return hashlib.sha256(b"".join(w.tobytes() for w in run.model.get_weights())).hexdigest()[:16]


def score(run, held_out, records: str) -> dict:
    """Scores on the held-out scenes, of which Model Garden's task reads its own records."""
    from crater_model.detections.truth import truth_from_scene
    from crater_model.detector import Detector
    from crater_model.detector.configs import CraterTask
    from crater_model.scores.evaluator import Evaluator

    if isinstance(run.config.task, CraterTask):
        detector = Detector.from_experiment(run.config, run.model)
        found = {scene.id: detector.detect([held_out.encoded_image(scene)])[0]
                 for scene in held_out.scenes}
    else:
        found = garden_detections(run, records)
    evaluator = Evaluator(held_out.label_map)
    for scene in held_out.scenes:
        evaluator.add(scene.file_name, found[scene.id], truth_from_scene(scene))
    return evaluator.result()


def garden_detections(run, records: str) -> dict:
    """Scene's id -> detections in images as large as the network's input: px are the same."""
    import tensorflow as tf

    from crater_model.detector.task import detections_from_outputs

    size = tuple(run.config.task.model.input_size[:2])
    data = run.config.task.train_data.replace(
        input_path=f"{records}/train-*", is_training=False, drop_remainder=False)

    @tf.function
    def detect(images, labels):
        return run.model(images, anchor_boxes=labels["anchor_boxes"],
                         image_shape=labels["image_info"][:, 1, :], training=False)

    found = {}
    for images, labels in run.task.build_inputs(data):
        outputs = {name: value.numpy() for name, value in detect(images, labels).items()
                   if name.startswith("detection_") or name == "num_detections"}
        for row, number in enumerate(labels["groundtruths"]["source_id"].numpy()):
            found[int(number)] = detections_from_outputs(
                {name: value[row] for name, value in outputs.items()}, size, {1: "crater"})
    return found
