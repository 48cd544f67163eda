"""What the environment chooses: the data, the place, the experiment."""

import os
from pathlib import Path

import dagster as dg
from pydantic import Field

from crater_model.errors import ConfigError
from crater_model.storage import Storage

EMBEDDED = "datasets/synthetic"  # the artifact that stands in where no data set is named
HYPERPARAMETERS = Path(__file__).with_name("hyperparameters.yaml")


class Crater(dg.ConfigurableResource):
    """Where things are and what is trained; `from_environment` fills it in."""

    dataset: str = Field("", description="Folder in data-set form. Empty: synthetic terrain, "
                                         "rendered when first needed. (CRATER_DATASET)")
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
            storage=_absolute(os.environ.get("CRATER_STORAGE") or "storage"),
            experiment=_absolute(experiment) if experiment.endswith((".yaml", ".yml"))
            else experiment,
            serving_base=os.environ.get("CRATER_SERVING_BASE", ""),
        )

    def open_storage(self) -> Storage:
        return Storage.from_url(self.storage)

    def dataset_folder(self) -> Path:
        """The data set, rendered first where none was named and none is stored yet."""
        if "://" in self.dataset:
            raise ConfigError(f"CRATER_DATASET {self.dataset}: expected a local folder; copy the "
                              "data set to one")
        if self.dataset:
            return Path(self.dataset)
        storage = self.open_storage()
        if not storage.exists(EMBEDDED):
            from crater_model.synthesis import synthesize

            synthesize(storage.path(EMBEDDED))
            storage.publish(EMBEDDED)
        return storage.fetch(EMBEDDED)


def hyperparameters_file() -> Path:
    """$CRATER_HYPERPARAMETERS or the file beside this module."""
    return Path(_absolute(os.environ.get("CRATER_HYPERPARAMETERS", "")) or HYPERPARAMETERS)


def _absolute(path: str) -> str:
    if not path or "://" in path:
        return path
    return str(Path(path).expanduser().absolute())
