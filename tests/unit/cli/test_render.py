from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from partita.cli.output import Line, plain
from partita.cli.render import When, count_line, list_lines, next_lines, show_lines, where_lines
from partita.clock import from_datetime
from partita.monitor.cases import CaseLine, CaseView, DeadLetter, OpenItem, Where
from partita.monitor.story import StoryLine
from partita.monitor.verdict import Next

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
AT_NOON = When(from_datetime(NOON))
WAITING = Where(
    case="order:12345",
    verdict="waiting",
    at="OrderApproved",
    since=NOON - timedelta(hours=3, minutes=11),
    waiting_for=("OrderApproved", "OrderTurnedDown"),
    deadline=NOON + timedelta(hours=6),
    next=(Next(name="OrderApproved", basis="wait"), Next(name="OrderTurnedDown", basis="wait")),
)
OVERDUE = Where(
    case="order:7",
    verdict="overdue",
    at="ShipOrder",
    since=NOON - timedelta(days=3),
    waiting_for=("OrderShipped",),
    deadline=NOON - timedelta(days=1),
    next=(Next(name="OrderShipped", basis="owed", share=0.9),),
)
DONE = Where(
    case="order:8",
    verdict="done",
    at="OrderShipped",
    since=NOON - timedelta(seconds=5),
    waiting_for=(),
    deadline=None,
    next=(),
)


def said(lines: Iterable[Line]) -> list[str]:
    return [plain(line) for line in lines]


def line(of: Where, *stuck: str) -> CaseLine:
    return CaseLine(
        case=of.case,
        verdict=of.verdict,
        at=of.at,
        since=of.since,
        waiting_for=of.waiting_for,
        deadline=of.deadline,
        next=of.next,
        stuck=stuck,
    )


def test_the_first_line_says_where_since_when_and_until_when() -> None:
    assert said(where_lines(WAITING, AT_NOON)) == [
        "order:12345  waiting for OrderApproved, OrderTurnedDown since 08:49Z (3 h 11 min; until 18:00Z)",
        "  next  OrderApproved, OrderTurnedDown (awaited)",
    ]


def test_a_day_that_is_not_today_is_named() -> None:
    assert said(where_lines(OVERDUE, AT_NOON)) == [
        "order:7  overdue at ShipOrder since 2026-01-28 12:00Z (3 d; was due 2026-01-30 12:00Z)",
        "  waits for  OrderShipped",
        "  next       OrderShipped 90% (owed)",
    ]


def test_a_case_that_is_over_is_one_line() -> None:
    assert said(where_lines(DONE, AT_NOON)) == ["order:8  done with OrderShipped since 11:59Z (5 s)"]


def test_why_a_case_is_stuck_stands_below_where_it_is() -> None:
    assert said(where_lines(OVERDUE, AT_NOON, stuck=["ShipOrder is overdue by 1 d"]))[-1] == (
        "  ShipOrder is overdue by 1 d"
    )


def test_what_keeps_a_case_from_moving_is_the_last_line() -> None:
    assert said(where_lines(DONE, AT_NOON, hint="no engine is running"))[-1] == "  no engine is running"


def test_next_says_on_what_grounds() -> None:
    assert said(next_lines(WAITING, AT_NOON))[1:] == ["  OrderApproved    awaited", "  OrderTurnedDown  awaited"]
    assert said(next_lines(DONE, AT_NOON)) == ["order:8  done with OrderShipped: nothing can be expected next"]


def view(at: datetime) -> CaseView:
    return CaseView(
        case="order:9",
        verdict="failed",
        at="ChargeCard",
        since=at,
        waiting_for=(),
        deadline=None,
        next=(),
        stuck=("ChargeCard is dead for billing",),
        explanation="",
        story=(
            StoryLine(seq=1, at=at, who="the customer", what="published", which="OrderPlaced"),
            StoryLine(seq=2, at=at, who="billing", what="gave up", which="ChargeCard", note="Gateway\nError: \x1b[2J"),
        ),
        open=(OpenItem(kind="run", name="fulfil", who="fulfil/order:9/1", since=at, stage="stopped", attempt=2),),
        dead=(
            DeadLetter(
                id="m1/billing",
                message="m1",
                group="billing",
                type="ChargeCard",
                case="order:9",
                since=at,
                attempts=3,
                error="GatewayError",
                text="busy",
            ),
        ),
        doomed=(),
    )


def test_a_story_is_the_answer_then_the_facts_then_what_is_open_and_dead() -> None:
    assert said(show_lines(view(NOON), AT_NOON, flags=" --run")) == [
        "order:9  failed at ChargeCard since 12:00Z (0 ms)",
        "  ChargeCard is dead for billing",
        "",
        "  12:00:00Z  the customer  published  OrderPlaced",
        "  12:00:00Z  billing       gave up    ChargeCard   Gateway Error: \N{REPLACEMENT CHARACTER}[2J",
        "",
        "open",
        "  run  fulfil  fulfil/order:9/1  since 12:00:00Z, stopped, attempt 2 failed",
        "",
        "dead",
        "  ChargeCard is dead for billing: GatewayError: busy",
        "    partita dead redrive m1/billing --run",
    ]


def test_a_story_of_another_day_names_the_day_on_each_line() -> None:
    lines = said(show_lines(view(NOON - timedelta(days=1)), AT_NOON))

    assert lines[3].startswith("  2026-01-30 12:00:00Z  the customer")


def test_a_list_is_a_table_with_its_counts_below() -> None:
    lines = said(list_lines([line(OVERDUE), line(WAITING)], {"overdue": 1, "waiting": 1}, AT_NOON, more="partita ps"))

    assert lines == [
        "case         verdict  at             since                    waits for",
        "order:7      overdue  ShipOrder      2026-01-28 12:00Z (3 d)  OrderShipped",
        "order:12345  waiting  OrderApproved  08:49Z (3 h 11 min)      OrderApproved, OrderTurnedDown",
        "2 cases: 1 overdue, 1 waiting",
        "more: partita ps",
    ]


def test_a_list_of_what_is_stuck_says_why() -> None:
    lines = said(list_lines([line(OVERDUE, "ShipOrder is overdue")], {"overdue": 1}, AT_NOON, stuck=True))

    assert lines[1].endswith("ShipOrder is overdue")


def test_a_store_without_cases_says_so() -> None:
    assert said(list_lines([], {}, AT_NOON)) == ["no cases yet"]
    assert plain(count_line({"done": 1})) == "1 case: 1 done"
