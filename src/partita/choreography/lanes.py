"""Lanes: what each group owes for each case, handled one at a time, in order.

A lane is a group and a case. Its head is handed out when it has arrived and is due, the group is live, and nothing of
the lane is being handled. A retrying head blocks its lane, and so does one that is still on its way: everything owed
has its place from the moment it was durable, whatever the transport does. What has no case has a lane of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from partita.clock import Alarms, Clock
from partita.transports.port import Owed

LaneKey = tuple[str, str]


@dataclass(slots=True, eq=False)
class Lane:
    """What one group owes for one case, in order."""

    key: LaneKey
    queue: deque[Owed] = field(default_factory=deque[Owed])
    busy: bool = False
    """Its head is being handled, or the lane is reserved by a handling that covers it."""
    blockers: set[str] = field(default_factory=set[str])
    """Messages that stand in the way: dead letters with `hold`."""


class Lanes:
    """All lanes of one engine. `begin` is called with a lane whose head may be handled now."""

    def __init__(self, clock: Clock, alarms: Alarms, begin: Callable[[Lane, Owed], None]) -> None:
        self._clock = clock
        self._alarms = alarms
        self._begin = begin
        self._lanes: dict[LaneKey, Lane] = {}
        self._known: dict[tuple[str, str], Owed] = {}
        self._absent: set[tuple[str, str]] = set()
        """Expected, and not arrived."""
        self._paused: set[str] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._known)

    def find(self, message: str, group: str) -> Owed | None:
        """What is known of one owed handling."""
        return self._known.get((message, group))

    def keys(self) -> Iterable[tuple[str, str]]:
        """Message and group of everything known here."""
        return self._known.keys()

    def has(self, message: str, group: str) -> bool:
        """Whether an owed handling has arrived."""
        return (message, group) in self._known and (message, group) not in self._absent

    def expect(self, owed: Owed) -> None:
        """Give what is durably owed its place; one that is known already is left as it is."""
        if owed.key in self._known:
            return
        self._known[owed.key] = owed
        self._absent.add(owed.key)
        if owed.state == "delayed" and owed.due_at > self._clock.now_us():
            self._alarms.set(owed.due_at, lambda: self._enter(owed))
        else:
            self._enter(owed)

    def arrive(self, owed: Owed) -> None:
        """Take what the transport brings: once, and only what is expected (a late double is owed no more)."""
        if owed.key not in self._absent:
            return
        self._absent.discard(owed.key)
        lane = self._lanes.get(owed.lane)
        if lane is not None:
            self.pump(lane)

    def add(self, owed: Owed) -> None:
        """Expect an owed handling, and let it arrive at once."""
        self.expect(owed)
        self.arrive(owed)

    def drop(self, owed: Owed) -> None:
        """Forget an owed handling: it is closed, dead, or withdrawn."""
        if self._known.pop(owed.key, None) is None:
            return
        self._absent.discard(owed.key)
        lane = self._lanes.get(owed.lane)
        if lane is not None and owed in lane.queue:
            lane.queue.remove(owed)
            self.pump(lane)  # it may have been what the others waited for

    def release(self, lane: Lane) -> None:
        """The lane's handling is over: go on with what is its head now."""
        lane.busy = False
        self.pump(lane)

    def reserve(self, key: LaneKey) -> Lane | None:
        """Take an idle, live lane for a handling that covers it, or None. Give it back with `release`."""
        if self._stopped or key[0] in self._paused or key in self._lanes:
            return None
        lane = self._lanes[key] = Lane(key, busy=True)
        return lane

    def block(self, key: LaneKey, message: str) -> None:
        """Let nothing of a lane pass until `unblock`."""
        self._lanes.setdefault(key, Lane(key)).blockers.add(message)

    def unblock(self, key: LaneKey, message: str) -> None:
        """The dead letter that stood in the way is gone."""
        lane = self._lanes.get(key)
        if lane is not None:
            lane.blockers.discard(message)
            self.pump(lane)

    def pause(self, group: str) -> None:
        """Hand out nothing of a group; what is being handled ends."""
        self._paused.add(group)

    def resume(self, group: str) -> None:
        """Hand out what a group owes."""
        self._paused.discard(group)
        for lane in [lane for lane in self._lanes.values() if lane.key[0] == group]:
            self.pump(lane)

    def stop(self) -> None:
        """Hand out nothing more."""
        self._stopped = True

    def count_busy(self) -> int:
        """How many lanes are being handled."""
        return sum(lane.busy for lane in self._lanes.values())

    def has_unclean(self) -> bool:
        """Whether something that an earlier process died with has not been claimed yet."""
        return any(owed.unclean for owed in self._known.values())

    def pump(self, lane: Lane) -> None:
        """Hand out the lane's head, if it may be handled now."""
        if lane.busy or lane.blockers or self._stopped:
            return
        if not lane.queue:
            if self._lanes.get(lane.key) is lane:  # an alarm may still know a lane that another has followed
                del self._lanes[lane.key]
            return
        head = lane.queue[0]
        if head.group in self._paused or head.key in self._absent:
            return
        if head.due_at > self._clock.now_us():
            self._alarms.set(head.due_at, lambda: self.pump(lane))
            return
        lane.busy = True
        self._begin(lane, head)

    def _enter(self, owed: Owed) -> None:
        if self._known.get(owed.key) is not owed:
            return
        owed.state = "open"
        lane = self._lanes.get(owed.lane)
        if lane is None:
            lane = self._lanes[owed.lane] = Lane(owed.lane)
        lane.queue.append(owed)
        if len(lane.queue) == 1:
            self.pump(lane)
