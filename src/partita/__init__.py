"""partita: choreography and orchestration in one score, and one story for every case."""

from partita.choreography.service import Service, Wiring
from partita.errors import (
    Abort,
    CallFailed,
    CallTimeout,
    Final,
    NotFound,
    PartitaError,
    Refused,
    Rejected,
    RetryLater,
    Unknown,
)
from partita.limits import Limits
from partita.messages.answers import Delivery, Noop, Waits, noop, rollback, waits_for
from partita.messages.catalog import upcast
from partita.messages.message import Case, Command, Event
from partita.monitor.cases import Where
from partita.monitor.verdict import Next, Verdict
from partita.orchestration.acts import call, child, now, patched, publish, receive, uuid
from partita.orchestration.saga import Undo, saga
from partita.orchestration.step import step
from partita.orchestration.workflow import Workflow, workflow
from partita.retry import Duration, Retry
from partita.runtime.app import App
from partita.runtime.client import Client, Run
from partita.store.port import AsyncTransaction, Transaction

__all__ = [
    "Abort",
    "App",
    "AsyncTransaction",
    "CallFailed",
    "CallTimeout",
    "Case",
    "Client",
    "Command",
    "Delivery",
    "Duration",
    "Event",
    "Final",
    "Limits",
    "Next",
    "Noop",
    "NotFound",
    "PartitaError",
    "Refused",
    "Rejected",
    "Retry",
    "RetryLater",
    "Run",
    "Service",
    "Transaction",
    "Undo",
    "Unknown",
    "Verdict",
    "Waits",
    "Where",
    "Wiring",
    "Workflow",
    "call",
    "child",
    "noop",
    "now",
    "patched",
    "publish",
    "receive",
    "rollback",
    "saga",
    "step",
    "upcast",
    "uuid",
    "waits_for",
    "workflow",
]
