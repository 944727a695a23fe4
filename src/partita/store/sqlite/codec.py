"""How bodies and states lie on the disk: as JSON, or packed against a dictionary of what every body says.

A parked run has to cost less than 700 bytes, and three quarters of a small JSON body are words that all of them share.
Packing costs 5 µs, so it is kept for what a parked run consists of: what it began with, and a waiting case's state.
"""

from __future__ import annotations

import zlib
from typing import Final

from partita.errors import StoreError
from partita.store.facts import Body, Published, Started

CODEC_JSON: Final = 0
CODEC_PACKED: Final = 1
CODEC_ERASED: Final = 2
"""The bytes are the digest of what was there."""

WORTH_MIN, WORTH_MAX = 100, 8_192
"""Below it packing gains nothing; above it, it would hold the writer up."""

_WORKFLOWS: Final = "workflow:"
"""What the groups of workflows are called by."""

# Frozen: what was packed with it can only be read with it. A better one gets a codec number of its own.
DICTIONARY: Final = (
    b'"seed":"","on_close":"abandon""cancel","within":"parent":"","parent_step":"","remedy":"","trace":"",'
    b'"held":true"late":true"rolled_back":true"via":""answer_type":"","answer":{"emitted":["error":"","text":"",'
    b'"reason":"","attempts":"attempt":"outcome":"noop""failed""by":"you"workflow:"duplicate start""no run"'
    b'"done","compensated","dead","delayed","stopped","ended","returned","overdue",false,false,true,null,true,'
    b'["",0,null],{}],[],null,null,"open",1,null,null,{"steps":[{"step":"","name":"","since":1"due":1"sleeps":[{'
    b'"open",1,null,null,{"waits":[{"step":"receive#1","types":["","since":1"until":1},1795,0,null]},[],{},null,["'
    b'",1795,2,false],null,null,1795,2]{"quantity":1,"lines":[{"sku":"","count":"amount":"total_pence":"pence":'
    b'"customer_id":"","email":"","address":"","name":"","country":"GB","currency":"EUR","date":"2026-at":"20'
    b'00:00Z","state":"","reason":"","text":""version":2,"command":true,"data":{"undo_of":"","retry":{"attempts":'
    b'"due":1"step":"call#1","answer":"open":{"steps":[{"step":"#1","name":"","since":179"wakes":179},"sleeps":[{'
    b'"open":{"waits":[{"step":"receive#1","types":["","",""],"since":179"until":179"}],"wakes":179}}'
    b'{"workflow":"","message":"01a","type":"Placed","correlation":"01a","code":"","open":{"waits":[{"step":"receive#1",'
    b'"types":["","since":17{"id":"01a","type":"OrderPlaced","data":{"_id":"","order_id":"","case":"order:","owes":["'
    b'workflow:","inventory","billing","shipping"],"ends":"done","external":"outside","correlation":"01a","source":"shop"'
    b',"by":"outside"}'
)

_WINDOW_BITS = -11
_packer = zlib.compressobj(6, zlib.DEFLATED, _WINDOW_BITS, 4, zlib.Z_DEFAULT_STRATEGY, DICTIONARY)
_unpacker = zlib.decompressobj(_WINDOW_BITS, DICTIONARY)


def is_kept(body: Body) -> bool:
    """Whether a body belongs to what a parked run consists of: its start, and the message that it began with."""
    if isinstance(body, Published):
        for group in body.owes:  # noqa: SIM110 - a generator costs as much as the rest, for each fact
            if group.startswith(_WORKFLOWS):
                return True
        return False
    return isinstance(body, Started)


def pack(raw: bytes) -> tuple[int, bytes]:
    """Codec and bytes: packed where that is shorter."""
    if WORTH_MIN <= len(raw) <= WORTH_MAX:
        packer = _packer.copy()
        packed = packer.compress(raw) + packer.flush()
        if len(packed) < len(raw):
            return CODEC_PACKED, packed
    return CODEC_JSON, raw


def unpack(codec: int, stored: bytes) -> bytes:
    """The bytes as they were. Raises StoreError for bytes that no longer are what was packed."""
    if codec == CODEC_JSON:
        return stored
    if codec == CODEC_PACKED:
        try:
            return _unpacker.copy().decompress(stored)
        except zlib.error as error:
            raise StoreError(f"packed bytes are broken ({error})\nRun `partita doctor`.") from error
    raise StoreError(f"codec {codec} is not known\nInstall the newer version: pip install --upgrade partita")
