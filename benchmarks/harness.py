"""What every benchmark shares: processes of its own, memory and time, JSON and tables.

A benchmark is a module of this package with

- `FULL`: its settings and their values, each of which is a flag as well (`--craters 60,100`);
- `QUICK`: what `--quick` changes of them;
- `measure(bench, **settings)`: what was found, as JSON has it; `bench` is a `Bench`;
- `table(found)`: that in Markdown, if it stands in `benchmarks/README.md`.
"""

from __future__ import annotations

import datetime
import importlib
import json
import os
import platform
import re
import socket
import statistics
import string
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tensorflow", "tf-models-official", "numpy", "opencv-python-headless",
            "pycocotools", "faster-coco-eval")
# Left to the rest of the machine: a child that leaves less free is ended.
SPARE_MB = 2_000
CHILD = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
WIDTH = 130  # of a line of JSON


def say(text: str) -> None:
    """A line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)


class Bench:
    """Runs the parts of a benchmark in processes of their own, and keeps what they gave.

    Args:
      folder: for their data; `NAME.json` in it holds a part's result, which is not made again.
    """

    def __init__(self, folder: Path):
        self.folder = folder.resolve()

    def child(self, name: str, function: Callable[..., dict], /, may_fail: bool = False,
              **arguments) -> dict:
        """What a function of a benchmark gives for the arguments (texts, numbers, lists, paths).

        Returns:
          that, and of the whole process `peak_mb`, its largest resident size, `process_seconds`
          and `process_cpu_seconds`. Where it ended badly or took the machine's last memory:
          `failed`, the reason, if it `may_fail`; otherwise SystemExit says it.
        """
        task = f"{function.__module__}:{function.__name__}"
        return self.command(
            name, [sys.executable, "-m", "benchmarks", "--child", task,
                   json.dumps(arguments, default=str)],
            CHILD, may_fail)

    def crater(self, name: str, *arguments, settings: dict | None = None, **options) -> dict:
        """What a command of the project prints with `--json`; see `crater`."""
        return self.command(name, crater(*arguments, "--json", settings=settings, **options), CHILD)

    def sides(self, name: str, functions: Iterable[Callable], **arguments) -> dict[str, dict]:
        """The same of several, by the functions' names; each may fail."""
        return {one.__name__: self.child(f"{name}/{one.__name__}", one, may_fail=True, **arguments)
                for one in functions}

    def command(self, name: str, command: Sequence, environment: dict[str, str],
                may_fail: bool = False) -> dict:
        """The same of any program that prints one JSON object in its last line."""
        path, asked = self.folder / f"{name}.json", list(map(str, command[1:]))
        if path.exists():
            kept = json.loads(path.read_text())
            if kept["asked"] != asked:
                raise SystemExit(f"{path}: was made with other arguments; name another --work")
            return kept["result"]
        say(f"{name} ...")
        started, cpu = time.perf_counter(), _children_cpu()
        result = _printed([command[0], *asked], {**os.environ, **environment})
        if "failed" in result:
            if not may_fail:
                raise SystemExit(f"{name}: {result['failed']}")
            return result
        result.update(process_seconds=round(time.perf_counter() - started, 1),
                      process_cpu_seconds=round(_children_cpu() - cpu, 1))
        say(f"  {result}")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")
        beside.write_text(json.dumps({"asked": asked, "result": result}, indent=2))
        beside.replace(path)
        return result


def crater(*arguments, settings: dict | None = None, **options) -> list[str]:
    """The command line `crater ARGUMENTS --option value ... --set key=value ...`."""
    pairs = [(f"--{name.replace('_', '-')}", value) for name, value in options.items()]
    pairs += [("--set", f"{key}={value}") for key, value in (settings or {}).items()]
    return [sys.executable, "-m", "crater_model.cli",
            *map(str, (*arguments, *(part for pair in pairs for part in pair)))]


def _printed(command: list[str], environment: dict[str, str]) -> dict:
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    while True:
        try:
            output, errors = process.communicate(timeout=0.5)
            break
        except subprocess.TimeoutExpired:
            if _mb("/proc/meminfo", "MemAvailable:") < SPARE_MB:
                process.kill()
                process.communicate()
                return {"failed": f"ended: it left less than {SPARE_MB} MB of memory free"}
    if process.returncode:
        lines = [line for line in errors.splitlines() if re.search(r"\w", line)] or ["no message"]
        return {"failed": f"ended with {process.returncode}: {lines[-1].strip()}"}
    return json.loads(output.strip().splitlines()[-1])


def _children_cpu() -> float:
    """Processor seconds of the processes that have ended: other work hardly moves them."""
    times = os.times()
    return times.children_user + times.children_system


def run_child(task: str, arguments: str) -> None:
    """The child's side: runs `benchmarks.MODULE:FUNCTION` and prints what it gives."""
    module, _, function = task.partition(":")
    values = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(f"\n{json.dumps({**values, 'peak_mb': peak_mb()})}")


def peak_mb() -> int:
    """The largest resident size of this process so far, MB."""
    # Not getrusage: a new process starts with its parent's peak there.
    return _mb("/proc/self/status", "VmHWM:")


def resident_mb(process: int) -> int:
    """The resident size of a process, MB; OSError or IndexError where it has ended."""
    return _mb(f"/proc/{process}/status", "VmRSS:")


def _mb(file: str, name: str) -> int:
    return int(Path(file).read_text().split(name)[1].split()[0]) // 1024


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    return repeated(work, 0.0)["seconds"]


def repeated(work: Callable[[], object], seconds: float, least: int = 1) -> dict:
    """Does `work` again and again, `least` times and for `seconds` at least.

    Returns:
      `times`, and of each once `seconds` and `cpu_seconds`.
    """
    times, started, cpu = 0, time.perf_counter(), time.process_time()
    while times < least or time.perf_counter() - started < seconds:
        work()
        times += 1
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {"times": times, "seconds": wall / times, "cpu_seconds": cpu / times}


def quantiles(seconds: Iterable[float]) -> dict:
    """p50 and p99 in ms, and of how many."""
    ordered = sorted(seconds)
    return {"p50_ms": round(1e3 * statistics.median(ordered), 2),
            "p99_ms": round(1e3 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
            "requests": len(ordered)}


def ratio(first: float | None, second: float | None) -> float | None:
    """first / second; None where either is missing."""
    return round(first / second, 3) if first and second else None


def taken() -> dict:
    """When and where figures are taken: processor, cores, memory, load, versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    named = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "processor": named[1] if named else platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "load_before": round(os.getloadavg()[0], 1), "python": platform.python_version(),
            "packages": versions}


def pretty(value, indent: int = 0) -> str:
    """JSON in which whatever fits into a line has one."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + indent <= WIDTH or not isinstance(value, (dict, list)):
        return flat
    inner = " " * (indent + 1)
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + pretty(v, indent + 1) for v in value) + "]"
    return "{\n" + ",\n".join(f"{inner}{json.dumps(str(k))}: {pretty(v, indent + 1)}"
                              for k, v in value.items()) + "}"


class _Filler(string.Formatter):
    """`{a.b.0:.1f}` is a value of nested dicts and lists; nothing where there is none, and without
    a format a number with three figures."""

    def get_field(self, field_name, args, kwargs):
        value = kwargs
        for key in field_name.split("."):
            value = (value.get(key) if isinstance(value, dict)
                     else value[int(key)] if isinstance(value, list) and int(key) < len(value)
                     else None)
        return value, field_name

    def format_field(self, value, format_spec):
        if value is None:
            return ""
        if format_spec or not isinstance(value, (int, float)):
            return format(value, format_spec)
        return f"{round(value)}" if value >= 1000 or value == round(value) else f"{value:.3g}"


def fill(template: str, values: dict) -> str:
    """The template (see `_Filler`) with a result's values."""
    text = "\n".join(line.strip() for line in template.strip().splitlines())
    text = _Filler().vformat(text, (), values).replace(" ±  |", " |")
    return text.replace("|  |", "| |").replace("|  |", "| |")


def grid(columns: dict[str, str], rows: Iterable[dict]) -> str:
    """A table: {heading: template}, and the values of each row."""
    template = "| " + " | ".join(columns.values()) + " |"
    return "\n".join([fill("| " + " | ".join(columns) + " |", {}), f"|{'---|' * len(columns)}",
                      *(fill(template, row) for row in rows)])
