"""What the benchmarks share: time, peak memory, and what the machine was doing."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT = 1 << 30

SLOW = 5.0
"""A step of more seconds is run once: its first turn counts."""


def prepare() -> None:
    """An allocator that keeps freed memory of up to a GiB for the next array.

    By default glibc maps an array of more than 32 MiB afresh each time, and the page faults, which
    are no part of either side, come to half of what is measured. Linux with glibc only.
    """
    libc = ctypes.CDLL(None)
    for option in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
        if not libc.mallopt(option, _KEPT):
            raise OSError("mallopt refuses; these benchmarks need glibc")


@dataclass(frozen=True)
class Cost:
    """The median time of a step, and MiB that became resident in one."""

    seconds: float
    mebibytes: float


def interleaved(steps: Sequence[Callable[[], None]], rounds: int) -> list[Cost]:
    """The cost of each step; they take turns, so that load on the machine meets all alike.

    The first turn of each is for its memory, and its time is not counted unless it is slow. Before
    each other turn the step runs once: a step of training finds the caches and the heap as its like
    has left them, not as the other side has.
    """
    firsts = [_first_turn(step) for step in steps]
    times: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, first, found in zip(steps, firsts, times, strict=True):
            if first.seconds < SLOW:
                step()
                found.append(_seconds(step))
    return [
        Cost(median(found or [first.seconds]), first.mebibytes)
        for first, found in zip(firsts, times, strict=True)
    ]


def _seconds(step: Callable[[], None]) -> float:
    """Of one thread the processor time, which other work on the machine hardly changes; of several
    the time that passes, since processor time would add them up."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    step()
    return clock() - start


def bandwidth() -> float:
    """Bytes a second of adding two arrays too large for any cache, with the threads of torch."""
    x, y, out = (torch.zeros(1 << 25) for _ in range(3))
    times = [_seconds(lambda: torch.add(x, y, out=out)) for _ in range(5)]
    return 3 * x.nbytes / min(times)


def _first_turn(step: Callable[[], None]) -> Cost:
    """Linux only: the peak is the kernel's count of a process's resident memory."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _status("VmRSS")
    seconds = _seconds(step)
    return Cost(seconds, (_status("VmHWM") - before) / 1024)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def machine() -> str:
    """One line: torch, threads, cores, and the load, which should be below the number of cores."""
    load, *_ = os.getloadavg()
    return (
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), "
        f"{len(os.sched_getaffinity(0))} core(s), load {load:.1f}"
    )
