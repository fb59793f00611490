"""Threads for compiled code: chunks of a range, deadlines inside them, and BLAS kept out of their way."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache, partial
from time import perf_counter
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

THREADS = max(1, min(8, os.cpu_count() or 1))
_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="convexnn")


def _renew_pool() -> None:
    """New threads: those of a parent process do not live on in its forked child."""
    global _pool
    _pool = ThreadPoolExecutor(THREADS, thread_name_prefix="convexnn")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_pool)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def single_blas() -> Any:
    """A context where BLAS keeps to one thread: its own would spin beside those of the compiled code."""
    return _controller().limit(limits=1, user_api="blas")


class OutOfTime(Exception):
    """The deadline passed within compiled work, whose outputs are incomplete."""


def run_until(deadline: float, kernel, total: int, *args) -> None:  # type: ignore[no-untyped-def]
    """`run_in_threads` of ``kernel(*args, halt, start, stop)``, whose halt[0] is set at the deadline.

    Raises
    ------
    OutOfTime
        If it was set before all was done; on Ctrl-C the kernels are halted too.
    """
    halt = np.zeros(1, dtype=np.bool_)
    jobs = _submit_chunks(partial(kernel, *args, halt), total)
    try:
        left = None if np.isinf(deadline) else max(0.0, deadline - perf_counter())
        unfinished = wait(jobs, timeout=left).not_done
    except BaseException:
        halt[0] = True
        wait(jobs)
        raise
    if unfinished:
        halt[0] = True
        wait(jobs)
        raise OutOfTime
    for job in jobs:
        job.result()


def run_in_threads(kernel, total: int, *args) -> None:  # type: ignore[no-untyped-def]
    """Call ``kernel(*args, start, stop)`` over chunks of range(total); chunks do not share outputs."""
    if total <= 1:
        kernel(*args, 0, total)
        return
    for job in _submit_chunks(partial(kernel, *args), total):
        job.result()


def submit(function: Callable[..., Any], *args: Any) -> "Future[Any]":
    """Run a function that releases the interpreter's lock in one of the threads of this module."""
    return _pool.submit(function, *args)


def _submit_chunks(work: Callable[[int, int], None], total: int) -> "list[Future[None]]":
    """``work(start, stop)`` over range(total), four chunks a thread."""
    chunk = max(1, -(-total // (4 * THREADS)))
    return [submit(work, start, min(start + chunk, total)) for start in range(0, total, chunk)]
