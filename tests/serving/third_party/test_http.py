"""The REST port under HTTP's own tools: curl, ApacheBench and hey."""

import base64
import gzip
import http.client
import json
import re
import shutil
import socket
import subprocess
import threading

import pytest

from crater_model.serving.server import Server
from crater_model.serving.settings import Limits
from tests.serving.blobs import blob_image
from tests.serving.raw_client import png

STATUS = "/v1/models/crater"
PREDICT = STATUS + ":predict"
IMAGE = png(blob_image(20, 30, [(2, 3, 8, 9)]))
BODY = json.dumps({"instances": [{"b64": base64.b64encode(IMAGE).decode()}]}).encode()


@pytest.fixture(scope="module")
def server(blob_model):
    with Server.of(blob_model / "3", grpc_port=0, rest_port=0,
                   limits=Limits(max_request_mb=1)) as server:
        yield server


@pytest.fixture
def tool(server):
    """Runs a program on a path of the server; gives what it says."""
    def run(name, *arguments, path=STATUS):
        if not shutil.which(name):
            pytest.skip(f"{name} is not installed; see .ci/run")
        done = subprocess.run([name, *arguments, f"http://127.0.0.1:{server.rest_port}{path}"],
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run


@pytest.fixture
def body(tmp_path):
    file = tmp_path / "body.json"
    file.write_bytes(BODY)
    return file


def found(answer: str) -> list:
    return [row["detection_boxes"] for row in json.loads(answer)["predictions"]]


@pytest.mark.parametrize("options", [
    (), ("--http1.0",), ("-H", "Transfer-Encoding: chunked"), ("-H", "Expect: 100-continue")])
def test_curl_with_bodies_of_every_kind(tool, body, options):
    for _ in range(2):
        assert found(tool("curl", "-sS", *options, "--data-binary", f"@{body}",
                          path=PREDICT)) == [[[2, 3, 8, 9]]]


@pytest.mark.parametrize("chunked", [(), ("-H", "Transfer-Encoding: chunked")])
def test_curl_with_a_body_in_gzip(tool, tmp_path, chunked):
    file = tmp_path / "body.gz"
    file.write_bytes(gzip.compress(BODY))
    arguments = ("-sS", "-H", "Content-Encoding: gzip", *chunked, "--data-binary", f"@{file}")
    assert found(tool("curl", *arguments, path=PREDICT)) == [[[2, 3, 8, 9]]]
    file.write_bytes(gzip.compress(b" " * (64 << 20)))  # 64 kB that stand for 64 MiB
    show = ("-o", "/dev/null", "-w", "%{http_code}")
    assert tool("curl", *arguments, *show, path=PREDICT) == "413"
    file.write_bytes(b"no gzip")
    assert tool("curl", *arguments, *show, path=PREDICT) == "400"


def test_ab_keeps_connections_of_http_1_0(tool, body):
    said = tool("ab", "-q", "-k", "-n", "400", "-c", "8")
    assert re.search(r"Keep-Alive requests:\s+400\n", said)
    assert re.search(r"Failed requests:\s+0\n", said) and "Non-2xx" not in said
    said = tool("ab", "-q", "-k", "-n", "40", "-c", "4", "-p", str(body), "-T",
                "application/json", path=PREDICT)
    assert re.search(r"Keep-Alive requests:\s+40\n", said) and "Non-2xx" not in said


def test_hey_s_two_hundred_connections_are_answered(tool, body):
    """Not one is reset: what is over the limit is told so."""
    said = tool("hey", "-n", "1000", "-c", "200")
    assert re.findall(r"\[(\d{3})\]\t(\d+) responses", said) == [("200", "1000")]
    said = tool("hey", "-n", "1000", "-c", "200", "-m", "POST", "-D", str(body), path=PREDICT)
    answers = {code: int(count) for code, count in re.findall(r"\[(\d{3})\]\t(\d+) resp", said)}
    assert sum(answers.values()) == 1000 and set(answers) <= {"200", "503"}
    assert answers["200"] >= 100 and "Error distribution" not in said


def test_idle_connections_shut_nobody_out(server, tool):
    held = [socket.create_connection(("127.0.0.1", server.rest_port)) for _ in range(300)]
    try:
        assert "request_count" in tool("curl", "-sS", path="/monitoring/prometheus/metrics")
    finally:
        for connection in held:
            connection.close()


def test_bodies_that_never_end_leave_room_for_a_look(server, tool, until):
    """As many POST requests as are allowed, none of which is sent whole."""
    held = []
    for _ in range(Limits().max_posts):
        held.append(socket.create_connection(("127.0.0.1", server.rest_port)))
        held[-1].sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{"
                         .encode())
    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
        connection.request("POST", PREDICT, BODY)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After"), answer.read()

    try:
        until(lambda: ask()[:2] == (503, "1"))
        assert "max_posts" in json.loads(ask()[2])["error"]
        assert json.loads(tool("curl", "-sS"))["model_version_status"][0]["version"] == "3"
    finally:
        for connection in held:
            connection.close()
    until(lambda: ask()[0] == 200)


def test_a_client_that_hangs_up_frees_its_place(server, gate, until):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    connection.request("POST", PREDICT, BODY)
    until(lambda: gate.runs == [1])
    others = [http.client.HTTPConnection("127.0.0.1", server.rest_port) for _ in range(4)]
    for other in others:
        other.request("POST", PREDICT, BODY)
    queue = server._core.batcher._queue  # of which a second thread takes some, as many as came
    until(lambda: len(gate.runs) == 2 and sum(gate.runs) + len(queue) == 5)
    for other in others:
        other.close()
    until(lambda: not server._core.batcher._queue)
    gate.set()
    assert connection.getresponse().status == 200


def test_a_slow_request_does_not_hold_up_a_look(server, gate, until):
    waiting = [threading.Thread(target=lambda: http.client.HTTPConnection(
        "127.0.0.1", server.rest_port).request("POST", PREDICT, BODY)) for _ in range(20)]
    for thread in waiting:
        thread.start()
        thread.join()
    until(lambda: gate.runs)
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=5)
    connection.request("GET", STATUS)
    assert connection.getresponse().status == 200
