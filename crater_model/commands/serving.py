"""Commands that put a detector into service, and that use one."""

from __future__ import annotations

from crater_model.commands.options import Values, add_command, scales, whole


def image(commands) -> None:
    def build(options) -> Values:
        from crater_model.serving.image import build_image

        result = build_image(options.saved_model, options.tag, engine=options.engine,
                             base=options.base, gpu=options.gpu, push=options.push,
                             canary=options.canary)
        return result.to_json()

    command = add_command(commands, "build", "build the TF Serving image", build)
    command.add_argument("saved_model", metavar="SAVED_MODEL")
    command.add_argument("--tag", required=True, metavar="NAME")
    command.add_argument("--canary", default=None, metavar="SAVED_MODEL",
                         help="a second version, which requests for the label canary reach")
    command.add_argument("--engine", choices=("auto", "docker", "buildah"), default="auto")
    command.add_argument("--base", default=None, metavar="IMAGE")
    command.add_argument("--gpu", action="store_true")
    command.add_argument("--push", action="store_true")


def serve(commands) -> None:
    def run(options) -> Values:
        from crater_model.serving.server import serve

        serve(options.saved_model, grpc_port=options.grpc_port, rest_port=options.rest_port,
              host=options.host)
        return {"_text": "stopped"}

    command = add_command(commands, "serve", "a local server with TF Serving's API", run)
    command.add_argument("saved_model", metavar="SAVED_MODEL")
    command.add_argument("--grpc-port", type=int, default=8500)
    command.add_argument("--rest-port", type=int, default=8501)
    command.add_argument("--host", default="127.0.0.1")


def detect(commands) -> None:
    def run(options) -> Values:
        from crater_model.mapping.detect import detect_files

        return detect_files(options.images, options.output, server=options.server,
                            model=options.model, tile=options.tile, scales=options.scales,
                            threshold=options.threshold)

    command = add_command(commands, "detect", "outline what is in images", run)
    command.add_argument("images", nargs="+", metavar="IMAGE")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--server", metavar="HOST:PORT[,...]")
    source.add_argument("--model", metavar="DIR", help="a model directory or a SavedModel")
    command.add_argument("--output", required=True, metavar="FILE",
                         help="the suffix decides: .geojson .csv .json (COCO results) .png")
    command.add_argument("--tile", type=whole, default=None, metavar="PX",
                         help="side of the network's input; the model's own by default")
    command.add_argument("--scales", type=scales, default=None, metavar="S[,S...]",
                         help="network px per image px; the model's own by default")
    command.add_argument("--threshold", type=float, default=0.5, help="lowest score kept")
