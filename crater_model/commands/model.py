"""Commands that train, score and export a detector."""

from __future__ import annotations

from pathlib import Path

from crater_model.commands.options import Values, add_command, height_width, scales, setting, whole
from crater_model.settings import INPUT_TYPES, MAX_MEGAPIXELS, PRESETS


def train(commands) -> None:
    def run(options) -> Values:
        from crater_model.training import train

        result = train(options.records, options.model_dir, options.experiment,
                       dict(options.set or []), train_steps=options.train_steps,
                       sample_1_of_n_eval_examples=options.sample_1_of_n_eval_examples,
                       eval_checkpoint_metric=options.eval_checkpoint_metric,
                       metric_objective_type=options.metric_objective_type)
        metric = result["metric"]
        score = "no score" if metric["value"] is None else f"{metric['value']:.4f}"
        return {**result, "_text": f"{metric['name']}: {score}\nbest checkpoint: "
                f"{Path(options.model_dir) / (result['best_checkpoint'] or '-')}\n"
                f"steps: {result['steps']}  seconds: {result['seconds']}"}

    command = add_command(commands, "train", "train a detector, or go on training", run)
    command.add_argument("records", metavar="RECORDS", help="a folder of records, local or gs://")
    command.add_argument("--model-dir", required=True, metavar="DIR",
                         help="where the model goes; a training begun there goes on")
    command.add_argument("--experiment", default="demo", metavar="NAME|FILE.yaml",
                         help=f"a preset ({', '.join(PRESETS)}) or a file that starts from one")
    command.add_argument("--set", action="append", type=setting, metavar="key=value",
                         help="override a value of the experiment; may be repeated")
    command.add_argument("--train-steps", type=whole, default=None, metavar="N",
                         help="the experiment's by default")
    command.add_argument("--sample-1-of-n-eval-examples", type=whole, default=1, metavar="N",
                         help="validates on every n-th record only")
    command.add_argument("--eval-checkpoint-metric", default="mask_AP", metavar="SCORE",
                         help="the validation score that chooses the best checkpoint")
    command.add_argument("--metric-objective-type", choices=("max", "min"), default="max",
                         help="which value of it is the best")


def evaluate(commands) -> None:
    def run(options) -> Values:
        from crater_model.evaluation import evaluate

        return evaluate(options.model, options.dataset, scales=options.scales,
                        scenes=_scenes_of(options), output=options.output)

    command = add_command(commands, "evaluate", "score a detector on whole scenes", run)
    command.add_argument("model", metavar="MODEL", help="a model directory or a SavedModel")
    command.add_argument("dataset", metavar="DATASET", help="a data set")
    command.add_argument("--output", metavar="DIR", help="for metrics.json and pictures")
    command.add_argument("--scales", type=scales, default=None, metavar="S[,S...]",
                         help="network px per scene px; the model's own by default")
    command.add_argument("--records", metavar="RECORDS",
                         help="score only the scenes of one split of these records")
    command.add_argument("--split", default="test", metavar="SPLIT",
                         help="which split of --records")


def _scenes_of(options) -> list[str] | None:
    if options.records is None:
        return None
    from crater_model.records.manifest import read_manifest

    return read_manifest(options.records).split(options.split)["scenes"]


def export(commands) -> None:
    def run(options) -> Values:
        from crater_model.export import export_saved_model

        path = export_saved_model(
            options.model_dir, options.out, options.model_version,
            inference_input_type=options.input_type, inference_input_shape=options.input_shape,
            score_threshold=options.score_threshold, nms_iou_threshold=options.nms_iou_threshold,
            max_megapixels=options.max_megapixels)
        return {"saved_model": str(path), "version": int(path.name)}

    command = add_command(commands, "export", "write a SavedModel version for TF Serving", run)
    command.add_argument("model_dir", metavar="MODEL_DIR", help="where it was trained")
    command.add_argument("out", metavar="OUT", help="parent of the version folders")
    command.add_argument("--model-version", type=whole, default=None, metavar="N",
                         help="version number; the next free one by default")
    command.add_argument("--input-type", choices=INPUT_TYPES, default="image_bytes",
                         help="what a request holds; `crater detect` sends image_bytes")
    command.add_argument("--input-shape", type=height_width, metavar="H,W",
                         help="of image_tensor, in px; any size by default")
    command.add_argument("--score-threshold", type=float, metavar="SCORE",
                         help="lowest score of a detection; the experiment's by default")
    command.add_argument("--nms-iou-threshold", type=float, metavar="IOU",
                         help="overlap from which the weaker of two detections is dropped; "
                         "the experiment's by default")
    command.add_argument("--max-megapixels", type=float, default=MAX_MEGAPIXELS, metavar="MPX",
                         help="an image file of more is refused before it is decoded")
