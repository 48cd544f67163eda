"""What a request to an exported model holds: `inference_input_type`, one of

- image_bytes: string [batch], PNG or JPEG files; sizes may differ.
- image_tensor: uint8 [batch, height, width, 3], RGB; so all of one size.
- tf_example: string [batch], serialised `tf.train.Example`s with the file's bytes under
  `image/encoded`, as our records hold it; sizes may differ.

The signature's one input has the type's name.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from crater_model.errors import ConfigError
from crater_model.records.schema import ENCODED
from crater_model.settings import INPUT_TYPES


def input_spec(input_type: str, shape: Sequence[int] | None = None) -> tf.TensorSpec:
    """The signature's input.

    Args:
      input_type: one of `INPUT_TYPES`.
      shape: [height, width] px of all images, for image_tensor; any if None.

    Raises:
      ConfigError: the type is unknown, or the shape does not fit it.
    """
    if input_type not in INPUT_TYPES:
        raise ConfigError(f"inference_input_type: got {input_type!r}, expected one of "
                          f"{', '.join(INPUT_TYPES)}")
    if shape is not None and input_type != "image_tensor":
        raise ConfigError(f"inference_input_shape: got {list(shape)} with {input_type}, whose "
                          "images may be of any size; leave it out, or choose image_tensor")
    if shape is not None and (len(shape) != 2 or any(
            not isinstance(side, int) or side < 1 for side in shape)):
        raise ConfigError(f"inference_input_shape: got {list(shape)}, expected height and width "
                          "in px, such as [512, 640]")
    if input_type == "image_tensor":
        return tf.TensorSpec([None, *(shape or (None, None)), 3], tf.uint8, name=input_type)
    return tf.TensorSpec([None], tf.string, name=input_type)


def request_tensor(input_type: str, images: Sequence[bytes]) -> tf.Tensor:
    """PNG or JPEG files as a request of this type; for image_tensor they must be of one size."""
    if input_type == "image_tensor":
        return tf.stack([tf.io.decode_image(image, channels=3, expand_animations=False)
                         for image in images])
    if input_type == "tf_example":
        return tf.constant([_example(image).SerializeToString() for image in images])
    return tf.constant(list(images))


def _example(image: bytes) -> tf.train.Example:
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))
    return tf.train.Example(features=tf.train.Features(feature={ENCODED: value}))
