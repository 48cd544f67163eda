"""The assets, in the order of the chain."""

from crater_assets.assets.best_model import best_model
from crater_assets.assets.checkpoint import checkpoint
from crater_assets.assets.crater_map import wanted_maps
from crater_assets.assets.images import annotated_images
from crater_assets.assets.pretrained import pretrained
from crater_assets.assets.records import tfrecords
from crater_assets.assets.serving import serving_image
from crater_assets.partitions import pretraining_is_wanted

ASSETS = [annotated_images, tfrecords, *([pretrained] if pretraining_is_wanted() else []),
          checkpoint, best_model, serving_image, *wanted_maps()]
