"""A namespace of Azure Relay: control channels, rendezvous on another host name and port, and relayed frames.

Writes relay/NAME.listen.conn, relay/send.conn, relay/root.conn, ca.pem and profiles.toml into --dir, prints
`ready relay=HOST:PORT rendezvous=HOST:PORT`, and runs until SIGTERM. The exit status is the number of rules that its
callers broke. The marks in the comments are those of relay_party.py.
"""

import argparse
import asyncio
import json
import random
import secrets
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote

from hub_identity import make_tls, new_key, write_secret
from relay_service_stream import Relay
from relay_service_token import Rule, Wrong, expiry_of, fields_of, prefixes, verify
from relay_service_websocket import BINARY, CLOSE, PING, PONG, TEXT, Head, Socket

HOST = "localhost"
GATEWAY = "127.0.0.1"
MOST_LISTENERS = 25  # [P]
LARGEST_CONTROL = 64 << 10  # bytes [C]
RENDEZVOUS_LIFE = 30  # seconds [P]
NO_MATCH = "None of the connected listeners meet the AllowedListeners/DisallowedListeners criteria"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--entity", nargs="+", default=[])
    parser.add_argument("--anonymous", nargs="+", default=[], help="senders need no token")
    parser.add_argument(
        "--per-hop-close", action="store_true", help="answer a Close, and drop what comes after"
    )
    parser.add_argument("--keep-token", action="store_true", help="show the sender's token to the listener")
    parser.add_argument("--fragment", type=int, metavar="N", help="pass messages on in frames of N bytes")
    parser.add_argument("--text", action="store_true", help="pass ASCII messages on as text")
    parser.add_argument("--skew", type=float, default=300, metavar="SECONDS")
    parser.add_argument(
        "--http-requests", action="store_true", help="ask listeners in HTTP mode, and want 501"
    )
    parser.add_argument("--unknown-messages", action="store_true", help="send control messages nobody knows")
    return parser.parse_args()


@dataclass
class Rendezvous:
    """One sender that waits for its listener."""

    sender: Head
    met: asyncio.Future["Accepted | Wrong"]
    made: float = field(default_factory=time.monotonic)


@dataclass
class Accepted:
    socket: Socket
    protocol: str | None
    done: asyncio.Future[None]


@dataclass(eq=False)
class Listener:
    socket: Socket
    ident: str
    expiry: float
    renewed: asyncio.Event = field(default_factory=asyncio.Event)
    dismissed: bool = False
    requests: set[str] = field(default_factory=set)  # that wait for an answer

    async def dismiss(self, reason: str) -> None:
        """Close the control channel with 1008 [P]; the listener's answer, or a few seconds, end it."""
        self.dismissed = True
        asyncio.get_running_loop().call_later(3, self.socket.abort)
        text = f"{reason}. TrackingId:{uuid.uuid4()}_G1"
        await self.socket.send(CLOSE, (1008).to_bytes(2) + text.encode()[:123])


class Namespace:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.violations = 0
        self.entities: dict[str, list[Listener]] = {
            name: [] for name in [*options.entity, *options.anonymous]
        }
        self.rules = {
            "send": Rule(new_key(), frozenset({"send"})),
            "root": Rule(new_key(), frozenset({"listen", "send"})),
        } | {f"listen-{name}": Rule(new_key(), frozenset({"listen"}), name) for name in self.entities}
        self.rendezvous: dict[str, Rendezvous] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.port = self.gateway_port = 0

    def violation(self, text: str) -> None:
        self.violations += 1
        print(f"violation: {text}", file=sys.stderr, flush=True)

    def check(self, rule: object, text: str) -> None:
        if not rule:
            self.violation(text)

    async def run(self) -> int:
        directory = self.options.dir
        directory.mkdir(exist_ok=True)
        tls = make_tls(directory)

        async def start(serve):
            server = await asyncio.start_server(
                serve, "127.0.0.1", 0, ssl=tls, ssl_shutdown_timeout=3, limit=1 << 17
            )
            return server, server.sockets[0].getsockname()[1]

        control, self.port = await start(self.serve_control)
        gateway, self.gateway_port = await start(self.serve_gateway)
        self.write_files(directory)
        print(f"ready relay={HOST}:{self.port} rendezvous={GATEWAY}:{self.gateway_port}", flush=True)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()
        for server in (control, gateway):
            server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.violations

    def write_files(self, directory: Path) -> None:
        (directory / "relay").mkdir(exist_ok=True)

        def text(rule: str, entity: str | None = None) -> str:
            path = f";EntityPath={entity}" if entity else ""
            return (
                f"Endpoint=sb://{HOST}:{self.port}/;SharedAccessKeyName={rule};"
                f"SharedAccessKey={self.rules[rule].key}{path}"
            )

        for rule in ("send", "root"):
            write_secret(directory / "relay" / f"{rule}.conn", text(rule))
        for name in self.entities:
            file = directory / "relay" / f"{quote(name, safe='')}.listen.conn"
            write_secret(file, text(f"listen-{name}", name))
        profile = (
            f'[profile.relay]\nconnection-string-file = "{directory / "relay" / "send.conn"}"\n'
            f'ca-file = "{directory / "ca.pem"}"\n'
        )
        write_secret(directory / "profiles.toml", profile)

    # HTTP

    async def accepted(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[Socket, Head] | None:
        self.tasks.add(task := asyncio.current_task())
        task.add_done_callback(self.tasks.discard)
        socket = Socket(reader, writer, self.violation)
        try:
            head = Head.parse((await reader.readuntil(b"\r\n\r\n")).decode("latin-1"))
        except (asyncio.IncompleteReadError, OSError):
            socket.abort()
            return None
        self.check(
            head.get("Sec-WebSocket-Extensions") is None or not is_iotstream(head),
            "iotstream offers an extension",
        )
        return socket, head

    async def serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (met := await self.accepted(reader, writer)):
            return
        socket, head = met
        path, _, query = head.target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)  # '+' is a space [C]
        reserved = {name.lower(): value for name, value in pairs if name.lower().startswith("sb-hc-")}
        prefix, decoded = "/$hc/", unquote(path)
        if not head.is_upgrade:
            return await socket.refuse(400, "This endpoint is only for web-socket requests")
        if not decoded.startswith(prefix):
            return await self.refuse(socket, Wrong(404, "Endpoint does not exist"), decoded)
        decoded = decoded.removeprefix(prefix)
        try:
            match reserved.get("sb-hc-action", "connect"):  # absent means connect [D]
                case "listen":
                    await self.listen(socket, head, decoded, reserved)
                case "connect":
                    await self.connect(socket, head, decoded, query, reserved)
                case action:
                    raise Wrong(400, f"The action {action} is not known")
        except Wrong as wrong:
            await self.refuse(socket, wrong, decoded)
        except OSError:
            socket.abort()

    async def refuse(self, socket: Socket, wrong: Wrong, path: str) -> None:
        """The explanation is the reason phrase [P][D]."""
        now = time.strftime("%m/%d/%Y %I:%M:%S %p", time.gmtime())
        where = f"TrackingId:{uuid.uuid4()}_G1, SystemTracker:sb://{HOST}:{self.port}/{quote(path)}, Timestamp:{now}"
        await socket.refuse(wrong.status, f"{wrong.text}. {where}")

    def entity(self, path: str) -> str:
        """The longest entity that the path begins with, by whole segments."""
        known = {name.lower(): name for name in self.entities}
        for candidate in prefixes(path.lower()):
            if candidate in known:
                return known[candidate]
        raise Wrong(404, "Endpoint does not exist")

    def authorize(self, head: Head, path: str, reserved: dict[str, str], right: str) -> str:
        """The token, from the header or the query (section 2.1)."""
        token = head.get("ServiceBusAuthorization") or reserved.get("sb-hc-token")
        if not token:
            raise Wrong(401, f"The token is missing for {path}")
        verify(token, self.rules, path, right, self.options.skew)
        if is_iotstream(head):
            audience = unquote(fields_of(token)["sr"])
            wanted = f"http://{HOST}/{self.entity(path)}/"  # as .NET, with no more than the entity
            self.check(audience == wanted, f"iotstream signs {audience!r} and not {wanted!r}")
            self.check("sb-hc-token" not in reserved, "iotstream shows its token in the query")
        return token

    # The control channel

    async def listen(self, socket: Socket, head: Head, path: str, reserved: dict[str, str]) -> None:
        name = self.entity(path)
        if name.lower() != path.lower():
            raise Wrong(404, "Endpoint does not exist")
        token = self.authorize(head, path, reserved, "listen")
        listeners = self.entities[name]
        if len(listeners) >= MOST_LISTENERS:
            raise Wrong(403, "There are too many listeners")
        await socket.upgrade(head)
        ident = reserved.get("sb-hc-id", str(uuid.uuid4())).partition("_")[0]
        listener = Listener(socket, ident, expiry_of(token))
        listeners.append(listener)
        expiring = asyncio.create_task(self.expire(listener))
        print(f"listening: {name}", file=sys.stderr, flush=True)
        try:
            if self.options.unknown_messages:
                await socket.send(PONG, b"")  # seen unasked for (section 3.4)
                await socket.send(TEXT, json.dumps({"weather": {"sky": "blue"}}).encode())
            if self.options.http_requests:
                await self.request(listener, path)
            await self.control(listener, path)
        finally:
            expiring.cancel()
            listeners.remove(listener)
            await socket.end()

    async def expire(self, listener: Listener) -> None:
        """1008 when the token has expired and was not renewed [P]."""
        while True:
            listener.renewed.clear()
            left = listener.expiry + self.options.skew - time.time()
            try:
                async with asyncio.timeout(max(left, 0)):
                    await listener.renewed.wait()
            except TimeoutError:
                return await listener.dismiss("The token has expired")

    async def request(self, listener: Listener, path: str) -> None:
        """Two requests of the HTTP mode, without a body and with one (section 3.3)."""
        for body in (False, True):
            ident = str(uuid.uuid4())
            listener.requests.add(ident)
            request = {
                "address": f"wss://{GATEWAY}:{self.gateway_port}/$hc/{quote(path)}?sb-hc-action=request&key={ident}",
                "id": ident,
                "requestTarget": f"/{path}",
                "method": "POST" if body else "GET",
                "remoteEndpoint": {"address": "192.0.2.1", "port": 50000},
                "requestHeaders": {"Host": HOST},
                "body": body,
            }
            await listener.socket.send(TEXT, json.dumps({"request": request}).encode())
            if body:
                await listener.socket.send(BINARY, b"the body")

    def answered(self, listener: Listener, response: dict[str, object]) -> None:
        """A listener without a handler answers 501 [D]."""
        self.check(response["requestId"] in listener.requests, f"an answer to {response['requestId']!r}")
        listener.requests.discard(response["requestId"])
        self.check(int(response["statusCode"]) == 501, f"an answer with {response['statusCode']!r} [D]")
        self.check(response.get("body") is False, "an answer without a body says that it has one [P]")
        print(f"answered: {response['statusCode']}", file=sys.stderr, flush=True)

    async def control(self, listener: Listener, path: str) -> None:
        """What the listener says: renewToken, response, Close, which is answered [C], and Ping."""
        socket = listener.socket
        async for frame in socket.frames():
            if frame.opcode == PING:
                await socket.send(PONG, frame.data)
            elif frame.opcode == CLOSE:
                if not listener.dismissed:
                    await socket.send(CLOSE, frame.data)
                return
            elif frame.opcode == TEXT and not listener.dismissed:
                self.check(
                    frame.final and len(frame.data) <= LARGEST_CONTROL, "a control message is too large"
                )
                message = json.loads(frame.data)
                self.check(
                    set(message) in ({"renewToken"}, {"response"}),
                    f"a control message has {sorted(message)} [P]",
                )
                if response := message.get("response"):
                    self.answered(listener, response)
                elif renewal := message.get("renewToken"):
                    self.check(set(renewal) == {"token"}, f"renewToken has {sorted(renewal)} [P]")
                    try:
                        verify(renewal["token"], self.rules, path, "listen", self.options.skew)
                    except Wrong as wrong:
                        await listener.dismiss(wrong.text)
                        continue
                    listener.expiry = expiry_of(renewal["token"])
                    listener.renewed.set()
                    print("renewed", file=sys.stderr, flush=True)
            elif frame.opcode == BINARY:
                self.violation("a binary control message without a response before it [P]")

    # The sender and its rendezvous

    async def connect(
        self, socket: Socket, head: Head, path: str, query: str, reserved: dict[str, str]
    ) -> None:
        name = self.entity(path)
        if name not in self.options.anonymous:
            self.authorize(head, path, reserved, "send")
        listener = random.choice(self.candidates(name, head))
        asked = reserved.get("sb-hc-id", str(uuid.uuid4()))
        ident = f"{asked}_G{random.randrange(99)}_G{random.randrange(99)}"
        key = secrets.token_urlsafe(16)
        rendezvous = Rendezvous(head, asyncio.get_running_loop().create_future())
        self.rendezvous[key] = rendezvous
        message = self.accept_message(socket, head, path, query, ident, key)
        if len(message) > LARGEST_CONTROL:
            raise Wrong(431, "The headers are too large")
        try:
            await listener.socket.send(TEXT, message)
            async with asyncio.timeout(RENDEZVOUS_LIFE):
                met = await rendezvous.met
        except TimeoutError as late:
            raise Wrong(504, "The listener did not come in time") from late
        except OSError as gone:
            raise Wrong(404, "No listener is connected") from gone
        finally:
            self.rendezvous.pop(key, None)
        if isinstance(met, Wrong):
            return await socket.refuse(met.status, met.text)
        try:
            await socket.upgrade(head, met.protocol)
            await Relay(self.options, self.check, socket, met.socket).run()
        finally:
            met.socket.abort()
            met.done.set_result(None)

    def candidates(self, name: str, head: Head) -> list[Listener]:
        """The listeners that may serve, by the ids that they gave [D]."""
        listeners = self.entities[name]
        if not listeners:
            raise Wrong(404, "No listener is connected")
        allowed, disallowed = (
            [part.strip().lower() for part in value.split(",")] if (value := head.get(header)) else None
            for header in ("Microsoft-Relay-AllowedListeners", "Microsoft-Relay-DisallowedListeners")
        )
        fit = [
            listener
            for listener in listeners
            if (allowed is None or listener.ident.lower() in allowed)
            and (disallowed is None or listener.ident.lower() not in disallowed)
        ]
        if not fit:
            raise Wrong(404, NO_MATCH)
        return fit

    def accept_message(
        self, socket: Socket, head: Head, path: str, query: str, ident: str, key: str
    ) -> bytes:
        """Section 3.1; the suffix and the application's query come back in the address [P]."""
        dropped = {"sb-hc-action", "sb-hc-id"} | (set() if self.options.keep_token else {"sb-hc-token"})
        kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0].lower() not in dropped]
        pairs = [*kept, "sb-hc-action=accept", f"sb-hc-id={quote(ident)}", f"key={key}"]
        headers = {
            header: value
            for header, value in head.headers
            if self.options.keep_token or header.lower() != "servicebusauthorization"
        }
        address, port = socket.writer.get_extra_info("peername")[:2]
        accept = {
            "address": f"wss://{GATEWAY}:{self.gateway_port}/$hc/{quote(path)}?{'&'.join(pairs)}",
            "id": ident,
            "connectHeaders": headers,
            "remoteEndpoint": {"address": address, "port": port},
        }
        return json.dumps({"accept": accept}).encode()

    async def serve_gateway(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A listener's dial of an address: single use, no token (section 5)."""
        if not (met := await self.accepted(reader, writer)):
            return
        socket, head = met
        query = dict(parse_qsl(head.target.partition("?")[2], keep_blank_values=True))
        self.check(head.get("ServiceBusAuthorization") is None, "a rendezvous was dialled with a token [P]")
        self.check(
            query.get("sb-hc-action") == "accept", f"a rendezvous asks for {query.get('sb-hc-action')!r}"
        )
        rendezvous = self.rendezvous.pop(query.get("key", ""), None)
        if rendezvous is None or rendezvous.met.done():
            return await socket.refuse(403, "The rendezvous address is not valid")
        if status := query.get("sb-hc-statusCode"):
            text = query.get("sb-hc-statusDescription", "")
            self.check(len(text) <= 512 and text.isprintable(), f"the description {text!r} [C]")
            self.check("sb-hc-statusDescription" in query, "a rejection has no description [P]")
            rendezvous.met.set_result(Wrong(int(status), text))
            return await socket.refuse(410, "Gone")
        offered = [
            part.strip() for part in (head.get("Sec-WebSocket-Protocol") or "").split(",") if part.strip()
        ]
        asked = [part.strip() for part in (rendezvous.sender.get("Sec-WebSocket-Protocol") or "").split(",")]
        self.check(set(offered) <= set(asked), f"a listener offers {offered}, its sender offered {asked} [D]")
        protocol = offered[0] if offered else None
        done = asyncio.get_running_loop().create_future()
        await socket.upgrade(head, protocol)
        rendezvous.met.set_result(Accepted(socket, protocol, done))
        await done


def is_iotstream(head: Head) -> bool:
    return (head.get("Relay-User-Agent") or "").startswith("iotstream/")


if __name__ == "__main__":
    sys.exit(asyncio.run(Namespace(arguments()).run()))
