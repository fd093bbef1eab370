"""A model and its inputs → CPU cycles of a call, by the processor's counter, or why not.

Cycles do not change with the clock's frequency, so they compare where milliseconds do not. Numbers
are those of Linux's include/uapi/linux/perf_event.h and of its tables of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import time
from statistics import median
from typing import Any, Callable, Dict, List, Sequence, Tuple

# perf_event_attr.type and .config.
CPU_CYCLES = (0, 0)
TASK_CLOCK = (1, 1)  # nanoseconds, kept by the kernel: there on every Linux
_SYSTEM_CALLS = {
    "x86_64": 298,
    "i686": 336,
    "armv6l": 364,
    "armv7l": 364,
    "armv8l": 364,
    "aarch64": 241,
    "riscv64": 241,
}
_ATTRIBUTE_BYTES = 64  # PERF_ATTR_SIZE_VER0
_TIMES = 1 | 2  # PERF_FORMAT_TOTAL_TIME_ENABLED, PERF_FORMAT_TOTAL_TIME_RUNNING
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HYPERVISOR = 1, 1 << 5, 1 << 6
_ENABLE, _DISABLE = 0x2400, 0x2401  # PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE
MAX_CALLS = 100
MAX_SECONDS = 1.0


def measure_cycles(
    model: Any, inputs: Sequence[Any], event: Tuple[int, int] = CPU_CYCLES
) -> Dict[str, Any]:
    """Counts what calls take, all threads of this process together, the kernel's part left out.

    Args:
        model: Has `set_input`, which is not counted, and `invoke`, which is: up to 100 times, for
            about a second at most; never, if there is no counter.
        inputs: Each call takes the next, from the first again after the last.
        event: What to count.

    Returns:
        `cycles_per_inference`: the median of the calls, or None; `cycles_reason`: why it is None.
    """
    counters: List[int] = []
    counts: List[float] = []
    try:
        counters += _open_counters(event)
        deadline = time.perf_counter() + MAX_SECONDS
        while len(counts) < MAX_CALLS and (not counts or time.perf_counter() < deadline):
            model.set_input(inputs[len(counts) % len(inputs)])
            counts.append(_count_call(model.invoke, counters))
    except OSError as error:
        return {"cycles_per_inference": None, "cycles_reason": _explain(error)}
    finally:
        for counter in counters:
            os.close(counter)
    return {"cycles_per_inference": round(median(counts)), "cycles_reason": None}


def _count_call(call: Callable[[], Any], counters: List[int]) -> float:
    """Returns the count of one call; this thread's counter, the first, starts last and ends
    first."""
    before = [_read_counter(counter) for counter in counters]
    for counter in reversed(counters):
        _switch(counter, _ENABLE)
    call()
    for counter in counters:
        _switch(counter, _DISABLE)
    return sum(_read_counter(counter) for counter in counters) - sum(before)


def _open_counters(event: Tuple[int, int]) -> List[int]:
    """Opens a counter for each thread: one for the process would see new threads alone."""
    number = _SYSTEM_CALLS.get(platform.machine())
    if not sys.platform.startswith("linux") or number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    library = ctypes.CDLL(None, use_errno=True)
    kind, config = event
    flags = _DISABLED | _EXCLUDE_KERNEL | _EXCLUDE_HYPERVISOR
    attribute = struct.pack("=IIQQQQQ", kind, _ATTRIBUTE_BYTES, config, 0, 0, _TIMES, flags)
    attribute = attribute.ljust(_ATTRIBUTE_BYTES, b"\0")
    counters: List[int] = []
    for thread in os.listdir("/proc/self/task"):
        # Any core, no group of counters, PERF_FLAG_FD_CLOEXEC.
        counter = library.syscall(number, attribute, int(thread), -1, -1, ctypes.c_ulong(8))
        if counter < 0:
            code = ctypes.get_errno()
            if code == errno.ESRCH:  # the thread has ended meanwhile
                continue
            for opened in counters:
                os.close(opened)
            raise OSError(code, os.strerror(code))
        counters.append(counter)
    return counters


def _switch(counter: int, request: int) -> None:
    import fcntl  # not on Windows

    fcntl.ioctl(counter, request, 0)


def _read_counter(counter: int) -> float:
    """Returns the count, scaled up if the counter was shared with others meanwhile."""
    value, enabled, running = struct.unpack("=QQQ", os.read(counter, 24))
    if enabled and not running:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
    return float(value * enabled / running) if running else 0.0


def _explain(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        try:
            with open("/proc/sys/kernel/perf_event_paranoid", encoding="ascii") as file:
                level = file.read().strip()
        except OSError:
            level = "unknown"
        return f"the system forbids it (kernel.perf_event_paranoid={level}; 2 or less allows it)"
    reasons = {
        errno.ENOENT: "this processor, or the virtual machine, has no cycle counter",
        errno.EOPNOTSUPP: "this processor, or the virtual machine, has no cycle counter",
        errno.ENODEV: "this processor, or the virtual machine, has no cycle counter",
        errno.ENOSYS: "this system, or its emulation, has no perf_event_open",
        errno.EBUSY: "other programs hold the counters",
    }
    return reasons.get(error.errno or 0, str(error))
