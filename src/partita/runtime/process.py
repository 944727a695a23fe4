"""A process of the engine's own: what is set once where nobody else's code has a say in it."""

from __future__ import annotations

import gc

YOUNG_MAX = 20_000
"""Objects made and not yet dropped before the collector of circles looks at the young ones."""


def own_process() -> None:
    """Let the collector of circles look seldom, and never at what the imports have made.

    A run in flight is some thirty objects that go without it; looking at them every 700 new ones costs a sixth of a
    step. For processes that we start (`partita dev`): a program that embeds an app decides this for itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 10, 10)
