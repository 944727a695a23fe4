"""Logs: an event name, then facts."""

from __future__ import annotations

import logging

from partita.errors import one_line


class Log:
    """`log.info("run.waiting", run_id=...)` becomes `run.waiting run_id=...` on the standard logger of that room."""

    def __init__(self, room: str) -> None:
        self._logger = logging.getLogger(room)

    def debug(self, event: str, **facts: object) -> None:
        self._write(logging.DEBUG, event, facts)

    def info(self, event: str, **facts: object) -> None:
        self._write(logging.INFO, event, facts)

    def warning(self, event: str, **facts: object) -> None:
        self._write(logging.WARNING, event, facts)

    def error(self, event: str, *, error: BaseException | None = None, **facts: object) -> None:
        self._write(logging.ERROR, event, facts, error)

    def _write(self, level: int, event: str, facts: dict[str, object], error: BaseException | None = None) -> None:
        if self._logger.isEnabledFor(level):
            text = " ".join([event, *(f"{name}={_say(value)}" for name, value in facts.items())])
            self._logger.log(level, text, exc_info=error)


def _say(value: object) -> object:
    return one_line(value) if isinstance(value, BaseException) else value
