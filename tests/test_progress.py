"""Progress as it stands on a terminal and in a log: real processes."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor

import pytest

from crater_model.progress import format_seconds

# 768 records, of which the first takes a second and the others 3 ms.
RECORDS = """
import time
from crater_model import progress
progress.SETTLED_S = 0.3
with progress.Progress("writing records", 768, log_every_s=0.1) as line:
    time.sleep(1)
    for done in range(1, 769):
        line.update(done, f"shard {done // 256}")
        time.sleep(0.003)
"""


def in_log(code: str) -> list[str]:
    """The lines that the code leaves on a stderr that is a file or a pipe."""
    ran = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE)
    text = ran.stderr.decode()
    assert "\r" not in text and "\x1b" not in text
    return text.splitlines()


def on_terminal(code: str, columns: int = 100) -> list[str]:
    """What the code shows, one after another, on a terminal with 24 lines."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs,
                          env={**os.environ, "PYTHONUTF8": "1"}):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other side has closed it
            os.close(ours)
    return re.split(r"[\r\n]+", shown.decode())


def in_both(code: str) -> tuple[list[str], list[str]]:
    """What it leaves in a log and what it shows on a terminal, at the same time: both mostly wait."""
    with ThreadPoolExecutor(2) as pool:
        log, terminal = pool.submit(in_log, code), pool.submit(on_terminal, code)
        return log.result(), terminal.result()


@pytest.fixture(scope="module")
def both() -> tuple[list[str], list[str]]:
    return in_both(RECORDS)


@pytest.fixture
def log(both) -> list[str]:
    return both[0]


@pytest.fixture
def terminal(both) -> list[str]:
    return both[1]


def seconds_left(line: str) -> int | None:
    found = re.search(r"(?:(\d+) h )?(?:(\d+) min )?(?:(\d+) s )?left", line)
    return found and sum(int(part or 0) * unit for part, unit in
                         zip(found.groups(), (3600, 60, 1), strict=True))


def test_a_log_has_a_line_now_and_then_and_one_at_the_end(log):
    assert log[0] == "writing records: 1/768  shard 0"
    assert re.fullmatch(r"writing records: 768/768  \d+(\.\d+)?/s  took \d+ s  shard 3", log[-1])
    counts = [int(re.search(r": (\d+)/768", line)[1]) for line in log]
    assert counts == sorted(set(counts)) and 8 < len(counts) < 60


def test_nothing_is_left_to_guess_from_the_first_record(log):
    """A second for each of the 768 would be 13 min."""
    told = {int(re.search(r": (\d+)/768", line)[1]): seconds_left(line) for line in log}
    early = [left for count, left in told.items() if count < 20]
    assert early and set(early) == {None}
    said = [left for left in told.values() if left is not None]
    assert said and max(said) < 40 and said == sorted(said, reverse=True)


def test_a_terminal_has_one_line_that_changes(terminal):
    shown = [line for line in terminal if line.strip()]
    assert shown[0].split() == ["writing", "records:", "0/768"]
    assert re.search(r"768/768  █{16}  \d+(\.\d+)?/s  took \d+ s  shard 3", shown[-1])
    assert len(shown) > 10 and any(seconds_left(line) is not None for line in shown)


def test_a_narrow_terminal_is_not_wrapped():
    code = "from crater_model.progress import Progress\nwith Progress('tiles', 9) as line:\n" \
           "    line.update(9, 'craters ' * 20)"
    shown = on_terminal(code, columns=40)
    assert any(line.startswith("tiles: 9/9") for line in shown)
    assert max(len(line) for line in shown) <= 40


def test_short_work_leaves_no_line_in_a_log_but_shows_on_a_terminal():
    code = "from crater_model.progress import track; list(track([5, 6, 7], 'cutting'))"
    log, shown = in_both(code)
    assert log == []
    assert [line for line in shown if line.strip()][-1].startswith("cutting: 3/3  █")


def test_an_error_ends_the_line_on_a_terminal_and_adds_none_to_a_log():
    code = """
import time
from crater_model.progress import track
for _ in track(range(9), 'cutting'):
    time.sleep(2.1)
    raise SystemExit('scene_7.png: it is cut short')
"""
    log, shown = in_both(code)
    assert log == ["scene_7.png: it is cut short"]
    assert "scene_7.png: it is cut short" in shown
    assert any(line.startswith("cutting: 0/9") for line in shown)


def test_work_that_was_done_before_does_not_count_for_the_rate():
    """A map that goes on at 900 of 1000 tiles."""
    lines = in_log("""
import time
from crater_model.progress import Progress
with Progress("tiles", 1000, done=900) as line:
    for done in range(901, 1001):
        time.sleep(0.025)
        line.update(done)
""")
    [rate] = re.fullmatch(r"tiles: 1000/1000  (\S+)/s  took \d s", lines[-1]).groups()
    assert 8 < float(rate) < 40


def test_one_within_another():
    code = """
import time
from crater_model.progress import track
for _ in track(range(2), 'scenes'):
    for _ in track(iter(range(3)), 'tiles'):
        time.sleep(0.4)
"""
    log, shown = in_both(code)
    assert [line.split()[:2] for line in log] == [["scenes:", "2/2"]]
    assert any(line.startswith("scenes: 1/2") for line in shown)
    assert sum(line.startswith("tiles: 3") for line in shown) >= 2


def test_what_is_drawn_can_be_left_out():
    """TQDM_DISABLE is tqdm's own."""
    code = "import os; os.environ['TQDM_DISABLE'] = '1'\n" \
           "from crater_model.progress import track; list(track([5, 6, 7], 'cutting'))"
    assert "".join(on_terminal(code)) == ""


@pytest.mark.parametrize(("seconds", "words"), [
    (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (3720, "1 h 02 min")])
def test_seconds_in_words(seconds, words):
    assert format_seconds(seconds) == words
