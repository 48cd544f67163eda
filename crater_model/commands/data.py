"""Commands on labelled images and records."""

from __future__ import annotations

from crater_model.commands.options import (
    Values,
    add_command,
    pair,
    plain,
    scales,
    shares,
    size,
    warn,
    whole,
)


def synthesize(commands) -> None:
    def run(options) -> Values:
        from crater_model.synthesis import synthesize

        return synthesize(options.directory, scenes=options.scenes, size=options.size,
                          seed=options.seed, empty_share=options.empty_share,
                          count=options.count)

    command = add_command(commands, "synthesize", "render labelled terrain", run)
    command.add_argument("directory", metavar="DIR", help="where the data set goes")
    command.add_argument("--scenes", type=whole, default=400, metavar="N", help="scenes rendered")
    command.add_argument("--size", type=size, default=(256, 256), metavar="WxH",
                         help="of a scene, px")
    command.add_argument("--seed", type=int, default=0, metavar="N",
                         help="another seed, other terrain")
    command.add_argument("--empty-share", type=float, default=0.05, metavar="SHARE",
                         help="share of scenes without a crater")
    command.add_argument("--count", type=whole, default=None, metavar="N",
                         help="craters in each scene; varied by default")


def dataset(commands) -> None:
    def check(options) -> Values:
        from dataclasses import asdict

        from crater_model.annotations.validate import check_dataset

        report = check_dataset(options.directory)
        if options.report:
            from crater_model.annotations.report import write_html

            write_html(report, options.directory, options.report)
        warn(report.warnings, report.problems)
        text = "\n".join(f"{k}: {plain(v)}" for k, v in report.statistics.items())
        return {**asdict(report), "_failed": not report.ok, "_text": text}

    def chips(options) -> Values:
        from crater_model.chips import cut_chips

        report = cut_chips(options.directory, options.out, options.size, scales=options.scales,
                           overlap=options.overlap, min_visible=options.min_visible,
                           min_diameter=options.min_diameter, min_valid=options.min_valid,
                           max_craters=options.max_craters, empties=options.empties,
                           seed=options.seed, splits=options.splits)
        warn([report.splitting] if report.splitting else [], [])
        return report.to_dict()

    def import_(options) -> Values:
        from crater_model.importing.dataset import import_dataset

        report = import_dataset(
            options.source, options.directory, options.format, options.images, options.skip_bad,
            options.percentiles, options.diameters_km, options.layer or (), options.annotator)
        warn(report.warnings, report.problems)
        return report.to_dict()

    def agree(options) -> Values:
        from crater_model.annotations.agreement import agreement, table

        found = agreement(options.directory, options.rule, options.min_diameter)
        return {**found, "_text": table(found)}

    command = add_command(commands, "agreement", "score several people's labels against each "
                          "other", agree)
    command.add_argument("directory", metavar="DIR", help="a data set with their labels")
    command.add_argument("--rule", choices=("outline", "catalogue"), default="outline",
                         help="by which two labels are one crater")
    command.add_argument("--min-diameter", type=float, default=0.0, metavar="PX",
                         help="smallest crater that counts, px")
    command = add_command(commands, "import", "read labels of any known form", import_)
    command.add_argument("source", metavar="SOURCE",
                         help="a folder with labels and images, a label file or a .zip")
    command.add_argument("directory", metavar="DIR", help="where the data set goes")
    command.add_argument("--format", default=None, metavar="F",
                         help="of the labels: coco, via, cvat, labelme, labelstudio, voc, yolo, "
                         "vector, catalogue, masks or results; recognised by default")
    command.add_argument("--images", default=None, metavar="PATH",
                         help="an image or a folder with images, where they are elsewhere")
    command.add_argument("--skip-bad", action="store_true",
                         help="leave out what cannot be used, and name it, instead of refusing")
    command.add_argument("--percentiles", type=pair, default=(0.5, 99.5), metavar="LOW,HIGH",
                         help="between which values of more than 8 bits are stretched")
    command.add_argument("--diameters-km", type=pair, default=None, metavar="MIN,MAX",
                         help="range of the diameters taken, where they are known")
    command.add_argument("--layer", action="append", default=None, metavar="NAME",
                         help="read this layer of files with several, in place of those that look "
                              "like craters; may be given again")
    command.add_argument("--annotator", default=None, metavar="NAME",
                         help="whose labels are used where several people labelled the same "
                         "images; their consensus by default")
    command = add_command(commands, "check", "validate a data set and describe it", check)
    command.add_argument("directory", metavar="DIR", help="a data set")
    command.add_argument("--report", metavar="FILE.html", help="one self-contained page")
    command = add_command(commands, "chips", "cut scenes into chips", chips)
    command.add_argument("directory", metavar="DIR", help="a data set")
    command.add_argument("out", metavar="OUT", help="where the data set of chips goes")
    command.add_argument("--size", type=whole, required=True, metavar="PX",
                         help="side of a chip")
    command.add_argument("--scales", type=scales, default="auto", metavar="S[,S...]",
                         help="chip px per scene px, or auto")
    command.add_argument("--overlap", type=float, default=0.25, metavar="SHARE",
                         help="share of a chip that the next one shows too")
    command.add_argument("--min-visible", type=float, default=0.5, metavar="SHARE",
                         help="share of a crater that must be inside for it to stay")
    command.add_argument("--min-diameter", type=float, default=4.0, metavar="PX",
                         help="smallest crater kept, px of the chip")
    command.add_argument("--min-valid", type=float, default=0.5, metavar="SHARE",
                         help="share of a chip's pixels that must have data")
    command.add_argument("--max-craters", type=whole, default=None, metavar="N",
                         help="keep the N largest of a chip; what is left out is reported")
    command.add_argument("--empties", type=float, default=None, metavar="RATIO",
                         help="chips without craters per chip with some; all by default")
    command.add_argument("--seed", type=int, default=0, metavar="N",
                         help="which empty chips stay, and which of equally good cuts is made")
    command.add_argument("--splits", type=shares, default=(0.7, 0.15, 0.15), metavar="A,B,C",
                         help="shares of train, validation and test: of a scene that is cut into "
                         "blocks where there are fewer scenes than splits")


def records(commands) -> None:
    def write(options) -> Values:
        from crater_model.records.show import summarize
        from crater_model.records.write import write_records

        made = write_records(options.dataset, options.out, splits=options.splits,
                             shards=options.shards, full_masks=options.full_masks,
                             seed=options.seed)
        warn([words] if (words := made.splitting["words"]) else [], [])
        return summarize(options.out)

    def show(options) -> Values:
        from crater_model.files import write_bytes
        from crater_model.records.show import records_picture, summarize

        values = summarize(options.out)
        if options.picture:
            write_bytes(options.picture, records_picture(options.out, options.split,
                                                         max_bytes=None))
        return values

    command = add_command(commands, "write", "write a data set as TFRecords", write)
    command.add_argument("dataset", metavar="DATASET", help="a data set")
    command.add_argument("out", metavar="OUT", help="where the records go")
    command.add_argument("--shards", type=whole, default=None, metavar="N",
                         help="files a split; by its size if not said")
    command.add_argument("--splits", type=shares, default=(0.7, 0.15, 0.15), metavar="A,B,C",
                         help="shares of train, validation and test")
    command.add_argument("--full-masks", action="store_true",
                         help="add full-image PNG masks for other programs")
    command.add_argument("--seed", type=int, default=0, metavar="N",
                         help="which scenes go to which split")
    command = add_command(commands, "show", "look inside records", show)
    command.add_argument("out", metavar="OUT", help="a folder of records")
    command.add_argument("--picture", metavar="FILE.png", help="draws records with their labels")
    command.add_argument("--split", default="train", metavar="SPLIT",
                         help="train, validation or test: which is drawn")
