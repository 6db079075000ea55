"""Run commands one after another until a signal stops them."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from ssc_toolkit.processes import safe_environment

_SECONDS_BETWEEN_LOOKS = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class OneByOne:
    """Context manager that runs commands one after another until SIGTERM or Ctrl-C arrives.

    When a signal arrives, the running command receives SIGTERM, and no other command is started. A pretraining saves a
    checkpoint when it receives SIGTERM. If a command ends because it received one of the signals itself, no other
    command is started either. Python commands do not import modules from the working folder.

    Examples:
        >>> import sys
        >>> with OneByOne() as commands:
        ...     commands.call([sys.executable, "-c", "raise SystemExit(3)"])
        3
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> OneByOne:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # a shell ignores SIGINT in background jobs
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def call(self, command: Sequence[str], is_hopeless: Callable[[], bool] | None = None) -> int | None:
        """Run a command, wait until it ends, and return its exit status.

        Args:
            command: program and arguments.
            is_hopeless: function that is called every second while the command runs. If it returns True, the command
                receives SIGTERM, and None is returned when it has ended.

        Raises:
            SystemExit: with status 143, if SIGTERM has arrived.
            KeyboardInterrupt: if SIGINT has arrived.
        """
        self.check()
        # Its standard input ends if this process is killed.
        with subprocess.Popen(command, env=safe_environment(), stdin=subprocess.PIPE) as self._process:
            if self._signal is not None:  # the signal arrived while the process was started
                self._process.terminate()
            is_stopped = is_hopeless is not None and _stop_if(is_hopeless, self._process)
            status = self._process.wait()
        self._process = None
        if is_stopped and self._signal is None:
            return None
        for number in _SIGNALS:
            if status in (-number, 128 + number):
                self._signal = self._signal or number
                self.check()
        return status

    def check(self) -> None:
        """Raise SystemExit or KeyboardInterrupt, as `call` does, if a signal has arrived."""
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is not None:
            raise SystemExit(128 + self._signal)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        if self._process is not None:
            self._process.terminate()


def _stop_if(is_hopeless: Callable[[], bool], process: subprocess.Popen[bytes]) -> bool:
    """Wait until a process ends or should be stopped. Return whether SIGTERM was sent to stop it."""
    while True:
        try:
            process.wait(_SECONDS_BETWEEN_LOOKS)
            return False
        except subprocess.TimeoutExpired:
            if is_hopeless():
                process.terminate()
                return True
