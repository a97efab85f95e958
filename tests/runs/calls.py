"""Calls for workers: well-behaved, dying, hanging."""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from experiments.runs import forking, workers

log = logging.getLogger("dicebench")
changed = False


def give(value=None):
    return value


def process():
    time.sleep(0.05)
    return os.getpid()


def interval():
    start = time.time()
    time.sleep(0.05)
    return [start, time.time()]


def loaded(module):
    return module in sys.modules


def change():
    global changed
    was = changed, os.getcwd(), os.environ.get("CHANGED")
    changed = True
    os.chdir("/")
    os.environ["CHANGED"] = "yes"
    return was


def say(text):
    log.info("%s", text)
    log.info("%s of %s", "wrong arguments")


class Unprintable(Exception):
    def __str__(self):
        raise KeyboardInterrupt


def segfault():
    ctypes.string_at(0)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def end_hard(code):
    os._exit(code)


def end(code):
    sys.exit(code)


def raise_error(name):
    errors = {
        "interrupt": KeyboardInterrupt(),
        "memory": MemoryError(),
        "unprintable": Unprintable(),
        "long": ValueError("long " * 1_000_000),
        "surrogates": ValueError("\ud800\udfff"),
        "local": type("Local", (Exception,), {"__reduce__": None})("here"),
    }
    raise errors[name]


def return_code():
    """Something that no JSON can hold."""
    return segfault


def write(data, then="wait"):
    """Write to every open file but the terminal's, as foreign code by mistake."""
    for file in range(3, 20):
        try:
            os.set_blocking(file, False)
            os.write(file, data)
        except OSError:
            continue
    if then == "kill":
        kill_itself()
    time.sleep(60)


def close_files():
    os.closerange(3, 100)


def leave_thread():
    threading.Thread(target=time.sleep, args=(60,)).start()


def leave_process(died):
    child = subprocess.Popen(["sleep", "60"])
    if died:
        print(child.pid, file=sys.stderr, flush=True)
        log.info("left %d", child.pid)
        kill_itself()
    return child.pid


def return_twice():
    if not os.fork():
        time.sleep(0.1)
        return "second"
    return "first"


def note(path, process):
    with open(path, "a") as file:
        file.write(f"{process}\n")


def sleep(path=None):
    if path:
        note(path, os.getpid())
    time.sleep(60)


def sleep_with_process(path):
    note(path, subprocess.Popen(["sleep", "60"]).pid)
    sleep(path)


def wait_for(path, lines):
    while not os.path.exists(path) or Path(path).read_text().count("\n") < lines:
        time.sleep(0.02)


def hold_lock(path):
    """Hang in C with the lock of the interpreter, so that no thread of Python goes on."""
    note(path, os.getpid())
    ctypes.PyDLL(None).sleep(60)


def steps(phase, seconds, pause):
    """Report steps for a time, then pause."""
    workers.beat(phase)
    ends = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends:
        workers.beat(number)
        number += 1
        time.sleep(0.01)
    time.sleep(pause)
    return "done"


def note_and_step(path, seconds):
    workers.beat("train")
    note(path, os.getpid())
    return steps("train", seconds, 0)


def leave_phase():
    workers.beat("train")
    workers.beat("evaluate")
    time.sleep(1)
    return "done"


def kill_server():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def phase():
    was = forking._link.phase
    workers.beat("train")
    return was


def bad_fork():
    import torch

    return torch.cuda._is_in_bad_fork()


def visible():
    """This process, its GPU and the time of the call."""
    start = time.time()
    time.sleep(0.05)
    return [os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES"), start, time.time()]
