"""The work behind `chips.cut_chips`: which chips there are, and their pixels in order.

One thread plans the chips and reads the scenes, a row of chips at a time; a few others
resample and encode what has been read.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

from crater_model.annotations.clipping import Clipped, Outlines
from crater_model.annotations.scene import Dataset, Scene
from crater_model.chips.jobs import Job, Plan, cut_job, groups, in_order
from crater_model.chips.windows import positions, scaled_size
from crater_model.errors import DataError
from crater_model.imagery.orientation import is_as_shown
from crater_model.imagery.pixels import read_file
from crater_model.imagery.raster import Raster
from crater_model.imagery.resample import DataMap, Region
from crater_model.progress import Progress

# Crowded chips that are named.
_NAMED = 20


class Settings(NamedTuple):
    """The arguments of `chips.cut_chips`, the scales as numbers."""

    size: int
    scales: tuple[float, ...]
    overlap: float
    min_visible: float
    min_diameter: float
    min_valid: float
    max_craters: int | None
    empties: float | None
    seed: int


class Cutter:
    """Yields the chips of a data set and counts what becomes of its labels.

    Attributes (complete when `chips` is done): `count`, `crowded_chips`, `per_scale` and
    `lost`, as in `chips.ChipsReport`.
    """

    def __init__(self, dataset: Dataset, settings: Settings):
        self.dataset, self.settings = dataset, settings
        self.count = dict.fromkeys((
            "chips", "instances", "unchanged", "dropped_small", "dropped_cut", "dropped_crowded",
            "crowded", "left_out_invalid", "left_out_empty"), 0)
        self.crowded_chips: list[str] = []
        self.per_scale: Counter[float] = Counter()
        self._kept: set[int] = set()
        self._empty: list[Plan] = []

    @property
    def lost(self) -> int:
        return sum(len(scene.instances) for scene in self.dataset.scenes) - len(self._kept)

    def chips(self) -> Iterator[tuple[Scene, bytes]]:
        """The chips and their files' bytes; those without craters come last where they are
        drawn from many.

        Raises:
          DataError: an image is broken, or no chip is left.
        """
        empties = self.settings.empties
        for plan, data in in_order(self._jobs(), self.settings.size):
            if data is None:
                self.count["left_out_invalid"] += 1
            elif empties is None or plan.labels.instances:
                self._count_dropped(plan)
                yield self._written(plan), data
            else:
                self._leave_empty(plan)
        if empties is not None:
            drawn = self._draw(math.floor(empties * self.count["chips"]))
            self.count["left_out_empty"] = len(self._empty) - len(drawn)
            for plan, data in in_order(self._jobs_again(drawn), self.settings.size):
                assert data is not None  # it was read before
                yield self._written(plan), data
        if not self.count["chips"]:
            raise DataError(
                f"{self.dataset.root}: no chip is left of it ({self.count['left_out_invalid']} "
                f"have data on less than {self.settings.min_valid:g} of their pixels, "
                f"{self.count['left_out_empty']} show no crater); lower min_valid or leave "
                "empties out")

    # --- which chips there are ------------------------------------------------------------

    def _jobs(self) -> Iterator[Job]:
        scales = self.settings.scales
        total = sum(len(xs) * len(ys) for scene in self.dataset.scenes for scale in scales
                    for _, _, xs, ys in [self._grid(scene, scale)])
        done = 0
        with Progress("cutting chips", total) as line:
            for number, scene in enumerate(self.dataset.scenes):
                with ExitStack() as opened:
                    raster = None
                    for scale in scales:
                        whole = self._whole(number, scene) if self._fits(scene, scale) else None
                        if whole and whole.encoded:
                            yield self._as_it_is(whole)
                            done += 1
                            continue
                        if raster is None:
                            raster = opened.enter_context(self.dataset.open_image(scene))
                            outlines, data = Outlines(scene.instances), DataMap(raster)
                        rows = [[whole]] if whole else self._rows(number, scene, scale, outlines)
                        for row in rows:
                            plans = list(self._worth_reading(row, raster, data))
                            for group in groups(plans, raster.bands):
                                yield cut_job(group, raster, self.settings.min_valid,
                                              self.settings.empties is None)
                            done += len(row)
                            line.update(done)

    def _grid(self, scene: Scene, scale: float) -> tuple[int, int, list[int], list[int]]:
        """Width and height of the scene's chips, and where they begin (px of the chips)."""
        width, height = scaled_size(scene.width, scene.height, scale)
        if not width or not height:
            raise DataError(f"{self.dataset.image_path(scene)}: is {scene.width}x{scene.height} "
                            f"px, nothing is left of it at scale {scale:g}; leave that scale out")
        chip_width, chip_height = (min(self.settings.size, side) for side in (width, height))
        return (chip_width, chip_height, positions(width, chip_width, self.settings.overlap),
                positions(height, chip_height, self.settings.overlap))

    def _fits(self, scene: Scene, scale: float) -> bool:
        return scale == 1.0 and max(scene.width, scene.height) <= self.settings.size

    def _whole(self, number: int, scene: Scene) -> Plan:
        path = self.dataset.image_path(scene)
        labels = Clipped(scene.instances).largest(self.settings.max_craters)
        return Plan(number, scene, Region(0, 0, scene.width, scene.height, 1.0), labels,
                    whole=True,
                    encoded=scene.part is None and path.is_file() and is_as_shown(path))

    def _rows(self, number: int, scene: Scene, scale: float, outlines: Outlines
              ) -> Iterator[list[Plan]]:
        settings = self.settings
        width, height, xs, ys = self._grid(scene, scale)
        for y in ys:
            yield [Plan(number, scene, Region(x, y, width, height, scale), outlines.inside(
                x / scale, y / scale, width, height, scale, settings.min_visible,
                settings.min_diameter).largest(settings.max_craters)) for x in xs]

    def _worth_reading(self, plans: list[Plan], raster: Raster, data: DataMap) -> Iterator[Plan]:
        """Without those whose fate is known before."""
        empties = self.settings.empties
        for plan in plans:
            if not data.has_data(plan.region):
                self.count["left_out_invalid"] += 1
            elif not plan.labels.instances and empties is not None and (
                    empties == 0 or not raster.has_invalid):
                self._leave_empty(plan)
            else:
                yield plan

    # --- which chips without craters are kept -----------------------------------------------

    def _leave_empty(self, plan: Plan) -> None:
        self._count_dropped(plan)
        self._empty.append(plan)

    def _draw(self, most: int) -> list[Plan]:
        """So many of the chips without craters, by a hash, in the order of their scenes."""
        def rank(plan: Plan) -> bytes:
            name = f"{self.settings.seed}/{plan.file_name}"
            return hashlib.blake2b(name.encode(), digest_size=8).digest()

        drawn = heapq.nsmallest(most, self._empty, key=rank)
        return sorted(drawn, key=lambda plan: (
            plan.number, self.settings.scales.index(plan.region.scale), plan.region.y,
            plan.region.x))

    def _jobs_again(self, plans: list[Plan]) -> Iterator[Job]:
        """The drawn chips' jobs; what is read for one is not kept for the next."""
        with Progress("cutting chips without craters", len(plans)) as line:
            done = 0
            for _, of_scene in itertools.groupby(plans, key=lambda plan: plan.number):
                with ExitStack() as opened:
                    raster = None
                    for plan in of_scene:
                        if plan.encoded:
                            yield self._as_it_is(plan)
                        else:
                            raster = raster or opened.enter_context(
                                self.dataset.open_image(plan.scene))
                            yield cut_job([plan], raster, self.settings.min_valid, True)
                        done += 1
                        line.update(done)

    # --- their pixels and their counts ------------------------------------------------------

    def _as_it_is(self, plan: Plan) -> Job:
        return [plan], lambda: [read_file(self.dataset.image_path(plan.scene))]

    def _count_dropped(self, plan: Plan) -> None:
        self.count["dropped_small"] += plan.labels.small
        self.count["dropped_cut"] += plan.labels.cut

    def _written(self, plan: Plan) -> Scene:
        count, labels = self.count, plan.labels
        count["chips"] += 1
        count["instances"] += len(labels.instances)
        count["unchanged"] += plan.whole
        self.per_scale[plan.region.scale] += 1
        if labels.crowded:
            count["dropped_crowded"] += labels.crowded
            count["crowded"] += 1
            if len(self.crowded_chips) < _NAMED:
                self.crowded_chips.append(plan.file_name)
        self._kept.update(instance.id for instance in labels.instances)
        return plan.chip(count["chips"])
