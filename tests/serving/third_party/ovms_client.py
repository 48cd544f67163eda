"""OpenVINO's client of the same API, in a Python of its own: ENDPOINT REST_ENDPOINT IMAGE."""

import json
import sys

import numpy as np
import ovmsclient

endpoint, rest, image = sys.argv[1:]
with open(image, "rb") as file:
    data = file.read()
# It asks for version 0 where none is named, which TF Serving has not.
found = {}
for kind, client in (("grpc", ovmsclient.make_grpc_client(endpoint)),
                     ("http", ovmsclient.make_http_client(rest))):
    answer = client.predict({"image_bytes": [data]}, "crater", model_version=12)
    found[kind] = {
        "boxes": np.asarray(answer["detection_boxes"]).tolist(),
        "count": np.asarray(answer["num_detections"]).tolist(),
        "status": client.get_model_status("crater", model_version=12)[12]["state"]}
    try:
        client.predict({"image_bytes": [b"none"]}, "crater", model_version=12)
    except Exception as error:
        found[kind]["refusal"] = type(error).__name__
print(json.dumps(found))
