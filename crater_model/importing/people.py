"""Labels of several people: kept apart, and the set chosen that a training uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from crater_model.annotations.annotators import CONSENSUS, consensus, sets_of
from crater_model.annotations.scene import Scene
from crater_model.errors import ConfigError
from crater_model.importing.formats.source import Notes

# What a file is called that holds what people have agreed on already.
_MERGED = (CONSENSUS, "merged", "annotations", "labels", "final", "gold")


def choose(scenes: Sequence[Scene], annotator: str | None, notes: Notes
           ) -> tuple[list[Scene], str | None]:
    """The scenes, where need be with a consensus set, and the name of the set that is used.

    Args:
      scenes: as they were read, with the labels of everybody.
      annotator: whose labels to use; None: the consensus: those that were merged before, else
        of all (see `annotations.annotators.consensus`).

    Returns:
      The name is None where no image has labels of several people and nobody was named.

    Raises:
      ConfigError: nobody of that name has labelled anything.
    """
    names = sorted({name for scene in scenes for name in sets_of(scene)})
    if annotator is not None and annotator not in (*names, *((CONSENSUS,) if names else ())):
        raise ConfigError(f"annotator: got {annotator!r}, expected one of "
                          f"{', '.join(names) or 'none: the labels do not say who made them'}")
    several = [scene for scene in scenes if len(sets_of(scene)) > 1]
    if not several and annotator is None:
        return list(scenes), None
    merged = [name for name in _MERGED if name in names
              and all(name in sets_of(scene) for scene in several)]
    used, done = annotator or CONSENSUS, list(scenes)
    people = [name for name in names if name not in merged]
    if merged:
        done = [_renamed(scene, merged[0]) for scene in scenes]
    elif used == CONSENSUS:
        done = [replace(scene, instances=(*scene.instances, *consensus(scene)))
                if sets_of(scene) else scene for scene in scenes]
    count = sum(i.annotator in ("", used) for scene in done for i in scene.instances)
    what = (f"the {count} labels that at least half of an image's annotators made"
            if used == CONSENSUS and not merged else f"{count} labels")
    notes.count(f"image(s) were labelled by several people ({', '.join(people)}), which is kept "
                f"apart; {used!r} is used ({what}); choose another with --annotator",
                several[0].file_name if several else "", len(several))
    return done, used


def _renamed(scene: Scene, merged: str) -> Scene:
    """The scene whose merged set is called the consensus."""
    def name(said: str) -> str:
        return CONSENSUS if said == merged else said

    return replace(scene, annotators=tuple(map(name, scene.annotators)), instances=tuple(
        replace(i, annotator=name(i.annotator)) for i in scene.instances))
