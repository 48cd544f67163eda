"""What every command has in common, and the values that options take."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

Values = dict[str, Any]
# Problems shown, at most.
_MOST_LINES = 200


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Says each default, but not that there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False
        return action.help if none else super()._get_help_string(action)


def group(commands, name: str, text: str):
    return commands.add_parser(name, help=text).add_subparsers(required=True, metavar="COMMAND")


def add_command(commands, name: str, text: str, run: Callable[[argparse.Namespace], Values]):
    command = commands.add_parser(name, help=text, description=text,
                                  formatter_class=_Formatter)
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.set_defaults(run=run)
    return command


def warn(warnings: Sequence[str], problems: Sequence[str]) -> None:
    """Warnings and problems, a line each; after many problems only their number."""
    for warning in warnings:
        print(f"crater: warning: {warning}", file=sys.stderr)
    for problem in problems[:_MOST_LINES]:
        print(f"crater: {problem}", file=sys.stderr)
    if len(problems) > _MOST_LINES:
        print(f"crater: and {len(problems) - _MOST_LINES} more", file=sys.stderr)


def plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, (dict, list, tuple)) else str(value)


def whole(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 1")
    return value


def size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not width.isdigit() or not height.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected WIDTHxHEIGHT in px, such as 256x256")
    return int(width), int(height)


def height_width(text: str) -> tuple[int, int]:
    height, _, width = text.partition(",")
    if not height.isdigit() or not width.isdigit():
        raise argparse.ArgumentTypeError(f"{text}: expected HEIGHT,WIDTH in px, such as 512,640")
    return int(height), int(width)


def numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected numbers with commas") from None


def pair(text: str) -> tuple[float, float]:
    values = numbers(text)
    if len(values) != 2:
        raise argparse.ArgumentTypeError(f"{text}: expected two numbers, such as 5,400")
    return values[0], values[1]


def scales(text: str) -> list[float] | str:
    return "auto" if text == "auto" else numbers(text)


def shares(text: str) -> tuple[float, ...]:
    values = tuple(numbers(text))
    if len(values) != 3:
        raise argparse.ArgumentTypeError(f"{text}: expected three shares, such as 0.7,0.15,0.15")
    return values


def setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text}: expected key=value")
    return key, value
