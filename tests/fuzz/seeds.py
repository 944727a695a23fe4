"""Where fuzzing begins: a few bytes for each target that lie near what its door takes."""

from partita.store import facts
from tests.fuzz.targets import WORDS

FULL = b'{"message":"m","group":"g","type":"T","id":"m","workflow":"w","step":"s#1","due":1}'
SEEDS: dict[str, list[bytes]] = {
    "codec": [
        b'{"a":1,"b":[true,null,"x",1.5,-0.0,1e10]}',
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        rb'{"a":"\u0000"}',
        rb'"\ud800\udc00"',
        b"9223372036854775808",
        b"1e400",
        b"[" * 65 + b"]" * 65,
        b'{"a": 1, "\\u0061": 2}',
        b"-0",
        b"\xef\xbb\xbf{}",
    ],
    "envelope": [
        b'{"specversion":"1.0","id":"1","source":"s","type":"T","subject":"order:1","time":"2026-01-31T12:00:00Z"}',
        b'{"type":"T","data":{"a":1}}',
        rb'{"type":"T","data":{},"correlationid":"\u0007"}',
        b'{"specversion":"1.0","id":1,"source":"/","type":"T","data_base64":"AA=="}',
        b'{"specversion":"1.0","id":"1","source":"s","type":"T","partitakind":"event","causationid":"m/g#1 n/h#2"}',
        b'{"type":"T","partitaalso":"a:1 b:2","sequence":"0000000000000000007","dataversion":"2","data":1}',
    ],
    "fact": [
        b"\x00",  # a body that was cut off was no fact but an error
        b"\x00" + b"[" * 100_000,
        *(bytes([index]) + b"{}" for index in range(len(facts.KINDS))),
        *(bytes([index]) + FULL for index in range(len(facts.KINDS))),
    ],
    "case": [
        b"order:1",
        b"order:",
        b":1",
        b"Order:1",
        b"order:a\nb",
        b"a_1:" + b"k" * 201,
        b"order:\xff",
        "order:ß".encode(),
    ],
    "duration": [
        b"5s",
        b"1h30m",
        b"200ms",
        b"0.5d",
        b"1 h",
        b"-1s",
        b"1e3s",
        b"9" * 400 + b"w",
        "٣s".encode(),
        b"1_0s",
    ],
    "door": [
        b'{"op":"ping","key":"k"}',
        b'{"op":"nothing","key":"k"}',
        b"[" * 900,
        b"x" * 1_001,
        b"x" * 5_000 + b"\n[1]",
        b"\n\n",
        b'{"op":"emit","key":"k","data":{"a":[1,2]}}',
        b'{"op":"ping","key":"k"}\n{"op":"ping","key":"k"',
        b"[" * 100_000,
    ],
    "command_line": [
        bytes([0, WORDS.index("")]),
        bytes([0, WORDS.index("\udcff")]),
        b"\xe0\x15",  # half a surrogate pair as a command, with --json: its error could not be printed
        b"\x00\x2a",
        b"\x04\x15\x1c\x2a",
        *(bytes([index, (index * 7) % 60, 46]) for index in range(20)),
    ],
}
