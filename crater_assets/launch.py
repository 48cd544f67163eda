"""Driving Dagster from a program: start `dagster dev`, launch jobs and backfills, wait for them.

Everything goes through the web server's GraphQL, as in the UI, so the UI shows it all.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from crater_assets.homes import cancel_left_over, instance_of, refuse_second_daemon
from crater_assets.orphans import command_ending_with_parent
from crater_model.errors import CraterError
from crater_model.files import make_folder
from crater_model.progress import Progress

LOCATION = "crater_assets"
REPOSITORY = "__repository__"
_POLL_S = 1.0
STARTED_BY = {"crater/started_by": "launch"}  # tag of all that is launched from here
_RUN_ENDS = ("SUCCESS", "FAILURE", "CANCELED")
_UNFINISHED_STATES = ("QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING")
_BACKFILL_ENDS = ("COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED")


@contextmanager
def dagster_dev(folder: str | os.PathLike = ".", workspace: str | os.PathLike | None = None,
                env: Mapping[str, str] | None = None, log: str | os.PathLike | None = None,
                port: int | None = None, timeout_s: float = 120,
                home: str | os.PathLike | None = None) -> Iterator[str]:
    """Runs `dagster dev` (web server, daemon, code location) and gives its address.

    What was launched through this module ends with it; what others launched is left alone.

    Args:
      folder: where it runs; relative paths of the assets' variables start there.
      workspace: a workspace.yaml; default: the one in `folder`.
      env: variables to set beside those of this process (CRATER_DATASET, ...).
      log: file for its output; default `folder`/.dagster/dev.log.
      port: on the loopback; default: a free one.
      home: the folder with dagster.yaml (`own_home` makes one); default: `folder`.

    Raises:
      CraterError: a daemon is at work on this history already, it ends or is not ready in time,
        or the code location does not load.
    """
    folder = Path(folder).absolute()
    home = Path(home).absolute() if home else folder
    workspace = Path(workspace) if workspace else folder / "workspace.yaml"
    log = Path(log) if log else make_folder(folder / ".dagster") / "dev.log"
    port = port or free_port()
    command = command_ending_with_parent("dagster", "dev", "-w", str(workspace.absolute()),
                                         "-h", "127.0.0.1", "-p", str(port))
    with instance_of(folder, home) as instance:
        refuse_second_daemon(instance, home)
        backfills = cancel_left_over(instance, STARTED_BY, _UNFINISHED_STATES)
    with log.open("ab") as out:
        # Its own session: in a script's background it would ignore the signals that end it.
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
            env={**os.environ, **(env or {}), "DAGSTER_HOME": str(home)})
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_ready(url, process, log, timeout_s)
        for backfill in backfills:
            graphql(url, _CANCEL_BACKFILL, {"id": backfill})
        yield url
    finally:
        with suppress(CraterError):
            cancel_unfinished(url)
        _stop(process)
        with instance_of(folder, home) as instance:
            instance.wipe_daemon_heartbeats()  # so that the next need not wait for them to age


def launch_job(url: str, job: str, partition: str | None = None,
               run_config: Mapping[str, Any] | None = None,
               tags: Mapping[str, str] = STARTED_BY) -> str:
    """Launches a job, for one partition where it has any; returns the run's id.

    Args:
      tags: of the run; without `STARTED_BY` it outlives the `dagster_dev` that it goes on in.

    Raises:
      CraterError: Dagster refuses it; the text has its reason.
    """
    if partition:
        tags = {**tags, "dagster/partition": partition}
    answer = graphql(url, _LAUNCH_RUN, {"params": {
        "selector": {**_SELECTOR, "pipelineName": job}, "runConfigData": run_config or {},
        "executionMetadata": {"tags": _tags(tags)}}})["launchRun"]
    return _accepted(answer, f"job {job}", "LaunchRunSuccess")["run"]["runId"]


def launch_backfill(url: str, assets: Sequence[str], partitions: Sequence[str] | None = None,
                    run_config: Mapping[str, Any] | None = None) -> str:
    """Launches a backfill of assets, as "Materialize all" in the UI does; returns its id.

    Args:
      assets: names; those without partitions may be among them and are made once.
      partitions: of the partitioned ones; None for all.
      run_config: for every run, such as {"ops": {"checkpoint": {"config": {...}}}}.

    Raises:
      CraterError: Dagster refuses it; the text has its reason.
    """
    params: dict[str, Any] = {"assetSelection": [{"path": [asset]} for asset in assets],
                              "tags": _tags(STARTED_BY)}
    params |= {"allPartitions": True} if partitions is None else {
        "partitionNames": list(partitions)}
    if run_config:
        params["runConfigData"] = run_config
    answer = graphql(url, _LAUNCH_BACKFILL, {"params": params})["launchPartitionBackfill"]
    return _accepted(answer, "backfill", "LaunchBackfillSuccess")["backfillId"]


def wait_for_run(url: str, run_id: str, what: str = "run", timeout_s: float = 3600) -> None:
    """Waits until the run has succeeded.

    Raises:
      CraterError: it failed (with the words of what failed) or took longer than `timeout_s`.
    """
    with Progress(what) as line:
        for _ in _ticks(timeout_s, f"{what} {run_id}"):
            run = graphql(url, _RUN, {"id": run_id})["runOrError"]
            done = [step["stepKey"] for step in run["stepStats"] if step["status"] == "SUCCESS"]
            line.update(len(done), note=done[-1] if done else run["status"].lower())
            if run["status"] in _RUN_ENDS:
                break
    if run["status"] != "SUCCESS":
        raise CraterError(f"{what} {run_id}: {run['status'].lower()}: {failure(url, run_id)}")


def wait_for_backfill(url: str, backfill_id: str, what: str = "backfill", total: int | None = None,
                      timeout_s: float = 7200,
                      note: Callable[[], str] | None = None) -> list[dict[str, Any]]:
    """Waits until the backfill has ended and returns its runs.

    Args:
      note: says more of how far it is, for the progress line.
      total: how many runs it has. Where this is given it ends with the last of them; else
        with the daemon's own word, which comes up to half a minute later.

    Returns:
      [{"run", "status", "partition" (or None), "steps", "seconds"}], the oldest first.

    Raises:
      CraterError: a run failed (named, with the words of what failed), or the backfill
        itself, or it took longer than `timeout_s`.
    """
    with Progress(f"{what} runs", total) as line:
        for _ in _ticks(timeout_s, f"{what} {backfill_id}"):
            found = graphql(url, _BACKFILL, {"id": backfill_id})["partitionBackfillOrError"]
            if found["__typename"] != "PartitionBackfill":
                raise CraterError(f"{what} {backfill_id}: {found.get('message')}")
            runs = [_run(run) for run in reversed(found["runs"])]
            ended = [run for run in runs if run["status"] in _RUN_ENDS]
            started = [_title(run) for run in runs if run["status"] == "STARTED"]
            line.update(len(ended), note=", ".join(
                started + ([note()] if note and started else [])))
            if found["status"] in _BACKFILL_ENDS or (total and len(ended) >= total):
                break
    bad = [run for run in runs if run["status"] != "SUCCESS"]
    if bad:
        raise CraterError("; ".join(
            f"{_title(run)} {run['status'].lower()}: {failure(url, run['run'])}" for run in bad))
    if found["status"] in ("FAILED", "CANCELED", "COMPLETED_FAILED"):
        reason = (found["error"] or {}).get("message") or "see its page in the UI"
        raise CraterError(f"{what} {backfill_id}: {found['status'].lower()}: {_line(reason)}")
    return runs


def cancel_unfinished(url: str) -> int:
    """Cancels what was launched from here and has not ended, also backfills; returns how many."""
    runs = graphql(url, _UNFINISHED, {"tags": _tags(STARTED_BY), "states": _UNFINISHED_STATES})[
        "runsOrError"]["results"]
    backfills = {tag["value"] for run in runs for tag in run["tags"]
                 if tag["key"] == "dagster/backfill"}
    for backfill in sorted(backfills):
        graphql(url, _CANCEL_BACKFILL, {"id": backfill})
    if runs:
        graphql(url, _TERMINATE, {"ids": [run["runId"] for run in runs]})
    return len(runs)


def failure(url: str, run_id: str) -> str:
    """What failed in a run: its failed blocking checks, else its failed steps, in one line."""
    events = graphql(url, _FAILURES, {"id": run_id})["logsForRun"].get("events", [])
    checks, steps = [], []
    for event in events:
        evaluation = event.get("evaluation")
        if evaluation and not evaluation["success"] and evaluation["severity"] == "ERROR":
            checks.append(f"check {evaluation['checkName']}: {evaluation['description']}")
        elif event["__typename"] == "ExecutionStepFailureEvent":
            said = (event["failureMetadata"] or {}).get("description")
            cause = event["error"] or {}
            while cause.get("cause"):
                cause = cause["cause"]
            steps.append(f"{event['stepKey']}: {said or cause.get('message')}")
    return _line("; ".join(checks or steps) or f"no reason given; see {url}/runs/{run_id}")


def graphql(url: str, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The `data` of a query to a Dagster web server.

    Raises:
      CraterError: no answer, or an error in the query.
    """
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    request = urllib.request.Request(
        f"{url}/graphql", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read() or b"{}")
    except OSError as error:
        raise CraterError(f"{url}: no answer from Dagster ({error}); is it running?") from None
    if answer.get("errors") or "data" not in answer:
        raise CraterError(f"{url}: {_line(str(answer.get('errors')))}")
    return answer["data"]


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in tags.items()]


def _wait_ready(url: str, process: subprocess.Popen, log: Path, timeout_s: float) -> None:
    for _ in _ticks(timeout_s, f"dagster dev (its output: {log})", every_s=0.25):
        if process.poll() is not None:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise CraterError(f"dagster dev ended with {process.returncode}: "
                              f"{' '.join(tail)}; its output: {log}")
        try:
            found = graphql(url, _LOCATIONS)["workspaceOrError"]
        except CraterError:
            continue
        states = found.get("locationEntries", [])
        for state in states:
            loaded = state["locationOrLoadError"] or {}
            if loaded.get("__typename") == "PythonError":
                raise CraterError(f"{state['name']}: does not load: {_line(loaded['message'])}; "
                                  f"output: {log}")
        if states and all(state["locationOrLoadError"] for state in states):
            return


def _stop(process: subprocess.Popen) -> None:
    """Asks `dagster dev` to end, then ends what is left of its session (runs in the middle)."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            time.sleep(1)
    process.wait()


def _ticks(timeout_s: float, what: str, every_s: float = _POLL_S) -> Iterator[None]:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        yield
        time.sleep(every_s)
    raise CraterError(f"{what}: not finished after {timeout_s:.0f} s")


def _accepted(answer: Mapping[str, Any], what: str, good: str) -> Mapping[str, Any]:
    if answer["__typename"] != good:
        reasons = [answer.get("message")] + [e["message"] for e in answer.get("errors") or []]
        raise CraterError(f"{what}: Dagster refuses it ({answer['__typename']}): "
                          + _line(" ".join(filter(None, reasons))))
    return answer


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    tags = {tag["key"]: tag["value"] for tag in run["tags"]}
    started, ended = run["startTime"], run["endTime"]
    return {"run": run["runId"], "status": run["status"],
            "partition": tags.get("dagster/partition"),
            "steps": run["stepKeysToExecute"] or [
                "/".join(key["path"]) for key in run["assetSelection"] or []],
            "seconds": round((ended or time.time()) - started, 1) if started else None}


def _title(run: Mapping[str, Any]) -> str:
    partition = f"[{run['partition']}]" if run["partition"] else ""
    return f"{'+'.join(run['steps'])}{partition}"


def _line(text: str) -> str:
    return " ".join(text.split())


_SELECTOR = {"repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}

_LOCATIONS = """{ workspaceOrError { __typename ... on Workspace { locationEntries {
  name locationOrLoadError { __typename ... on PythonError { message } } } } } }"""

_LAUNCH_RUN = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on Error { message }
  ... on RunConfigValidationInvalid { errors { message } } } }"""

_LAUNCH_BACKFILL = """mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { __typename
    ... on LaunchBackfillSuccess { backfillId } ... on Error { message } } }"""

_RUN = """query($id: ID!) { runOrError(runId: $id) { ... on Run {
  status stepStats { stepKey status } } } }"""

_BACKFILL = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
  ... on Error { message }
  ... on PartitionBackfill { status error { message } runs { runId status startTime endTime
    stepKeysToExecute assetSelection { path } tags { key value } } } } }"""

_UNFINISHED = """query($tags: [ExecutionTag!], $states: [RunStatus!]) {
  runsOrError(filter: {tags: $tags, statuses: $states}) {
    ... on Runs { results { runId tags { key value } } } } }"""

_TERMINATE = """mutation($ids: [String!]!) { terminateRuns(runIds: $ids,
  terminatePolicy: MARK_AS_CANCELED_IMMEDIATELY) { __typename } }"""

_CANCEL_BACKFILL = """mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) {
  __typename } }"""

_FAILURES = """query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  __typename
  ... on AssetCheckEvaluationEvent { evaluation { checkName success severity description } }
  ... on ExecutionStepFailureEvent { stepKey failureMetadata { description }
    error { message cause { message cause { message } } } } } } } }"""
