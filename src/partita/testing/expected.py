"""What is to be said of each kind of trouble, in each form: written down by hand from the design, before any look."""

from __future__ import annotations

from dataclasses import dataclass

from partita.testing.hire import Form

_FORMS: dict[str, Form] = {"c": "choreography", "o": "orchestration", "h": "hybrid"}

# c: choreography, o: orchestration, h: hybrid. `command` is what mends it, - where none does; ID is a dead letter's.
# `after` is the verdict once the world is well again and the command was carried out, or time has passed.
TABLE = """
trouble            | forms | why            | verdict     | leaf               | command                                         | after
healthy            | coh   | VanHandedOver  | done        | produced           | -                                               | done
dead-letter        | ch    | VanHandedOver  | failed      | dead               | dead redrive ID/yard                            | done
call-failed        | o     | VanHandedOver  | compensated | call_failed        | -                                               | compensated
dead-notice        | coh   | send_mail      | failed      | dead               | dead redrive ID/mail                            | done
dead-observer      | coh   | count_van      | done        | dead               | dead redrive ID/counts                          | done
call-held          | c     | VanHandedOver  | failed      | dead               | dead redrive ID/card                            | done
call-held          | oh    | VanHandedOver  | failed      | call_held          | dead redrive ID/card                            | done
retrying           | coh   | VanHandedOver  | running     | retrying_at        | -                                               | done
poison             | c     | VanHandedOver  | failed      | dead               | dead redrive ID/card                            | done
poison             | oh    | VanHandedOver  | failed      | call_held          | dead redrive ID/card                            | done
blocked            | coh   | file_note      | failed      | blocked_by         | dead redrive ID/files                           | done
discarded          | c     | DepositTaken   | dead-ended  | discarded          | -                                               | dead-ended
discarded          | oh    | DepositTaken   | compensated | discarded          | -                                               | compensated
slow               | coh   | send_mail      | overdue     | in_progress        | -                                               | done
step-retrying      | oh    | HireConfirmed  | running     | retrying_at        | -                                               | done
step-failed        | oh    | print_contract | compensated | step_failed        | -                                               | compensated
poison-step        | oh    | print_contract | compensated | step_failed        | -                                               | compensated
bug                | oh    | HireConfirmed  | failed      | run_failed_at      | retry CASE                                      | done
never              | oh    | HireConfirmed  | dead-ended  | waits_on_itself    | cancel CASE                                     | compensated
other-code         | oh    | VanHandedOver  | failed      | run_failed_at      | retry CASE                                      | done
nobody-handles     | o     | VanHandedOver  | failed      | nobody_handles     | retry CASE                                      | done
workflow-gone      | oh    | HireConfirmed  | waiting     | group_gone         | -                                               | done
group-gone         | c     | VanHandedOver  | running     | group_gone         | group retire yard                               | dead-ended
group-gone         | o     | VanHandedOver  | running     | group_gone         | group retire yard                               | compensated
group-gone         | h     | VanHandedOver  | running     | group_gone         | group retire yard                               | waiting
no-subscriber      | c     | VanHandedOver  | dead-ended  | no_subscriber      | -                                               | dead-ended
no-subscriber      | h     | VanHandedOver  | waiting     | waiting_for        | signal CASE HandOver                            | done
subscribed-later   | c     | VanHandedOver  | dead-ended  | no_subscriber      | signal CASE DepositTaken                        | done
subscribed-later   | h     | VanHandedOver  | waiting     | no_subscriber      | signal CASE HireConfirmed                       | done
child-bug          | oh    | HireConfirmed  | failed      | run_failed_at      | retry CASE                                      | done
child-call-failed  | oh    | HireConfirmed  | failed      | run_failed_at      | retry CASE                                      | done
child-step-failed  | oh    | HireConfirmed  | failed      | run_failed_at      | retry CASE                                      | done
child-call-held    | oh    | HireConfirmed  | failed      | call_held          | dead redrive ID/inspectors                      | done
child-waits        | oh    | HireConfirmed  | waiting     | waiting_for        | signal CASE VanInspected                        | done
child-sleeps       | oh    | HireConfirmed  | waiting     | timer_pending      | -                                               | done
child-elsewhere    | oh    | HireConfirmed  | waiting     | run_failed_at      | retry van:KEY                                   | done
child-waits-there  | oh    | HireConfirmed  | waiting     | waiting_for        | signal van:KEY VanFetched                       | done
child-of-child     | oh    | HireConfirmed  | waiting     | run_failed_at      | retry van:KEY                                   | done
group-paused       | coh   | VanHandedOver  | running     | group_paused       | group resume yard                               | done
workflow-paused    | o     | VanHandedOver  | running     | group_paused       | group resume workflow:lend                      | done
workflow-paused    | h     | HireConfirmed  | running     | group_paused       | group resume workflow:lend_until_confirmed      | done
cancelled          | oh    | VanHandedOver  | compensated | took_other_branch  | -                                               | compensated
undecodable        | coh   | NoteLeft       | failed      | quarantined        | dead discard ID/quarantine                      | done
unknown-type       | coh   | Unheard        | failed      | quarantined        | dead discard ID/quarantine                      | done
no-run             | o     | VanHandedOver  | dead-ended  | no_run             | start lend '{"hire_id": "KEY"}'                 | done
no-run             | h     | HireConfirmed  | dead-ended  | no_run             | start lend_until_confirmed '{"hire_id": "KEY"}' | done
after-end          | oh    | HireConfirmed  | compensated | took_other_branch  | -                                               | compensated
lost               | coh   | VanHandedOver  | running     | in_progress        | -                                               | done
noop               | c     | VanHeld        | dead-ended  | noop               | -                                               | dead-ended
noop               | oh    | VanHeld        | compensated | noop               | -                                               | compensated
answered-otherwise | coh   | VanHandedOver  | compensated | took_other_branch  | -                                               | compensated
declined           | coh   | DepositTaken   | compensated | took_other_branch  | -                                               | compensated
compensation-fails | c     | HireCancelled  | failed      | dead               | dead redrive ID/vans/by-events                  | compensated
compensation-fails | oh    | HireCancelled  | failed      | call_held          | dead redrive ID/vans                            | compensated
no-end             | o     | VanHandedOver  | dead-ended  | took_other_branch  | -                                               | dead-ended
no-end             | h     | VanHandedOver  | waiting     | noop               | -                                               | waiting
person             | coh   | VanHandedOver  | waiting     | waiting_for        | signal CASE DecideHire '{"agree": ...}'         | done
overdue            | c     | VanHandedOver  | overdue     | waiting_for        | signal CASE DecideHire '{"agree": ...}'         | done
timer              | oh    | VanHandedOver  | waiting     | timer_pending      | -                                               | done
timer-missed       | oh    | VanHandedOver  | overdue     | engine_not_running | dev                                             | compensated
delayed            | oh    | send_reminder  | waiting     | timer_pending      | -                                               | done
doomed             | coh   | VanHandedOver  | waiting     | doomed_wait        | signal CASE PapersSigned                        | done
withdrawn          | oh    | DepositTaken   | compensated | withdrawn          | -                                               | compensated
timed-out          | oh    | HireConfirmed  | compensated | took_other_branch  | -                                               | compensated
undo-waits         | oh    | HireCancelled  | running     | in_progress        | -                                               | compensated
request-left       | coh   | HireAsked      | running     | engine_not_running | dev                                             | done
turned-down        | coh   | HireConfirmed  | dead-ended  | turned_down        | signal CASE HireAsked                           | done
engine-gone        | coh   | VanHandedOver  | running     | engine_not_running | dev                                             | done
"""


@dataclass(frozen=True, slots=True)
class Expected:
    """One row of the table."""

    outcome: str
    verdict: str
    leaf: str
    command: str
    after: str

    def answer(self, asked: str) -> str:
        """What is expected of one answer, as a pattern."""
        found = {"verdict": self.verdict, "leaf": self.leaf, "command": self.command, "after": self.after}[asked]
        return found.replace("ID", "*", 1) if asked == "command" else found


def _read(table: str) -> dict[tuple[str, Form], Expected]:
    found: dict[tuple[str, Form], Expected] = {}
    for line in table.strip().splitlines()[1:]:
        kind, forms, *rest = (cell.strip() for cell in line.split("|"))
        found |= {(kind, _FORMS[form]): Expected(*rest) for form in forms}
    return found


EXPECTED = _read(TABLE)
