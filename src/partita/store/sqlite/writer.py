"""The single writer: many units in one transaction, each in or out for itself, and the facts numbered as they come.

No thread and no loop lives here (they are in `lanes`). What is held in memory (the trail's end, heads of runs, states
of cases) is what the open transaction will hold: it is put back where a unit is refused, and read anew where a
transaction fails. A unit gets a savepoint only where it could be refused after its first write; one that runs users'
code gets one only while such code has failed lately, since two statements are a tenth of a handling: where it fails
without, the transaction is begun anew without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import apsw
import msgspec

from partita.clock import Clock
from partita.errors import StoreError
from partita.limits import LIMITS, Limits
from partita.messages.topology import Topology
from partita.store import work
from partita.store.facts import Fact, encode_body
from partita.store.port import Accepted, Answer, Projection, Recorded, Refusal, Unit
from partita.store.sqlite.chain import digest_of, link
from partita.store.sqlite.codec import CODEC_JSON, is_kept, pack
from partita.store.sqlite.connection import FATAL
from partita.store.sqlite.folding import FoldedCase, Folder
from partita.store.sqlite.guard import SqlGuard, list_own_tables
from partita.store.sqlite.migrate import list_migrations, set_meta
from partita.store.sqlite.operations import RUN_OPERATIONS, STATEMENTS, message_key
from partita.store.sqlite.register import Register, Tail
from partita.store.sqlite.runs import RunHeads
from partita.store.sqlite.transaction import Unmarked, WorkScope
from partita.store.sqlite.watchdog import Watch

_BEGIN = "begin immediate"
_COMMIT = "commit"
_ROLLBACK = "rollback"
_MARK = "savepoint unit"
_DROP = "rollback to unit"
_RELEASE = "release unit"

_INSERT_FACT = (
    "insert into trail (seq, source, n, at, kind, case_id, run, run_n, causes, also, code, codec, chain, body)"
    " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_REF = "insert into case_ref (case_id, seq) values (?, ?) on conflict do nothing"

CAREFUL = 64
"""Transactions with savepoints after one in which users' code had to be undone."""

_json = msgspec.json.Encoder().encode


class Stopped(Exception):
    """The outcome of the last transaction is unknown; `silent` where a simulated crash left nobody to say so."""

    def __init__(self, error: BaseException, *, silent: bool = False) -> None:
        super().__init__(str(error))
        self.error = error
        self.silent = silent


class Faults(Protocol):
    """Decides, in a simulation, what becomes of a commit."""

    def at_commit(self, units: int) -> str:
        """`pass`; `lost_before`, `lost_after`: answered Lost; `crash_before`, `crash_after`: nobody is answered."""
        ...


class Executor:
    """Decides units over one connection, whoever calls: one caller at a time."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        clock: Clock,
        projection: Projection,
        limits: Limits = LIMITS,
        faults: Faults | None = None,
    ) -> None:
        self.watch = Watch(clock=clock, limits=limits)
        self.connection = connection
        self._clock = clock
        self._faults = faults
        self._cursor = connection.cursor()
        self._guard = SqlGuard(connection, list_own_tables(sql for _number, sql in list_migrations()))
        self.register = Register(connection, self._cursor)
        self._tail = self.register.read_tail()
        self._runs = RunHeads(connection, self._cursor)
        self._folder = Folder(connection, self._cursor, projection)
        self._facts: list[tuple[Any, ...]] = []
        self._refs: list[tuple[int, int]] = []
        self._as_submitted: dict[int, tuple[int, int]] = {}
        self._careful = 0
        """Transactions for which users' code still gets a savepoint."""

    # Batches.

    def commit(self, units: Sequence[Unit]) -> list[Answer]:
        """Decide units in one transaction; one answer each, in order. Raises Stopped where the outcome is unknown."""
        try:
            return self._decide_all(units)
        finally:
            self._as_submitted.clear()

    def _decide_all(self, units: Sequence[Unit]) -> list[Answer]:
        offenders: dict[int, Refusal] = {}
        while True:
            try:
                return self._commit(units, offenders)
            except _Torn as torn:
                self._careful = CAREFUL
                if torn.refusal is not None:
                    offenders[torn.index] = torn.refusal
            except Stopped:
                raise
            except FATAL as error:
                self._forget()
                raise Stopped(error) from error
            except Exception as error:  # noqa: BLE001 - the projection's, or a row's that breaks a rule: find its unit
                self._forget()
                if len(units) == 1:
                    return [Refusal("raised", error)]
                return [answer for unit in units for answer in self._decide_all([unit])]

    def _commit(self, units: Sequence[Unit], offenders: dict[int, Refusal]) -> list[Answer]:
        self._begin()
        answers: list[Answer] = []
        for index, unit in enumerate(units):
            if index in offenders:
                answers.append(offenders[index])
                continue
            try:
                answers.append(self._decide(unit))
            except _Refused as why:
                if why.torn:
                    self._forget()
                    raise _Torn(index, why.refusal) from None
                answers.append(why.refusal)
            except Unmarked:
                self._forget()
                raise _Torn(index, None) from None
        self._finish(len(units))
        if self._careful:
            self._careful -= 1
        return answers

    def _decide(self, unit: Unit) -> Accepted:
        now = self._now()
        if unit.expects:
            self._expect(unit)
        marked = (unit.work is not None and self._careful > 0) or (len(unit.writes) > 1 and _has_late_guard(unit))
        if marked:
            self._cursor.execute(_MARK)
        if unit.work is not None:
            self._work(unit, unit.work, now, marked=marked)
        accepted = self._record(unit, now, marked=marked)
        if marked:
            self._cursor.execute(_RELEASE)
        return accepted

    def _work(self, unit: Unit, work: Callable[[Unit, WorkScope], None], now: int, *, marked: bool) -> None:
        facts, writes = self._as_submitted.setdefault(id(unit), (len(unit.facts), len(unit.writes)))
        del unit.facts[facts:], unit.writes[writes:]  # what it added before the transaction was begun anew
        scope = WorkScope(self.connection, self._guard, self.watch, now, marked=marked)
        failed: BaseException | None = None
        self.watch.begin(unit.label)
        try:
            work(unit, scope)
        except Unmarked:
            raise
        except BaseException as error:  # noqa: BLE001 - users' code: whatever it raises refuses this unit only
            failed = error
        finally:
            self.watch.end()
            scope.close()
        self._judge(scope, failed, marked=marked)

    def _judge(self, scope: WorkScope, failed: BaseException | None, *, marked: bool) -> None:
        """Refuse the unit whose work failed, took too long, or tore the transaction down."""
        if isinstance(scope.torn, FATAL):
            raise scope.torn
        if self.watch.overdue:
            late = self.watch.error()
            late.__cause__ = failed
            failed = late
        failed = failed or scope.torn
        if failed is None:
            return
        torn = not marked or not self.connection.in_transaction
        if not torn:
            self._cursor.execute(_DROP)
            self._cursor.execute(_RELEASE)
        raise _Refused(Refusal("raised", failed), torn=torn) from failed

    # A unit alone, whose work runs elsewhere meanwhile.

    def open_alone(self, unit: Unit) -> WorkScope | Refusal:
        """Begin a transaction for one unit's asynchronous work. Raises Stopped."""
        try:
            self._begin()
            self._expect(unit)
            self._cursor.execute(_MARK)
        except _Refused as why:
            self._forget()
            return why.refusal
        except apsw.Error as error:
            self._forget()
            raise Stopped(error) from error
        scope = WorkScope(self.connection, self._guard, self.watch, self._now(), marked=True)
        self.watch.begin(unit.label)
        return scope

    def close_alone(self, unit: Unit, scope: WorkScope, failed: BaseException | None) -> Answer:
        """Decide the unit after its work. Raises Stopped."""
        self.watch.end()
        scope.close()
        try:
            self._judge(scope, failed, marked=True)
            accepted = self._record(unit, scope.now_us(), marked=True)
            self._cursor.execute(_RELEASE)
            self._finish(1)
        except _Refused as why:
            self._forget()
            return why.refusal
        except Stopped:
            raise
        except FATAL as error:
            self._forget()
            raise Stopped(error) from error
        except Exception as error:  # noqa: BLE001 - as in `commit`
            self._forget()
            return Refusal("raised", error)
        return accepted

    # Things of the store itself.

    def refold(self, cases: Sequence[str] | None, *, limit: int) -> int:
        """Fold cases anew from all their facts: those given, or up to `limit` stale ones. Raises Stopped."""
        try:
            self._begin()
            found = self._folder.list_stale(limit) if cases is None else cases
            for case in found:
                self._folder.touch_anew(case)
            self._finish(0)
        except FATAL as error:
            self._forget()
            raise Stopped(error) from error
        except Exception:
            self._forget()
            raise
        return len(found)

    def add_topology(self, topology: Topology) -> Topology:
        """Store a topology, once; the facts that follow are written under it."""
        self._begin()
        try:
            numbered = self.register.add_topology(topology, self._now())
            self._finish(0)
        except Exception:
            self._forget()
            raise
        return numbered

    def close(self, *, clean: bool) -> None:
        """Let the file go; `clean` says that nothing was in flight."""
        if clean:
            with suppress(apsw.Error):  # without the mark the next holder takes it for unclean, and looks more closely
                set_meta(self.connection, "clean", "1")
        with suppress(apsw.Error):  # what a failing disk won't take home stays in the log
            self.connection.close()

    # One unit.

    def _expect(self, unit: Unit) -> None:
        for run, expected in unit.expects.items():
            head = self._runs.find(run)
            if head is None or (head.run_n, head.epoch) != expected:
                raise _Refused(Refusal("moved"))

    def _record(self, unit: Unit, now: int, *, marked: bool) -> Accepted:
        """Add runs, number facts, execute writes; or put all of it back and raise _Refused."""
        tail, facts, refs = self._tail, len(self._facts), len(self._refs)
        draft = _Draft()
        try:
            recorded = self._write(unit, now, draft)
        except FATAL:
            raise
        except Exception as error:
            refusal = error.refusal if isinstance(error, _Refused) else Refusal("raised", error)
            self._tail = tail
            del self._facts[facts:], self._refs[refs:]
            self._runs.put_back()
            wrote = draft.wrote or unit.work is not None
            torn = (wrote and not marked) or not self.connection.in_transaction
            if marked and not torn:
                self._cursor.execute(_DROP)
                self._cursor.execute(_RELEASE)
            raise _Refused(refusal, torn=torn) from error
        self._runs.keep()
        for folded in draft.named:
            self._folder.touch(folded)
        for folded, fact in draft.told:
            self._folder.add(folded, fact)
        return Accepted(recorded, unit.result)

    def _write(self, unit: Unit, now: int, draft: _Draft) -> list[Recorded]:
        execute, changes = self._cursor.execute, self.connection.changes
        for write in unit.writes:
            if write.op == work.ADD_RUN:
                draft.wrote = True
                if not self._add_run(write.params, draft) and write.must:
                    raise _Refused(Refusal(write.must))
        recorded = self._number(unit, now, draft) if unit.facts else []
        for write in unit.writes:
            op, params, must = write.op, write.params, write.must
            if write.fact is not None:
                params = (*params, recorded[write.fact].seq)
            if op in RUN_OPERATIONS:
                done = op == work.ADD_RUN or self._runs.apply(op, params)
            else:
                if op == work.KNOW_MESSAGE:
                    params = (message_key(str(params[0])), *params[1:])  # as it is stored
                execute(STATEMENTS[op], params)
                done = must is None or changes() > 0
                draft.wrote = draft.wrote or done
            if must is not None and not done:
                raise _Refused(Refusal(must))
        return recorded

    def _add_run(self, params: tuple[Any, ...], draft: _Draft) -> bool:
        folded = self._folder.get(params[2])
        added = self._runs.add(params, folded.id)
        if added and not folded.stored:
            draft.named.append(folded)
        return added

    def _number(self, unit: Unit, now: int, draft: _Draft) -> list[Recorded]:
        """Give the unit's facts their places in the trail, their source and their runs, and bind them to the chain."""
        register, folder = self.register, self._folder
        seq, n, at, chain = self._tail
        recorded: list[Recorded] = []
        for new in unit.facts:
            seq, n = seq + 1, n + 1
            # An explicit time may lie in the past; one in the future would hold the clock of all later facts.
            at = now if new.at is None or new.at > now else new.at
            case, run, also = new.case, new.run, new.also
            run_id = run_n = case_id = None
            if run is not None:
                head = self._runs.find(run)
                if head is None:
                    raise _Refused(Refusal("no such run"))
                self._runs.change(head)
                run_id = head.id
                run_n = head.run_n = head.run_n + 1
                if case is not None and case != head.case:
                    also = (*also, case)
                case = head.case
            kind = new.body.kind
            body = encode_body(new.body)
            causes = _json(new.causes).decode() if new.causes else None
            refs = _json(also).decode() if also else None
            chain = link(
                chain, (register.source, n, kind, at, case, refs, run, run_n, causes, register.code), digest_of(body)
            )
            codec, body = pack(body) if is_kept(new.body) else (CODEC_JSON, body)
            fact = Fact(
                seq=seq, source=register.source, n=n, kind=kind, at=at, case=case, also=also, run=run, run_n=run_n,
                causes=new.causes, code=register.code, body=new.body,
            )  # fmt: skip
            if case is not None:
                folded = folder.get(case)
                case_id = folded.id
                draft.told.append((folded, fact))
            for other in dict.fromkeys(also) if also else ():
                if other != case:
                    folded = folder.get(other)
                    self._refs.append((folded.id, seq))
                    draft.told.append((folded, fact))
            self._facts.append(
                (seq, register.source_id, n, at, register.get_kind(kind), case_id, run_id, run_n, causes, refs,
                 register.code, codec, chain, body)
            )  # fmt: skip
            recorded.append(Recorded(seq, at, run_n))
        self._tail = Tail(seq, n, max(now, at), chain)
        return recorded

    # The transaction.

    def _now(self) -> int:
        now, last = self._clock.now_us(), self._tail.at
        return now if now > last else last  # noqa: FURB136 - max() costs three times as much, for each unit

    def _begin(self) -> None:
        self._committed = self._tail
        self._cursor.execute(_BEGIN)

    def _finish(self, units: int) -> None:
        if self._facts:
            self._cursor.executemany(_INSERT_FACT, self._facts)
            self._facts.clear()
        if self._refs:
            self._cursor.executemany(_INSERT_REF, self._refs)
            self._refs.clear()
        self.register.store()
        self._runs.store()
        self._folder.store()
        fault = self._faults.at_commit(units) if self._faults else "pass"
        if fault.endswith("_before"):
            self._forget()
        else:
            self._cursor.execute(_COMMIT)
        if fault != "pass":
            raise Stopped(
                StoreError(f"simulated fault: {fault}\nOpen the store anew."), silent=fault.startswith("crash")
            )

    def _forget(self) -> None:
        """The transaction is gone, and with it all that was held in memory about it."""
        if self.connection.in_transaction:
            with suppress(apsw.Error):  # after a fatal error the rollback may fail too; nothing is written any more
                self._cursor.execute(_ROLLBACK)
        self._tail = self._committed
        self._facts.clear()
        self._refs.clear()
        self._runs.forget()
        self._folder.forget()
        self.register.forget()


class _Draft:
    """What a unit will have changed in memory once it stands."""

    __slots__ = ("named", "told", "wrote")

    def __init__(self) -> None:
        self.named: list[FoldedCase] = []
        """Cases that a run of the unit names for the first time."""
        self.told: list[tuple[FoldedCase, Fact]] = []
        self.wrote = False
        """Whether a row has been written already."""


class _Refused(Exception):
    def __init__(self, refusal: Refusal, *, torn: bool = False) -> None:
        super().__init__(refusal.why)
        self.refusal = refusal
        self.torn = torn
        """Other units' writes went with it: the transaction is begun anew without this unit."""


class _Torn(Exception):
    """The transaction is to be begun anew: without one unit, or with savepoints."""

    def __init__(self, index: int, refusal: Refusal | None) -> None:
        super().__init__(index)
        self.index = index
        self.refusal = refusal


def _has_late_guard(unit: Unit) -> bool:
    """Whether a guard stands behind a write that would have to be undone."""
    earlier = False
    for write in unit.writes:
        if write.must is not None and earlier:
            return True
        earlier = earlier or write.op not in RUN_OPERATIONS or write.op == work.ADD_RUN
    return False
