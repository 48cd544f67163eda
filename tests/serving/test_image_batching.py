"""Models that take pixels: whose requests are joined, and what becomes of sizes that differ."""

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf

from crater_model.serving.context import write_context
from crater_model.serving.server import Server
from crater_model.serving.settings import Batching
from tests.serving.faults import free_port
from tests.serving.raw_client import RawClient, request

SIZES = [(20, 30), (30, 20), (25, 40), (8, 64)]


@pytest.fixture(scope="module")
def pixel_model(tmp_path_factory):
    """The sum of each image uint8 [batch, h, w, 3] of any size, with the card of such an export."""
    folder = tmp_path_factory.mktemp("pixels") / "5"
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, "image_tensor")])
    def total(image_tensor):
        return {"total": tf.reduce_sum(tf.cast(image_tensor, tf.int64), axis=[1, 2, 3])}

    tf.saved_model.save(module, str(folder), signatures={"serving_default": total})
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "model_card.json").write_text(json.dumps(
        {"inference_input_type": "image_tensor", "inference_input_shape": None}))
    return folder


def images(number: int) -> np.ndarray:
    height, width = SIZES[number % len(SIZES)]
    return np.full((1 + number % 2, height, width, 3), number % 7 + 1, np.uint8)


def ask(client: RawClient, number: int) -> bool:
    """Whether the answer is that of this request's own pixels."""
    sent = images(number)
    answer = client.prediction.Predict(request({"image_tensor": sent}), timeout=60)
    return list(answer.outputs["total"].int64_val) == sent.sum(axis=(1, 2, 3)).tolist()


@pytest.mark.slow
def test_the_image_s_own_command_line_answers_requests_of_different_sizes(pixel_model, tmp_path):
    context = write_context(pixel_model, tmp_path / "context")
    text = (context / "Dockerfile").read_text().replace("\\\n", "")
    flags = json.loads(re.search(r"^ENTRYPOINT (\[.*?\])$", text, re.M)[1])[2:]
    (context / "models.config").write_text((context / "models.config").read_text().replace(
        "/models/crater", str(context / "model")))
    port, rest = free_port(), free_port()
    command = [flag.replace("=/models/", f"={context}/") for flag in flags]
    process = subprocess.Popen(
        [sys.executable, "-m", "crater_model.serving", *command, f"--port={port}",
         f"--rest_api_port={rest}"], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"CRATER_SERVING_HOST": "127.0.0.1", "TF_CPP_MIN_LOG_LEVEL": "3"})
    try:
        while "serving crater [5]" not in (line := process.stderr.readline()):
            assert line, process.wait(10)
        with RawClient(port, rest) as client, ThreadPoolExecutor(16) as pool:
            assert all(pool.map(lambda number: ask(client, number), range(200)))
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def waiting(pixel_model, gate, until):
    """Two requests of different sizes that wait together behind a third: whether each was answered
    rightly, or the code of its refusal."""
    def both(server):
        def answer(client, number):
            try:
                return ask(client, number)
            except grpc.RpcError as error:
                return error.code().name, error.details()

        with server, RawClient(server.grpc_port) as client, ThreadPoolExecutor(3) as pool:
            first = pool.submit(ask, client, 0)
            until(lambda: gate.runs)
            sent = [pool.submit(answer, client, number) for number in (1, 2)]
            until(lambda: len(server._core.batcher._queue) == 2)
            gate.set()
            assert first.result()
            return [each.result() for each in sent]
    return both


ONE = Batching(max_batch_size=8, num_batch_threads=1, batch_timeout_ms=20)


def of(model, **options) -> Server:
    return Server.of(model, grpc_port=0, rest_port=None, **options)


def test_joined_they_all_fail(pixel_model, waiting, tmp_path):
    """As TF Serving would answer, had the image batching for such a model."""
    card = pixel_model / "assets.extra" / "model_card.json"
    before = card.read_text()
    card.write_text("{}")  # which does not say what the model takes
    try:
        answers = waiting(of(pixel_model, batching=ONE))
    finally:
        card.write_text(before)
    for code, reason in answers:
        assert code == "FAILED_PRECONDITION" and "have different shapes and padding" in reason


def test_the_local_server_does_not_join_them(pixel_model, waiting):
    assert waiting(of(pixel_model, batching=ONE)) == [True, True]
