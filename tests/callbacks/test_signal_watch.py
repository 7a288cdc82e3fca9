"""Two signals are two, also where the main thread is in a library and hears of none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

from callbacks.signal_watch import SignalWatch
from recipes.launcher.guard import ROOT

PROGRAM = f"""
import os, signal, sys
sys.path.insert(0, {str(ROOT)!r})
import torch
from callbacks.signal_watch import SignalWatch
signal.signal(signal.SIGINT, lambda *_: print("heard", flush=True))
SignalWatch(lambda signum: os._exit(40 + signum)).start()
a = torch.rand(6000, 6000, dtype=torch.float64)
print("deaf", flush=True)
a @ a @ a
"""


def test_the_second_ends_a_process_that_hears_neither() -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "deaf\n"
    for _ in range(2):
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    assert process.wait(30) == 40 + signal.SIGINT
    assert process.stdout.read() == ""


def test_others_are_not_counted_and_what_was_there_comes_back() -> None:
    seen: list[int] = []
    former = signal.signal(signal.SIGUSR1, lambda *_: None)
    watch = SignalWatch(seen.append)
    watch.start()
    for _ in range(3):
        signal.raise_signal(signal.SIGUSR1)
    watch.stop()
    signal.signal(signal.SIGUSR1, former)
    assert seen == []
    assert signal.set_wakeup_fd(-1) == -1
