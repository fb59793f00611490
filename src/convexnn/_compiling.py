"""One line for the first call after installation, whose compilation would else look like a standstill."""

import logging
import sys
from time import perf_counter

from numba.core.event import Event, Listener, register

LOGGER = logging.getLogger("convexnn")
MESSAGE = "convexnn compiles code on its first use: under a minute, then it is kept on disk."


class _Announcer(Listener):
    """Hears numba begin and end to compile this package; what is read from the cache is silent."""

    def __init__(self) -> None:
        self._depth = 0
        self._begin = 0.0
        self._said = False

    def on_start(self, event: Event) -> None:
        if not _is_ours(event):
            return
        if not self._depth:
            self._begin = perf_counter()
        self._depth += 1
        if not self._said:
            self._said = True
            _tell(MESSAGE)

    def on_end(self, event: Event) -> None:
        if not _is_ours(event):
            return
        self._depth -= 1
        if not self._depth:
            name = event.data["dispatcher"].py_func.__qualname__
            LOGGER.debug("compiled %s in %.1f s", name, perf_counter() - self._begin)


def _is_ours(event: Event) -> bool:
    module: str = event.data["dispatcher"].py_func.__module__
    return module.startswith("convexnn.")


def _tell(message: str) -> None:
    """As a record of level INFO, or as a line on standard error if only a person would notice that."""
    if LOGGER.isEnabledFor(logging.INFO):
        LOGGER.info(message)
    elif sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules):
        print(message, file=sys.stderr, flush=True)


def announce_compilation() -> None:
    """From now on say so, once a process, when compilation begins."""
    register("numba:compile", _Announcer())  # type: ignore[no-untyped-call]
