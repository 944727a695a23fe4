"""The hire of a van for real processes: the world is mended when a file says so, and what kills a process kills it."""

import os
import signal
from pathlib import Path

from partita.testing import hire, place


class Folder:
    @property
    def mended(self) -> bool:
        return Path("mended").exists()

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


place.use(Folder())
choreography = hire.APPS["choreography", "whole"]
orchestration = hire.APPS["orchestration", "whole"]
hybrid = hire.APPS["hybrid", "whole"]
unsubscribed = hire.APPS["choreography", "without a subscriber"]
yardless = hire.APPS["orchestration", "without the yard"]
closed = hire.APPS["choreography", "without the yard"]
