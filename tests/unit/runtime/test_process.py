"""A process of the engine's own looks for circles seldom, and never at what its imports have made."""

import subprocess
import sys

LOOK = """
import gc
from partita.runtime.process import own_process
own_process()
print(gc.get_freeze_count() > 1_000, gc.get_threshold()[0])
"""


def test_what_the_imports_have_made_is_not_looked_at_again() -> None:
    said = subprocess.run([sys.executable, "-c", LOOK], check=True, capture_output=True, text=True).stdout

    assert said.split() == ["True", "20000"]
