"""A listener of Azure Relay: a control channel, and a stream for each accept message.

Prints `ready` on stdout once it is registered. Runs until SIGTERM, or for --count offers. What happens is in JSON lines
on stderr. Exit status: 0, 1 after a violation or a failed check, 3 the registration was refused, 5 the service closed
the control channel.
"""

import argparse
import asyncio
import json
import signal
import sys
import uuid
from urllib.parse import parse_qs, quote, quote_plus, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay_party import Party, Violation, arguments, report, require, run
from relay_preamble import hear
from relay_steps import Conversation
from relay_stream import KINDS, Refused

REFUSED, CLOSED = 3, 5
ACCEPT_MEMBERS = {"address", "id", "connectHeaders", "remoteEndpoint"}
DESCRIPTION = 512  # characters [C]


def options() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=0, help="leave after that many offers")
    parser.add_argument("--reject", metavar="CODE:TEXT", help="reject each offer")
    parser.add_argument("--reject-plus", action="store_true", help="write a space as '+', as .NET does [C]")
    parser.add_argument("--ignore", action="store_true", help="never dial")
    parser.add_argument("--accept-twice", action="store_true", help="try the address again: 403 [P]")
    parser.add_argument("--renew", type=float, metavar="SECONDS", help="renew the token that often")
    parser.add_argument("--renew-wrong", action="store_true", help="with a wrong signature")
    parser.add_argument("--ping", type=float, default=30, metavar="SECONDS", help="as aztunnel and [Y] do")
    given = parser.parse_args()
    given.id = given.id or str(uuid.uuid4())
    return given


class Listener:
    def __init__(self, given: argparse.Namespace) -> None:
        self.given, self.party = given, Party(given)
        self.offers = 0
        self.streams: set[asyncio.Task[None]] = set()
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        url, headers = self.party.request("listen")
        try:
            control = await connect(
                url,
                additional_headers=headers,
                ssl=self.party.tls,
                compression=None,
                proxy=None,
                max_size=1 << 20,
                ping_interval=self.given.ping,
                ping_timeout=10,  # the service answers Ping [A]
                close_timeout=5,
            )
        except InvalidStatus as refusal:
            report("refused", status=refusal.response.status_code, reason=refusal.response.reason_phrase)
            return REFUSED
        require("Sec-WebSocket-Extensions" not in control.response.headers, "an extension was negotiated")
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.finish, 0)
        print("ready", flush=True)
        works = [self.listen(control)] + ([self.renew(control)] if self.given.renew else [])
        tasks = [asyncio.create_task(work) for work in works]
        try:
            status = await self.done
            if status == 0:
                await control.close()
                require(
                    control.close_code == 1000,
                    f"the service did not answer the Close of the control channel: {control.close_code}",
                )
            return status
        finally:
            for task in tasks:
                task.cancel()

    def finish(self, status: int, error: BaseException | None = None) -> None:
        if self.done.done():
            return
        if error:
            self.done.set_exception(error)
        else:
            self.done.set_result(status)

    async def listen(self, control: ClientConnection) -> None:
        try:
            while True:
                message = await control.recv()
                require(isinstance(message, str), "a binary message without a request before it")
                content = json.loads(message)
                await self.heard(control, content if isinstance(content, dict) else {})
        except ConnectionClosed as closed:
            end = closed.rcvd
            report("closed", code=end.code if end else None, reason=end.reason if end else "")
            self.finish(CLOSED)
        except Exception as error:  # whatever it is, the witness says it
            self.finish(1, Violation(repr(error)))

    async def heard(self, control: ClientConnection, message: dict[str, dict]) -> None:
        """One message of the control channel; unknown ones are ignored [D]."""
        if "address" in message.get("accept", ()):
            task = asyncio.create_task(self.offered(message["accept"]))
            self.streams.add(task)
            task.add_done_callback(self.served)
        elif "id" in message.get("request", ()):
            await self.refuse_http(control, message["request"])
        else:
            report("unknown", members=sorted(message))

    async def refuse_http(self, control: ClientConnection, request: dict[str, object]) -> None:
        """A listener without a handler for HTTP answers 501 [P][D]; a request that must be dialled for is left."""
        if request.get("body"):
            require(isinstance(await control.recv(), bytes), "the body of a request is not binary [P]")
        answer = {"requestId": request["id"], "statusCode": 501, "statusDescription": "No handler"}
        await control.send(json.dumps({"response": {**answer, "responseHeaders": {}, "body": False}}))
        report("request", method=request.get("method"), target=request.get("requestTarget"))

    async def renew(self, control: ClientConnection) -> None:
        while True:
            await asyncio.sleep(self.given.renew)
            token = self.party.token()
            if self.given.renew_wrong:
                token = token.replace("&sig=", "&sig=AAAA")
            await control.send(json.dumps({"renewToken": {"token": token}}))
            report("renewed")

    async def offered(self, offer: dict[str, object]) -> None:
        self.offers += 1
        address, headers = self.check(offer)
        report(
            "offer",
            id=offer["id"],
            path=address.path,
            query=[pair for pair in address.query.split("&") if not pair.startswith("sb-hc-")],
            headers=headers,
            token="sb-hc-token" in parse_qs(address.query) or "servicebusauthorization" in lowered(headers),
            remote=offer.get("remoteEndpoint"),
        )
        if self.given.ignore:
            return
        if self.given.reject:
            return await self.reject(offer["address"])
        wanted = lowered(headers).get("sec-websocket-protocol", "")
        protocols = [wanted.split(",")[0].strip()] if wanted else []  # the first, as .NET [D]
        kind = KINDS[self.given.kind]
        stream = await kind.dial(offer["address"], [], self.party.tls, protocols)
        require(stream.protocol == (protocols[0] if protocols else None), "the sub-protocol was not answered")
        report("accepted", id=offer["id"])
        if self.given.accept_twice:
            try:
                await kind.dial(offer["address"], [], self.party.tls)
            except Refused as refusal:
                report("again", status=refusal.status)
            else:
                raise Violation("an address served twice [P]")
        early = b""
        if self.given.preamble:
            early = await hear(stream, set(self.given.preamble.split(",")))
            if early is None:
                return await stream.finish()
        await Conversation(stream, self.given.sink, early).run(self.given.do)

    def check(self, offer: dict[str, object]):
        """An accept message as [P], [D] and [J] have it; the address may name any host and port [D][Pp]."""
        require(set(offer) <= ACCEPT_MEMBERS, f"the members of accept are {sorted(offer)} [P]")
        address, headers = urlsplit(offer["address"]), offer["connectHeaders"]
        require(address.scheme == "wss", f"the address is of {address.scheme!r} [P]")
        require(address.path.startswith("/$hc/"), f"the path {address.path!r} lacks $hc [P]")
        query = parse_qs(address.query)
        require(query.get("sb-hc-action") == ["accept"], f"the action is {query.get('sb-hc-action')} [P]")
        require(query.get("sb-hc-id") == [offer["id"]], f"{offer['id']!r} is not {query.get('sb-hc-id')} [P]")
        require(
            all(isinstance(value, str) for value in headers.values()),
            "connectHeaders is no map of strings [P]",
        )
        require(
            lowered(headers).get("upgrade", "").lower() == "websocket", "connectHeaders has no Upgrade [P]"
        )
        remote = offer.get("remoteEndpoint")
        require(
            remote is None or (isinstance(remote["address"], str) and isinstance(remote["port"], int)),
            f"remoteEndpoint is {remote} [D]",
        )
        return address, headers

    async def reject(self, address: str) -> None:
        """Dial with the status and the text appended; 410 is the success [P][D][J][Y]."""
        code, _, text = self.given.reject.partition(":")
        encode = quote_plus if self.given.reject_plus else (lambda value: quote(value, safe=""))
        description = encode(text[:DESCRIPTION])
        url = f"{address}&sb-hc-statusCode={code}&sb-hc-statusDescription={description}"
        try:
            await KINDS[self.given.kind].dial(url, [], self.party.tls)
        except Refused as answer:
            require(answer.status == 410, f"a rejection was answered with {answer} and not with 410 [P]")
            report("rejected", status=answer.status)
        else:
            raise Violation("a rejection was answered with 101 [P]")

    def served(self, task: asyncio.Task[None]) -> None:
        self.streams.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Refused):
            report("refused", status=error.status, reason=error.reason)
        elif error:
            self.finish(1, error if isinstance(error, Violation) else Violation(repr(error)))
        if self.given.count and self.offers >= self.given.count and not self.streams:
            self.finish(0)


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


async def main() -> int:
    return await Listener(options()).run()


if __name__ == "__main__":
    sys.exit(run(main))
