"""The books of the world outside: one effect a key, and nothing lost that was answered."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from partita_shop.books import Answer, Asked, Books, read_entries, tally
from partita_shop.orders import list_invoices
from partita_shop.trouble import Trouble, trouble_of


@contextmanager
def opened(path: Path) -> Generator[Books]:
    books = Books(path)
    yield books
    books.close()


def order_with(trouble: Trouble | None) -> str:
    return next(f"order:{invoice.id}" for invoice in list_invoices() if trouble_of(invoice.id) == trouble)


def charge(key: str = "k", case: str | None = None, pence: int = 500) -> Asked:
    return Asked(op="charge", key=key, case=case or order_with(None), pence=pence)


def ship(attempt: int) -> Asked:
    return Asked(op="ship", key="k", case=order_with("carrier down"), attempt=attempt)


def test_a_key_that_is_known_gets_its_answer_and_no_second_effect(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as books:
        assert books.take(charge()) == books.take(charge()) == Answer(pence=500)

    counted = tally(read_entries(tmp_path / "book"))
    assert (counted.requests, counted.effects, counted.suppressed, counted.twice) == (2, 1, 1, [])


def test_two_keys_for_one_thing_are_told_as_done_twice(tmp_path: Path) -> None:
    with opened(tmp_path / "book") as books:
        books.take(charge("a"))
        books.take(charge("b"))

    assert tally(read_entries(tmp_path / "book")).twice == [f"charge {order_with(None)}"]


def test_a_book_that_is_opened_again_knows_its_keys(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path / "book") as books:
            books.take(charge())

    assert [entry.repeated for entry in read_entries(tmp_path / "book")] == [False, True]


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_was_cut_short_was_never_answered(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "book"
    with opened(path) as books:
        books.take(charge("a"))
        books.take(charge("b"))
    path.write_bytes(path.read_bytes()[:-cut])

    with opened(path) as books:
        books.take(charge("b"))

    assert [(entry.n, entry.asked.key, entry.effect) for entry in read_entries(path)] == [
        (1, "a", True),
        (2, "b", True),
    ]


def test_what_was_refused_stays_refused() -> None:
    books = Books()
    asked = charge(case=order_with("card declined"))

    assert books.take(asked) == books.take(asked) == Answer(status="refused", reason="card expired")


def test_a_flaky_gateway_is_busy_then_charges_in_silence_then_answers() -> None:
    books = Books()
    asked = charge(case=order_with("gateway flaky"))

    first, second, third = books.take(asked), books.take(asked), books.take(asked)

    assert first is not None
    assert first.status == "busy"
    assert second is None
    assert third == Answer(pence=500)


def test_a_refund_gives_back_what_was_charged_once() -> None:
    books = Books()
    case = order_with(None)
    books.take(charge(pence=700))

    assert books.take(Asked(op="refund", key="r1", case=case)) == Answer(pence=700)
    assert books.take(Asked(op="refund", key="r2", case=case)) == Answer(pence=0)


def test_a_carrier_that_is_down_stays_down_over_a_crash_until_it_is_asked_anew() -> None:
    books = Books()

    statuses = [answer.status for n in (1, 2, 2, 3, 3, 4, 1) if (answer := books.take(ship(n))) is not None]

    assert statuses == ["busy"] * 6 + ["done"]


def test_only_the_mail_about_the_parcel_finds_no_mailbox() -> None:
    books = Books()
    case = order_with("mailbox gone")

    confirmed = books.take(Asked(op="mail", key="a", case=case, subject="confirmed"))
    shipped = books.take(Asked(op="mail", key="b", case=case, subject="shipped"))

    assert confirmed == Answer()
    assert shipped is not None
    assert shipped.status == "refused"
