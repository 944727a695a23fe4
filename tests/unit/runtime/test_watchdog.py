"""The watch over the loop: what it calls off is gone, also for a tracer."""

import subprocess
import sys

TAKEN_BACK = """
import sys, threading
from partita.orchestration.pulse import TurnOverdue
from partita.runtime.watchdog import _raise_in, call_off

me = threading.get_ident()
try:
    call_off(me)  # nothing is on its way
    _raise_in(me, TurnOverdue)
    call_off(me)
except TurnOverdue:  # it came at once: there was nothing left to take back
    call_off(me)

def traced() -> str:
    return "went on"

sys.settrace(lambda *_: None)
print(traced())
"""


def test_what_was_called_off_neither_comes_nor_holds_up_a_debugger() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN_BACK], capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout, done.stderr, done.returncode) == ("went on\n", "", 0)
