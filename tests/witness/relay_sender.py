"""A sender of Azure Relay.

Exit status: 0 the steps are done, 1 a violation or a failed check, 3 the upgrade was refused, 4 azbridge's listener
closed the stream without an answer. What happened is in JSON lines on stderr.
"""

import argparse
import sys
import time
import uuid
from urllib.parse import quote

from relay_party import Party, arguments, report, require, run
from relay_preamble import propose
from relay_steps import Conversation
from relay_stream import KINDS, Refused

REFUSED, UNANSWERED = 3, 4


def options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--suffix", default="", help="what follows the entity in the path")
    parser.add_argument("--query", default="", help="an application's query, as written")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE")
    parser.add_argument("--no-action", action="store_true", help="no sb-hc-action: connect is meant [D]")
    parser.add_argument("--subprotocol", action="append", default=[])
    parser.add_argument("--offer-deflate", action="store_true", help="as Node and Python always do [T]")
    given = parser.parse_args()
    given.id = given.id or str(uuid.uuid4())
    return given


async def send() -> int:
    given = options()
    party = Party(given)
    action = None if given.no_action else "connect"
    url, headers = party.request(action, quote(given.suffix, safe="/"), given.query)
    headers += [(name, value) for name, _, value in (header.partition(":") for header in given.header)]
    started = time.monotonic()
    try:
        stream = await KINDS[given.kind].dial(
            url, headers, party.tls, given.subprotocol, given.offer_deflate or given.kind == "ws"
        )
    except Refused as refusal:
        report("refused", status=refusal.status, reason=refusal.reason)
        return REFUSED
    report("connected", subprotocol=stream.protocol, seconds=round(time.monotonic() - started, 3))
    require(
        stream.protocol or not given.subprotocol,
        "a sub-protocol was offered and none chosen, which npm's ws gives up on [T]",
    )
    early = b""
    if given.preamble:
        try:
            early = await propose(stream, given.preamble)
        except EOFError as end:
            report("unanswered", end=str(end))
            return UNANSWERED
    await Conversation(stream, given.sink, early).run(given.do)
    return 0


if __name__ == "__main__":
    sys.exit(run(send))
