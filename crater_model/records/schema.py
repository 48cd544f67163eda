"""The keys of a record: Model Garden's own, and one more for the compact masks.

Model Garden's `TfExampleDecoder` reads these records as they are (boxes always, masks
when they were written with full masks). Boxes are shares of the image's height and
width, 0..1; `image/object/area` is in px^2; labels start at 1.
"""

ENCODED = "image/encoded"  # the PNG or JPEG file's bytes, untouched
FORMAT = "image/format"  # "png" or "jpeg"
FILE_NAME = "image/filename"
HEIGHT = "image/height"
WIDTH = "image/width"
SOURCE_ID = "image/source_id"  # the COCO image id as text; Model Garden wants a number
YMIN = "image/object/bbox/ymin"
XMIN = "image/object/bbox/xmin"
YMAX = "image/object/bbox/ymax"
XMAX = "image/object/bbox/xmax"
LABEL = "image/object/class/label"
AREA = "image/object/area"
IS_CROWD = "image/object/is_crowd"
MASK_GRID = "image/object/mask_grid"  # one string an image, see records.masks
MASK = "image/object/mask"  # one full-size 0/1 PNG an instance, only when asked for
