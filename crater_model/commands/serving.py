"""Commands that put a detector into service, and that use one."""

from __future__ import annotations

from pathlib import Path

from crater_model.commands.options import Values, add_command, scales, whole


def image(commands) -> None:
    def build(options) -> Values:
        from crater_model.serving.image import build_image

        result = build_image(options.saved_model, options.tag, engine=options.engine,
                             base=options.base, gpu=options.gpu, push=options.push,
                             canary=options.canary)
        return result.to_json()

    command = add_command(commands, "build", "build the TF Serving image", build)
    command.add_argument("saved_model", metavar="SAVED_MODEL",
                         help="a version folder, or the parent of several: the newest")
    command.add_argument("--tag", required=True, metavar="NAME",
                         help="of the image; it holds this one model for good")
    command.add_argument("--canary", default=None, metavar="SAVED_MODEL",
                         help="a second version, which requests for the label canary reach")
    command.add_argument("--engine", choices=("auto", "docker", "buildah"), default="auto",
                         help="what builds it; whichever answers")
    command.add_argument("--base", default=None, metavar="IMAGE",
                         help="TF Serving's image, pinned in Dockerfile.serving, by default")
    command.add_argument("--gpu", action="store_true", help="on TF Serving's GPU image")
    command.add_argument("--push", action="store_true", help="push it to its registry")


def serve(commands) -> None:
    from crater_model.serving.settings import COMPRESSED, Batching, Limits

    def run(options) -> Values:
        from crater_model.serving.server import serve

        serve(options.saved_model, grpc_port=options.grpc_port, rest_port=options.rest_port,
              host=options.host, keep_versions=options.keep_versions,
              batching=Batching(options.max_batch_size, options.batch_timeout_ms,
                                options.batch_threads, options.max_queued),
              limits=Limits(options.max_request_mb, options.max_images, options.max_megapixels),
              channel_arguments=COMPRESSED if options.compress else None)
        return {"_text": "stopped"}

    command = add_command(commands, "serve", "a local server with TF Serving's API, for "
                          "development and machines without Docker", run)
    command.description = (
        "Serves SAVED_MODEL with TF Serving's gRPC and REST APIs. Meant for development and for "
        "machines without Docker: for production build the image (crater image build). A new "
        "version that appears below SAVED_MODEL is loaded while the old one serves.")
    batching, limits = Batching(), Limits()
    command.add_argument("saved_model", metavar="SAVED_MODEL",
                         help="a version folder, or the parent of several")
    command.add_argument("--grpc-port", type=int, default=8500, metavar="PORT",
                         help="0: any free one")
    command.add_argument("--rest-port", type=int, default=8501, metavar="PORT",
                         help="also has Prometheus metrics: /monitoring/prometheus/metrics")
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                         help="0.0.0.0: every interface")
    command.add_argument("--keep-versions", type=whole, default=1, metavar="N",
                         help="serve the newest N that can be loaded; older ones are unloaded")
    command.add_argument("--compress", action="store_true",
                         help="gRPC's answers in gzip: for slow networks")
    command.add_argument("--max-batch-size", type=whole, default=batching.max_batch_size,
                         metavar="N",
                         help="images of several requests run together, and of one request at "
                         "most; 1: no batching")
    command.add_argument("--batch-timeout-ms", type=float, default=batching.batch_timeout_ms,
                         metavar="MS",
                         help="how long requests that wait together wait for more")
    command.add_argument("--batch-threads", type=whole, default=batching.num_batch_threads,
                         metavar="N",
                         help="batches run at the same time")
    command.add_argument("--max-queued", type=whole, default=batching.max_queued, metavar="N",
                         help="requests that may wait; more are answered UNAVAILABLE")
    command.add_argument("--max-request-mb", type=whole, default=limits.max_request_mb,
                         metavar="MIB",
                         help="size of a request")
    command.add_argument("--max-images", type=whole, default=limits.max_images, metavar="N",
                         help="images of a request, without batching")
    command.add_argument("--max-megapixels", type=float, default=limits.max_megapixels,
                         metavar="MPX",
                         help="decoded pixels of a request; each needs some 17 bytes of memory")


def detect(commands) -> None:
    def run(options) -> Values:
        from crater_model.mapping.detect import detect_files

        return detect_files(options.images, options.output, server=options.server,
                            server_options=_server_options(options), model=options.model,
                            tile=options.tile, scales=options.scales,
                            threshold=options.threshold, catalogue=options.catalogue,
                            coco_ids=options.coco_ids)

    command = add_command(commands, "detect", "outline what is in images", run)
    command.add_argument("images", nargs="+", metavar="IMAGE", help="image files, of any size")
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--server", metavar="HOST:PORT[,...]",
                        help="TF Serving or crater serve; several take turns")
    source.add_argument("--model", metavar="DIR", help="a model directory or a SavedModel")
    _add_server_options(command)
    command.add_argument("--output", required=True, action="append", metavar="FILE",
                         help="the suffix decides: .gpkg .geojson .csv .scc .diam .json (COCO "
                         "results) .png .html (report); may be repeated")
    command.add_argument("--catalogue", default=None, metavar="FILE.csv",
                         help="known craters that a report compares with")
    command.add_argument("--coco-ids", default=None, metavar="FILE.json",
                         help="COCO file that lists the images: COCO results get its ids")
    command.add_argument("--tile", type=whole, default=None, metavar="PX",
                         help="side of the network's input; the model's own by default")
    command.add_argument("--scales", type=scales, default=None, metavar="S[,S...]",
                         help="network px per image px; the model's own by default")
    command.add_argument("--threshold", type=float, default=0.5, metavar="SCORE",
                         help="lowest score kept")


def _add_server_options(command) -> None:
    version = command.add_mutually_exclusive_group()
    version.add_argument("--version-label", default=None, metavar="LABEL",
                         help="of the server's version to ask; its newest by default")
    version.add_argument("--version-number", type=whole, default=None, metavar="N",
                         help="the server's version to ask")
    command.add_argument("--server-ca", default=None, metavar="FILE.pem",
                         help="authorities that the server's certificate is trusted by")
    command.add_argument("--server-certificate", default=None, metavar="FILE.pem",
                         help="shows the server who asks (mutual TLS), with --server-key")
    command.add_argument("--server-key", default=None, metavar="FILE.pem",
                         help="of the certificate")
    command.add_argument("--server-token-file", type=Path, default=None, metavar="FILE",
                         help="holds a bearer token that goes with each request")


def _server_options(options) -> Values:
    """The arguments of `Client` that were given."""
    given = {"version_label": options.version_label, "version": options.version_number,
             "ca": options.server_ca, "certificate": options.server_certificate,
             "key": options.server_key, "token": options.server_token_file}
    return {name: value for name, value in given.items() if value is not None}
