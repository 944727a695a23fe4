"""A folder with the small app in it, and `partita` as a person types it there: real processes, real files."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partita.clock import US, SystemClock

APP = "small_app:app"
DEADLINE_S = 20.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def first(self) -> str:
        return self.out.partition("\n")[0]


class Shell:
    """Runs commands in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(Path(__file__).with_name("small_app.py"), folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PARTITA_")}
        self.env = {**kept, "USER": "ada", "PYTHONPATH": "", "NO_COLOR": "1"}

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start a command and return at once."""
        return subprocess.Popen(
            [sys.executable, "-m", "partita", *words],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=more.pop("stdin", subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def run(self, *words: str, typed: str | None = None, code: int | None = 0) -> Done:
        """Run a command to its end; `code` is the exit code that it has to have."""
        process = self.start(*words, stdin=subprocess.DEVNULL if typed is None else subprocess.PIPE)
        with ending(process):
            out, err = process.communicate(typed, timeout=DEADLINE_S)
        done = Done(process.returncode, out, err)
        assert code is None or done.code == code, f"partita {' '.join(words)}: {done}"
        return done

    def until(self, *words: str, holds: Callable[[Done], bool]) -> Done:
        """Ask again until the answer is the one that is waited for."""
        clock = SystemClock()
        deadline = clock.now_us() + int(DEADLINE_S * US)
        while True:
            done = self.run(*words, code=None)
            if done.code < 64 and holds(done):
                return done
            assert clock.now_us() < deadline, f"partita {' '.join(words)} still says {done}"

    def verdict(self, case: str, verdict: str) -> Done:
        """Wait until a case has a verdict."""
        return self.until("where", case, "--json", holds=lambda done: done.code < 3 and done.json["verdict"] == verdict)

    @contextlib.contextmanager
    def dev(self, *words: str) -> Iterator["Dev"]:
        """The engine, from when it takes requests until it is stopped."""
        process = self.start("dev", *(words or (APP,)), "--json")
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"dev did not start: {process.communicate(timeout=DEADLINE_S)}"
        try:
            yield Dev(process, json.loads(line))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            with ending(process):
                process.communicate(timeout=DEADLINE_S)


@contextlib.contextmanager
def ending(process: subprocess.Popen[str]) -> Iterator[None]:
    """A process that does not end in time is killed: a test that has failed leaves nothing behind."""
    try:
        yield
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@dataclass
class Dev:
    """An engine that runs."""

    process: subprocess.Popen[str]
    said: dict[str, Any]

    def end(self, number: signal.Signals) -> Done:
        """Send it a signal; how it ended."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=DEADLINE_S)
        return Done(self.process.returncode, out, err)
