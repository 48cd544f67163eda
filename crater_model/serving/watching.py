"""Hot loading: a thread that looks at the folders of models and loads what is new there."""

from __future__ import annotations

import sys
import threading

from crater_model.serving.models import Models


class Watcher:
    """Calls `update` of every model again and again while requests are served."""

    def __init__(self, models: Models, every_s: float):
        self._models, self._every_s = models, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Looks no more. A version that is being loaded is loaded to its end: `join`."""
        self._stop.set()

    def join(self) -> None:
        """Waits until the thread has ended after `stop`."""
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every_s):
            for model in self._models:
                try:
                    model.update()
                except Exception as error:  # what is loaded must go on being served
                    print(f"model {model.name}: cannot look for versions: "
                          f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
