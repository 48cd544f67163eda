"""REST, asked over HTTP."""

import base64
import json
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest

from tests.serving.blobs import blob_image


def ask(server, path, body=None):
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.rest_port}/v1/models/{path}", data)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def b64(image):
    return {"b64": base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()}


IMAGE = blob_image(24, 40, [(2, 3, 8, 9), (4, 20, 6, 31)])


def test_status_of_all_and_of_one_version(blob_server):
    code, answer = ask(blob_server, "crater")
    assert code == 200
    assert [(v["version"], v["state"], v["status"]["error_code"])
            for v in answer["model_version_status"]] == [
                ("12", "AVAILABLE", "OK"), ("3", "AVAILABLE", "OK")]
    code, answer = ask(blob_server, "crater/versions/3")
    assert [v["version"] for v in answer["model_version_status"]] == ["3"]


def test_metadata_names_the_signature(blob_server):
    code, answer = ask(blob_server, "crater/labels/stable/metadata")
    assert code == 200 and answer["model_spec"]["version"] == "12"
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image_bytes"]["dtype"] == "DT_STRING"


@pytest.mark.parametrize("row", [b64(IMAGE), {"image_bytes": b64(IMAGE)}])
def test_predict_in_row_form(blob_server, row):
    code, answer = ask(blob_server, "crater:predict", {"instances": [row, row]})
    assert code == 200
    assert [p["num_detections"] for p in answer["predictions"]] == [2, 2]
    assert answer["predictions"][1]["detection_boxes"] == [[2, 3, 8, 9], [4, 20, 6, 31]]


@pytest.mark.parametrize("inputs", [[b64(IMAGE)], {"image_bytes": [b64(IMAGE)]}])
def test_predict_in_column_form(blob_server, inputs):
    code, answer = ask(blob_server, "crater/versions/3:predict", {"inputs": inputs})
    assert code == 200
    assert answer["outputs"]["detection_boxes"] == [[[2, 3, 8, 9], [4, 20, 6, 31]]]
    assert answer["outputs"]["detection_classes"] == [[1, 1]]


@pytest.mark.parametrize("path, body, code, words", [
    ("rocks", None, 404, "Could not find any versions of model rocks"),
    ("crater/versions/5", None, 404, "Could not find version 5 of model crater"),
    ("crater/nonsense", None, 400, "Malformed request: GET /v1/models/crater/nonsense"),
    ("crater:predict", b"{", 400, "not JSON"),
    ("crater:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
    ("crater:predict", {"instances": []}, 400, "at least one"),
    ("crater:predict", {"instances": [{"b64": "%%"}]}, 400, "not base64"),
    ("crater:predict", {"instances": [{"x": b64(IMAGE)}]}, 400, "'x' of instance 0 is unknown"),
    ("crater:predict", {"instances": [3]}, 400, "'image_bytes': JSON Value: 3 is not string"),
    ("crater:predict", {"instances": [{"b64": "AAAA"}]}, 400, "Unknown image file format"),
    ("crater:predict", {"inputs": {"b64": "AAAA"}}, 400, "image_bytes"),
])
def test_errors_are_json_with_a_reason(blob_server, path, body, code, words):
    got, answer = ask(blob_server, path, body)
    assert got == code
    assert words in answer["error"]


def test_a_string_comes_back_as_text(blob_server):
    code, answer = ask(blob_server, "crater:predict", {
        "signature_name": "describe", "instances": [{"b64": ""}]})
    assert code == 200
    assert json.loads(answer["predictions"][0])["chip_size"] == 64


def test_floats_are_as_short_as_their_type_allows(blob_server):
    _, answer = ask(blob_server, "crater:predict", {"instances": [b64(IMAGE)]})
    scores = np.float32(0.9) - np.float32(0.1) * np.arange(2, dtype=np.float32)
    assert (list(map(str, answer["predictions"][0]["detection_scores"]))
            == list(map(str, scores)) == ["0.9", "0.79999995"])
