"""What the environment chooses: the data, the place, the experiment."""

import os
from collections.abc import Callable
from pathlib import Path

import dagster as dg
from pydantic import Field

from crater_model.annotations.dataset import is_dataset
from crater_model.errors import ConfigError
from crater_model.storage import Storage

EMBEDDED = "datasets/synthetic"  # the artifact that stands in where no data set is named
HYPERPARAMETERS = Path(__file__).with_name("hyperparameters.yaml")


class Crater(dg.ConfigurableResource):
    """Where things are and what is trained; `from_environment` fills it in."""

    dataset: str = Field("", description="Labelled images: a data set, or labels of any known "
                                         "form, which are imported first. Empty: synthetic "
                                         "terrain, rendered when first needed. (CRATER_DATASET)")
    images: str = Field("", description="An image or a folder with the images, where they do not "
                                        "lie with the labels. (CRATER_IMAGES)")
    storage: str = Field("storage", description="Folder or gs://BUCKET/PREFIX for everything "
                                                "that is made. (CRATER_STORAGE)")
    experiment: str = Field("demo", description="A preset's name or a YAML file. "
                                                "(CRATER_EXPERIMENT)")
    serving_base: str = Field("", description="Base of the serving image. Empty: the pinned "
                                              "TF Serving image. (CRATER_SERVING_BASE)")

    @classmethod
    def from_environment(cls) -> "Crater":
        """Reads the CRATER_ variables; relative paths start at the current directory."""
        experiment = os.environ.get("CRATER_EXPERIMENT") or "demo"
        return cls(
            dataset=_absolute(os.environ.get("CRATER_DATASET", "")),
            images=_absolute(os.environ.get("CRATER_IMAGES", "")),
            storage=_absolute(os.environ.get("CRATER_STORAGE") or "storage"),
            experiment=_absolute(experiment) if experiment.endswith((".yaml", ".yml"))
            else experiment,
            serving_base=os.environ.get("CRATER_SERVING_BASE", ""),
        )

    def open_storage(self) -> Storage:
        return Storage.from_url(self.storage)

    def dataset_folder(self) -> Path:
        """The data set; it is imported or rendered first where it is not stored yet.

        A source that has changed (a file's name, size or time) is imported anew.

        Raises:
          DataError: the source's labels or images cannot be used.
        """
        for name, value in (("CRATER_DATASET", self.dataset), ("CRATER_IMAGES", self.images)):
            if "://" in value:
                raise ConfigError(f"{name} {value}: expected a local path; copy the data to one")
        if self.dataset and not self.images and is_dataset(self.dataset):
            return Path(self.dataset)
        if self.dataset:
            from crater_model.annotations.importing import import_dataset, source_stamp

            stamp = source_stamp(self.dataset, self.images or None)
            return self._stored(f"datasets/imported-{stamp[:16]}", lambda folder: import_dataset(
                self.dataset, folder, images=self.images or None))
        from crater_model.synthesis import synthesize

        return self._stored(EMBEDDED, synthesize)

    def dataset_stamp(self) -> str:
        """A text that changes with the labelled images (names, sizes, times): cheap to ask for.
        Empty for rendered terrain, and for what does not lie on this machine.

        Raises:
          DataError: there is no such source.
        """
        if not self.dataset or "://" in self.dataset + self.images:
            return ""
        from crater_model.annotations.importing import source_stamp

        return source_stamp(self.dataset, self.images or None)

    def _stored(self, key: str, make: Callable[[Path], object]) -> Path:
        storage = self.open_storage()
        if not storage.exists(key):
            make(storage.path(key))
            storage.publish(key)
        return storage.fetch(key)


def hyperparameters_file() -> Path:
    """$CRATER_HYPERPARAMETERS or the file beside this module."""
    return Path(_absolute(os.environ.get("CRATER_HYPERPARAMETERS", "")) or HYPERPARAMETERS)


def _absolute(path: str) -> str:
    if not path or "://" in path:
        return path
    return str(Path(path).expanduser().absolute())
