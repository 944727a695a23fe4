"""Cases as people ask for them: the whole story, what is stuck, and what a name means."""

import pytest

from partita.clock import US, to_datetime
from partita.errors import NotFound, Rejected
from partita.monitor.cases import (
    cannot_move,
    case_types,
    dead_id,
    line,
    list_unmovable,
    parse_dead_id,
    resolve_case,
)
from partita.store.facts import Answered, Raw, Requested, Retrying
from partita.store.port import CaseRow, GroupRow, ObligationRow
from tests.unit.monitor import situations
from tests.unit.monitor.shop_topology import choreography
from tests.unit.monitor.situations import Situation
from tests.unit.monitor.trails import START, Trail, seconds

# The story.


def test_the_story_is_told_oldest_first_with_who_did_what_with_which() -> None:
    told = [(one.who, one.what, one.which) for one in situations.reserved().show().story]

    assert (
        told
        == [
            ("the customer", "published", "OrderPlaced"),
            ("approvals", "handled", "OrderPlaced"),
            ("approvals", "published", "OrderApproved"),
            ("inventory", "handled", "OrderApproved"),
            ("inventory", "sent", "ReserveStock"),
            ("inventory", "handled", "ReserveStock"),
            ("inventory", "published", "StockReserved"),
            ("analytics", "handled", "StockReserved"),
        ][: len(told)]
        or told[1][0] == "shop"
    )


@pytest.mark.parametrize(
    ("situation", "index", "note"),
    [
        pytest.param(situations.shipped, -2, "ends the case: done", id="an end"),
        pytest.param(situations.charging_again, -1, "gateway is busy; next in 10 s", id="a retry"),
        pytest.param(situations.call_failed, -2, "after 8 attempts: TimeoutError: 30 s", id="a call that failed"),
        pytest.param(situations.awaiting_a_manager, -1, "waits for OrderApproved or OrderTurnedDown from a manager"),
        pytest.param(situations.nothing_to_release, -1, "nothing was reserved", id="a noop"),
        pytest.param(situations.mail_redriven, -1, "for notifications", id="a redrive"),
        pytest.param(situations.run_stopped, -1, "KeyError: 'parcel'", id="an incident"),
        pytest.param(situations.requested, -1, "no engine is running", id="a request"),
        pytest.param(situations.start_turned_down, -1, "it has no lines. Give it some.", id="a request turned down"),
        pytest.param(situations.quarantined, -1, "not JSON", id="quarantine"),
        pytest.param(situations.delayed, -1, "due in 1 h", id="a delay"),
        pytest.param(situations.no_run, -1, "closed", id="no run"),
        pytest.param(situations.with_child, -1, "onboard/customer:7/1", id="a child"),
    ],
)
def test_a_line_notes_what_matters(situation: Situation, index: int, note: str) -> None:
    assert note in situation().show().story[index].note


def test_a_sentence_within_a_line_loses_its_full_stop() -> None:
    trail = situations.charging()
    due = trail.now + US + seconds(10)
    text = "the body does not fit. Mend it."
    trail.say(Retrying(message="m4", group="billing", type="ChargeCard", error="MessageError", text=text, due=due))

    said = trail.show().story[-1].note
    assert said == "attempt 1 failed: MessageError: the body does not fit. Mend it; next in 10 s"


def test_every_fact_has_a_line() -> None:
    for situation in (situations.mail_redriven, situations.run_stopped, situations.hybrid_shipped, situations.gap):
        trail = situation()
        assert [one.seq for one in trail.show().story] == [fact.seq for fact in trail.facts]
        assert all(one.what and one.who for one in trail.show().story)


def test_an_event_that_nobody_handles_says_so_unless_it_answered_a_call() -> None:
    unheard = [one.which for one in situations.run_shipped().show().story if "no group" in one.note]
    assert unheard == []

    trail = situations.placed()
    trail.publish("CardRefunded")
    assert trail.show().story[-1].note == "no group handles it"


def test_a_line_of_another_case_says_of_which() -> None:
    trail = situations.placed()
    trail.publish("StockReserved", case="order:2", head_case="order:2", also=("order:1",))

    assert "of order:2" in trail.show().story[-1].note


# What is open, and what is dead.


def test_open_items_say_who_has_them_and_until_when() -> None:
    view = situations.run_to_confirmation().show()

    assert [(item.kind, item.name, item.who) for item in view.open] == [
        ("obligation", "OrderConfirmed", "shipping"),
        ("run", "fulfil", "fulfil/order:1/1"),
        ("wait", "OrderShipped or ShipmentRefused", "fulfil/order:1/1"),
    ]
    assert view.open[2].deadline == to_datetime(START + seconds(13 + 5 * 86_400))


def test_an_open_item_of_a_paused_group_says_so() -> None:
    (item,) = situations.shipping_paused().show().open

    assert item.note == "shipping is paused by ann"


def test_a_dead_letter_has_the_name_that_redrives_it_and_its_error() -> None:
    (letter,) = situations.mail_dead().show().dead

    assert (letter.id, letter.type, letter.group) == ("m7/notifications", "OrderConfirmed", "notifications")
    assert (letter.error, letter.text, letter.attempts) == ("SMTPError", "no route", 5)
    assert not letter.observer


def test_an_observer_s_dead_letter_is_shown_though_it_does_not_count() -> None:
    view = situations.observer_dead().show()

    assert [letter.observer for letter in view.dead] == [True]
    assert (view.verdict, view.stuck) == ("running", ())


def test_quarantined_bytes_are_a_dead_letter_with_their_reason() -> None:
    (letter,) = situations.quarantined().show().dead

    assert (letter.id, letter.text, letter.held) == ("x1/quarantine", "not JSON", False)


def test_a_doomed_wait_is_listed_with_its_run() -> None:
    (wait,) = situations.doomed().show().doomed

    assert (wait.types, wait.who) == (("OrderShipped", "ShipmentRefused"), "fulfil/order:1/1")


# Stuck.


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (situations.mail_dead, "OrderConfirmed is dead for notifications"),
        (situations.call_held, "ChargeCard is held by billing"),
        (situations.quarantined, "StockReserved is in quarantine"),
        (situations.run_stopped, "run fulfil/order:1/1 is stopped after ChargeCard#1"),
        (
            situations.on_itself,
            "run fulfil/order:1/1 waits for what only its own code could bring about; nothing it asked for is open",
        ),
        (situations.doomed, "waits for OrderShipped or ShipmentRefused, which nothing open can bring about"),
        (
            situations.shipping_paused,
            "OrderConfirmed is owed to shipping, which is paused by ann; resume it: partita group resume shipping",
        ),
        (
            situations.inventory_gone,
            "OrderApproved is owed to inventory, which has no handler for OrderApproved in this code",
        ),
    ],
)
def test_a_stuck_case_says_why(situation: Situation, reason: str) -> None:
    assert situation().show().stuck == (reason,)


def test_a_case_that_dead_ended_by_a_request_says_which_was_turned_down_and_why() -> None:
    refused = "the request to start fulfil was turned down: it has no lines. Give it some."
    view = situations.start_turned_down().show()

    assert (view.verdict, view.explanation, view.stuck) == ("dead-ended", refused, (refused,))
    assert (view.story[-1].what, view.story[-1].which) == ("turned down", "start fulfil")


def test_a_request_turned_down_after_the_last_event_is_told_beside_it() -> None:
    trail = Trail(choreography())
    trail.publish("CardRefunded")
    trail.say(Requested(request=Raw(b"{}"), id="r1", op="retry"))
    trail.say(Answered(id="r1", op="retry", outcome="rejected", why="nothing has failed."))

    told = "its latest event is CardRefunded, which no group handles; the request to retry was turned down: nothing"
    assert told in trail.show().explanation

    trail.publish("CardRefunded")
    assert "turned down" not in trail.show().explanation


def test_an_overdue_case_says_by_how_much() -> None:
    assert situations.approved().show(after_s=70).stuck == ("OrderApproved is overdue by 10 s",)


@pytest.mark.parametrize(
    "situation", [situations.reserved, situations.charging_again, situations.awaiting_a_manager, situations.shipped]
)
def test_a_case_that_moves_or_waits_for_a_person_is_not_stuck(situation: Situation) -> None:
    trail = situation()

    assert trail.show().stuck == ()
    assert not trail.row().stuck


def test_a_line_of_ps_is_where_with_the_reasons() -> None:
    trail = situations.mail_dead()
    found = line(trail.row(), trail.topology, now=trail.now)

    assert (found.case, found.verdict, len(found.stuck)) == ("order:1", "failed", 1)


def owed(case: str | None, group: str) -> ObligationRow:
    return ObligationRow("m1", group, "OrderConfirmed", case, 1, 1, "open", 0, 0, 0, None, None, 0, 0, None)


def test_cases_whose_work_is_owed_to_a_paused_or_vanished_group_are_found_once() -> None:
    rows = [owed("order:1", "shipping"), owed("order:1", "shipping"), owed("order:2", "nobody"), owed(None, "nobody")]
    paused = [GroupRow("shipping", "paused", START, "ann")]

    assert list_unmovable(rows, [], choreography(), paused) == ["order:1", "order:2"]
    assert list_unmovable(rows, [], choreography(), []) == ["order:2"]


def test_a_group_that_lives_takes_its_messages() -> None:
    assert cannot_move("shipping", "OrderConfirmed", choreography(), []) is None


# Names.


class Known:
    """The cases of a store."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def find(self, name: str) -> CaseRow | None:
        trail = Trail(choreography(), case=name)
        trail.publish("OrderPlaced")
        return trail.row() if name in self._names else None

    def list_matching(self, key: str) -> list[str]:
        return [name for name in self._names if name.partition(":")[2] == key]

    def resolve(self, name: str) -> str:
        types = ["order", "return", "order-line"]
        return resolve_case(name, find=self.find, list_matching=self.list_matching, types=types)


@pytest.mark.parametrize("name", ["order:1", "1", "order-1"])
def test_a_case_is_found_by_its_name_its_key_and_its_type_and_key(name: str) -> None:
    assert Known("order:1", "return:2").resolve(name) == "order:1"


def test_a_key_is_taken_before_a_type_and_key() -> None:
    assert Known("return:order-1", "order:1").resolve("order-1") == "return:order-1"


def test_a_key_may_hold_a_colon() -> None:
    assert Known("order:eu:1").resolve("eu:1") == "order:eu:1"


def test_a_key_of_two_cases_is_refused_with_both() -> None:
    with pytest.raises(Rejected, match="'1' could be order:1 or return:1") as caught:
        Known("return:1", "order:1").resolve("1")
    assert not isinstance(caught.value, NotFound)


@pytest.mark.parametrize(
    ("name", "hint"), [("9", "partita ps"), ("ordr:1", "Did you mean order?"), ("order:9", "partita ps")]
)
def test_an_unknown_name_is_not_found_and_says_what_to_do(name: str, hint: str) -> None:
    with pytest.raises(NotFound) as caught:
        Known("order:1").resolve(name)
    assert hint in caught.value.remedy


def test_the_case_types_of_an_app_are_those_of_its_messages() -> None:
    assert case_types(choreography()) == ["order"]


def test_a_dead_letter_s_name_holds_message_and_group() -> None:
    assert parse_dead_id(dead_id("urn:a/b", "workflow:fulfil")) == ("urn:a/b", "workflow:fulfil")
    assert parse_dead_id("m1") == ("m1", None)


def test_reasons_that_are_alike_are_told_once_with_their_number() -> None:
    trail = situations.mail_dead()
    for _ in range(2_999):
        message = trail.publish("OrderConfirmed", owes=("notifications",))
        situations.die(trail, message, "notifications", "OrderConfirmed")

    assert trail.show().stuck == ("OrderConfirmed is dead for notifications (3,000 times)",)
