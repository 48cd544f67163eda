"""Which revision of this code is running."""

from __future__ import annotations

import subprocess
from pathlib import Path

from crater_model import __version__

ROOT = Path(__file__).resolve().parents[1]


def source_revision() -> str:
    """The clone's commit, with "-dirty" after it where files differ from it; without a clone
    the package's version, as "v0.1.0"."""
    if not (ROOT / ".git").exists():  # installed, perhaps inside some other repository
        return f"v{__version__}"
    try:
        described = subprocess.run(
            ["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=40",
             "--exclude=*"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or a clone of somebody else's
        return f"v{__version__}"
    return described.stdout.strip()
