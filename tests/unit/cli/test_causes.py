from collections.abc import Iterable
from datetime import UTC, datetime

import pytest
from msgspec import Raw

from partita.cli.causes import dead_letter_lines, dead_lines, group_lines, reply_lines, why_lines
from partita.cli.output import Line, plain
from partita.cli.render import When
from partita.cli.suggesting import Mends
from partita.clock import from_datetime
from partita.monitor.leaves import Evidence, WhyNode
from partita.monitor.why import WhyTree
from partita.runtime.look import DeadView, GroupLine
from partita.runtime.requests import Op, Reply, Request

NOON = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
AT_NOON = When(from_datetime(NOON))
PAUSED = WhyNode(
    what="ShipOrder",
    leaf="group_paused",
    sentence="ShipOrder is owed to shipping, which is paused by ada",
    command="partita group resume shipping",
    evidence=(Evidence(seq=7, at=NOON, text="fulfil sent ShipOrder"),),
)
OTHER = WhyNode(
    what="OrderApproved",
    leaf="waiting_for",
    weak=True,
    sentence="OrderApproved comes from a manager, and has not come",
    command="partita signal order:1 OrderApproved",
)
TREE = WhyTree(
    case="order:1",
    outcome="OrderShipped",
    happened=False,
    leading=PAUSED,
    root=WhyNode(what="OrderShipped", sentence="OrderShipped has not happened", needs=(PAUSED, OTHER, PAUSED)),
)
LETTER = DeadView(
    id="m1/billing",
    message="m1",
    group="billing",
    type="ChargeCard",
    case="order:1",
    since=NOON,
    attempts=3,
    error="GatewayError",
    text="busy",
    held=True,
    trace='Traceback:\n\tFile "shop.py", line 7\n',
    body=Raw(b'{"order_id":"1"}'),
)


def said(lines: Iterable[Line]) -> list[str]:
    return [plain(line) for line in lines]


def test_why_leads_with_the_cause_its_evidence_and_what_mends_it() -> None:
    assert said(why_lines(TREE, AT_NOON, Mends())) == [
        "order:1  no OrderShipped: ShipOrder is owed to shipping, which is paused by ada",
        "  12:00:00Z  fulfil sent ShipOrder",
        "  mend it:  partita group resume shipping",
        "",
        "also",
        "  OrderApproved comes from a manager, and has not come",
        "    partita signal order:1 OrderApproved",
    ]


def test_what_has_happened_is_no_complaint() -> None:
    node = WhyNode(
        what="OrderShipped", leaf="produced", sentence="OrderShipped happened", command="partita show order:1"
    )
    tree = WhyTree(case="order:1", outcome="OrderShipped", happened=True, leading=node, root=node)

    assert said(why_lines(tree, AT_NOON, Mends())) == [
        "order:1  OrderShipped happened",
        "  look at it:  partita show order:1",
    ]


def test_a_dead_letter_shows_its_error_its_trace_and_its_body() -> None:
    assert said(dead_letter_lines(LETTER, AT_NOON, flags=" --run")) == [
        "order:1  ChargeCard is held by billing since 12:00Z (0 ms), after 3 attempts",
        "  id     m1/billing",
        "  error  GatewayError: busy",
        "",
        "  Traceback:",
        '      File "shop.py", line 7',
        "",
        '  {"order_id":"1"}',
        "",
        "  partita dead redrive m1/billing --run",
        "  partita dead discard m1/billing --run",
    ]


def test_bytes_that_are_no_message_are_shown_as_far_as_they_can_be() -> None:
    poison = DeadView(
        id="q/quarantine",
        message="q",
        group="quarantine",
        type="OrderPlaced",
        case="",
        since=NOON,
        attempts=0,
        text="not JSON",
        raw="e/8bWw==",
    )

    lines = said(dead_letter_lines(poison, AT_NOON))
    assert lines[0].startswith("q/quarantine  OrderPlaced can't be handled, and is in quarantine since")
    assert "  {\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}[" in lines


def test_dead_letters_are_a_table_with_the_error_last() -> None:
    assert said(dead_lines([LETTER], AT_NOON))[1].split("  ")[-1] == "GatewayError: busy"
    assert said(dead_lines([], AT_NOON)) == ["no dead letters"]


def test_a_group_says_who_stopped_it() -> None:
    groups = [
        GroupLine(
            name="billing", service="billing", state="live", owing=2, dead=1, handles=("ChargeCard", "RefundCard")
        ),
        GroupLine(name="mail", service="mail", state="paused", paused=True, owing=0, dead=0, since=NOON, by="ada"),
        GroupLine(name="old", service="", state="gone", paused=True, owing=1, dead=0, since=NOON, by="ada"),
        GroupLine(name="new", service="new", state="live", queued="pause", owing=0, dead=0),
    ]

    assert said(group_lines(groups, AT_NOON))[1:] == [
        "billing  live                                     2      1     ChargeCard, RefundCard",
        "mail     paused since 12:00Z by ada               0      0",
        "old      gone, paused since 12:00Z by ada         1      0",
        "new      live; pause is asked of the next engine  0      0",
    ]


@pytest.mark.parametrize(
    ("op", "queued", "expected"),
    [
        ("emit", False, "published OrderPlaced for order:1"),
        ("emit", True, "queued: publish OrderPlaced for order:1"),
        ("retry", False, "retried order:1"),
        ("pause", True, "queued: pause group mail"),
    ],
)
def test_a_reply_says_what_was_done(op: Op, queued: bool, expected: str) -> None:
    request = Request(op=op, key="k", type="OrderPlaced", group="mail")

    assert said(reply_lines(request, Reply(status="accepted", case="order:1", queued=queued))) == [expected]


def test_an_answer_is_printed_below_what_was_asked() -> None:
    reply = Reply(status="accepted", case="order:1", answer_type="OrderApproved", answer=Raw(b'{"order_id":"1"}'))

    assert said(reply_lines(Request(op="call", key="k", type="DecideOrder"), reply)) == [
        "DecideOrder for order:1 was answered with OrderApproved",
        '  {"order_id":"1"}',
    ]
