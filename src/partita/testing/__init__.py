"""What tests of an app are written with: a whole app on a store in memory and a clock that the test moves."""

from partita.testing.app import TestApp

__all__ = ["TestApp"]
