"""A generated web says what its plan foretells, and no amount is lost on the way."""

from random import Random  # noqa: TID251 - seeded: the same every time

import pytest

from partita.testing.figures import make_apps
from partita.testing.webs import draw_web, foretell


@pytest.mark.parametrize("seed", range(40))
def test_what_begins_is_what_closes_and_rests(seed: int) -> None:
    plan = draw_web(Random(seed), cues=seed % 2 == 0)

    said = list(foretell(plan))

    resting = {name for figure in plan.figures if figure.kind == "rest" for name in figure.on}
    ended = sum(amount for name, _, _, amount in said if name == "Closing" or name in resting)
    assert ended == sum(amount for beats in plan.beats.values() for amount in beats.values())
    assert len(said) == len(set(said))


def test_every_figure_of_a_plan_is_a_handler_of_its_app() -> None:
    plan = draw_web(Random(3), cues=True)

    app, deaf, before = (make() for make in make_apps(plan, cues=True))

    handled = {key[1] for key in app.declared.handlers}
    assert {name for figure in plan.figures for name in figure.on} <= handled
    assert set(deaf.declared.workflows) == {"play_first", "play_second"}
    assert set(before.declared.workflows) == {"play_first", "play_second", "go_round"}
