"""A memory of what was used lately: as many as it says at least, twice as many at most."""

from partita.store.sqlite.names import split_run
from partita.store.sqlite.recent import Recent


def filled(*keys: str, count: int = 2) -> Recent[str, int]:
    recent: Recent[str, int] = Recent(count)
    for place, key in enumerate(keys):
        recent.put(key, place)
    return recent


def kept(recent: Recent[str, int], keys: str) -> dict[str, int]:
    """Without using them: what is looked for becomes young again."""
    young, old = dict(recent._young), dict(recent._old)
    return {key: found for key in keys if (found := (old | young).get(key)) is not None}


def test_what_was_put_is_found_and_the_rest_is_not() -> None:
    recent = filled("a", "b")

    assert (recent.find("a"), recent.find("b"), recent.find("c")) == (0, 1, None)


def test_at_least_so_many_are_kept_and_at_most_twice_as_many() -> None:
    assert kept(filled("a", "b", "c", "d"), "abcd") == {"a": 0, "b": 1, "c": 2, "d": 3}
    assert kept(filled("a", "b", "c", "d", "e"), "abcde") == {"c": 2, "d": 3, "e": 4}


def test_what_is_used_is_kept_when_the_rest_is_forgotten() -> None:
    recent = filled("a", "b", "c")
    assert recent.find("a") == 0
    recent.put("d", 3)

    assert kept(recent, "abcd") == {"a": 0, "c": 2, "d": 3}


def test_what_is_dropped_is_forgotten_young_or_old() -> None:
    recent = filled("a", "b", "c")
    for key in ("a", "c", "x"):
        recent.drop(key)

    assert kept(recent, "abc") == {"b": 1}


def test_all_can_be_forgotten() -> None:
    recent = filled("a", "b", "c")
    recent.clear()

    assert kept(recent, "abc") == {}


def test_a_run_s_name_is_taken_apart() -> None:
    assert split_run("fulfil/order:1/12") == ("fulfil", "order:1", 12)
    assert split_run("fulfil/order:a/b/3") == ("fulfil", "order:a/b", 3)
    assert split_run("f/order:1/0") == ("f", "order:1", 0)


def test_what_is_not_made_up_of_workflow_case_and_number_is_no_run_s_name() -> None:
    for name in (
        "",
        "fulfil",
        "fulfil/order:1",
        "/order:1/1",
        "fulfil//1",
        "f/o:1/x",
        "f/o:1/01",
        "f/o:1/\u0661",
        "f/o:1/",
    ):
        assert split_run(name) is None, name
