"""A library lends between branches: children of a case, lists of events, async transactions."""

from typing import Annotated

from partita import App, AsyncTransaction, Case, Event, Noop, Service, noop

RequestId = Annotated[str, Case("request")]
OfferId = Annotated[str, Case("offer", part_of="request")]


class BookAsked(Event):
    request_id: RequestId
    title: str


class OfferMade(Event, case="offer"):
    request_id: RequestId
    offer_id: OfferId
    days: int


class OfferTaken(Event, case="offer"):
    request_id: RequestId
    offer_id: OfferId


class OfferLapsed(Event, case="offer"):
    request_id: RequestId
    offer_id: OfferId


class BookLent(Event, ends="done"):
    request_id: RequestId


branches = Service("branches")
ledger = Service("ledger")


@branches.on(BookAsked, within="1d")
async def offer(asked: BookAsked) -> list[OfferMade] | Noop:
    if not asked.title:
        return noop("no title")
    key = asked.request_id
    return [OfferMade(request_id=key, offer_id=f"{key}-{n}", days=7 * n) for n in range(3)]


@branches.on(OfferTaken, hold=True)
async def lapse_others(taken: OfferTaken, tx: AsyncTransaction) -> list[OfferLapsed] | Noop:
    if not await tx.execute("update branches_offer set open = 0 where request = ?", taken.request_id):
        return noop("it was the only offer")
    rows = await tx.list_rows("select id from branches_offer where request = ?", taken.request_id)
    return [OfferLapsed(request_id=taken.request_id, offer_id=row["id"]) for row in rows]


@ledger.on(OfferTaken, within="2d", group="ledger-lending")
async def lend(taken: OfferTaken) -> BookLent:
    return BookLent(request_id=taken.request_id)


app = App("library", services=[branches, ledger])
