"""A small IoT Hub with device streams that checks every byte its callers send.

It writes the same files as `iotstream emulator`, prints `ready https=… mqtts=…`, and runs until SIGTERM. Each breach of
the protocol document is a line `violation: …` on stderr; the exit status is their number (at most 100).
"""

import argparse
import asyncio
import base64
import datetime
import json
import re
import secrets
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from websockets.frames import Opcode

from hub_gateway import Manner, Seat, admit, pair_of_seats, relay
from hub_identity import HOST, POLICY, make_tls, new_key, verify_sas, write_files
from hub_mqtt import Breach, Session, check_username, parse_connect, read_packet
from hub_twin import READ, Twin
from hub_websocket import WebSocket

API_VERSIONS = {
    "2018-06-30",
    "2018-08-30-preview",
    "2018-10-20-preview",
    "2020-05-31-preview",
    "2020-09-30",
}  # [S]
MQTT_TARGETS = {"/$iothub/websocket", "/$iothub/websocket?iothub-no-client-cert=true"}  # [D][S]
POST = re.compile(r"/twins/([^/?]+)(?:/modules/([^/?]+))?/streams/([^/?]+)\?([^?]*)")  # section 1.1 [S]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Send = Callable[[bytes], Awaitable[None]]
SECONDS = re.compile(r"\d+(\.\d+)?")  # C# may send a fraction [S]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument(
        "--device",
        nargs="+",
        action="extend",
        required=True,
        metavar="ID",
        help="ID, or ID/MODULE for a module",
    )
    parser.add_argument("--gateway-fragment", type=int, metavar="N", help="relay in fragments of N bytes")
    parser.add_argument("--gateway-text", action="store_true", help="relay ASCII as text frames")
    parser.add_argument(
        "--gateway-url-query", action="store_true", help="gateway on another port, odd path, a query"
    )
    parser.add_argument("--big-messages", action="store_true", help="relay coalesced messages of up to 1 MiB")
    parser.add_argument("--no-close", action="store_true", help="end streams without a close frame")
    parser.add_argument("--copy-close", action="store_true", help="answer a Close with a copy of it")
    parser.add_argument(
        "--mqtt-fragment", type=int, metavar="N", help="MQTT over WebSocket in frames of N bytes"
    )
    parser.add_argument("--error-form", choices=["old", "new", "mixed"], default="new")
    parser.add_argument(
        "--accepted-case", action="store_true", help="header names upper-case, `true` and `false` lower"
    )
    return parser.parse_args()


@dataclass
class Request:
    """An HTTP request head as it came; header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes

    @classmethod
    async def read(cls, reader: asyncio.StreamReader) -> "Request":
        raw = await reader.readuntil(b"\r\n\r\n")
        line, *fields = raw.decode("latin-1").split("\r\n")[:-2]
        method, target, version = line.split(" ")
        if version != "HTTP/1.1":
            raise Breach(f"request line {line!r}")
        pairs = [field.partition(":") for field in fields]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if len(headers) != len(pairs):
            raise Breach(f"a header came twice in {fields}")
        return cls(method, target, headers, raw)


@dataclass(frozen=True)
class Refusal(Exception):
    """An error answer (section 1.5)."""

    code: int
    symbol: str
    message: str
    timeout: float | None = None

    def body(self, form: str) -> dict[str, str]:
        now = datetime.datetime.now(datetime.UTC)
        tracking = f"{secrets.token_hex(16).upper()}-G:0-TimeStamp:{now:%m/%d/%Y %H:%M:%S}"
        if form == "old":
            return {
                "Message": f"ErrorCode:{self.symbol};{self.message}",
                "ExceptionMessage": f"Tracking ID:{tracking}",
            }
        inner: dict[str, object] = {
            "errorCode": self.code,
            "trackingId": tracking,
            "message": self.message,
            "timestampUtc": f"{now:%Y-%m-%dT%H:%M:%S.%f}Z",
        }
        if self.timeout is not None:
            inner["info"] = {"timeout": f"{datetime.timedelta(seconds=int(self.timeout))}".zfill(8)}
        prefix = f"ErrorCode:{self.symbol};" if form == "mixed" else ""
        return {"Message": prefix + json.dumps(inner), "ExceptionMessage": ""}


class Hub:
    """One hub on loopback: its identities, connected devices, open offers and gateway seats."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.manner = Manner(
            options.gateway_fragment,
            options.gateway_text,
            options.big_messages,
            options.no_close,
            options.copy_close,
        )
        self.service_key = new_key()
        self.device_keys = {identity: new_key() for identity in options.device}
        self.twins = {identity: Twin(identity) for identity in options.device}
        self.sessions: dict[str, Session] = {}
        self.handlers: dict[str, asyncio.Task[None]] = {}
        self.sessions_changed = asyncio.Condition()
        self.offers: dict[str, asyncio.Future[bool]] = {}
        self.seats: dict[str, Seat] = {}
        self.port = self.gateway_port = 0  # known once listening
        self.streams = 0
        self.violations = 0

    def violation(self, text: object) -> None:
        self.violations += 1
        print(f"violation: {text}", file=sys.stderr, flush=True)

    async def run(self) -> int:
        self.options.dir.mkdir(parents=True, exist_ok=True)
        tls = make_tls(self.options.dir)
        https = await self.listen(self.serve_http, tls)
        mqtts = await self.listen(self.serve_mqtts, tls)
        self.port = https
        self.gateway_port = (
            await self.listen(self.serve_http, tls) if self.options.gateway_url_query else https
        )
        write_files(self.options.dir, https, self.service_key, self.device_keys)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        print(f"ready https=127.0.0.1:{https} mqtts=127.0.0.1:{mqtts}", flush=True)
        await stop.wait()
        return min(self.violations, 100)

    async def listen(self, serve: Serve, tls: ssl.SSLContext) -> int:
        async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (Breach, ValueError) as breach:
                self.violation(breach)
            except (OSError, EOFError, TimeoutError, asyncio.CancelledError):
                pass  # the caller has gone, or was replaced
            except Exception as error:  # a fault of this hub must not pass for agreement
                self.violation(f"hub.py failed: {error!r}")
                raise
            finally:
                writer.close()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0, ssl=tls)
        return server.sockets[0].getsockname()[1]

    # HTTP: the service API, and two kinds of WebSocket

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await Request.read(reader)
        if request.headers.get("upgrade", "").lower() != "websocket":
            return await self.serve_rest(request, writer)
        socket = WebSocket(request.raw, reader, writer, self.violation)
        if request.target in MQTT_TARGETS:
            await self.serve_mqtt_over(socket)
        elif await admit(seat := self.seats.get(request.target), socket, self.violation):
            self.check_host(request, self.gateway_port)
            await relay(seat, socket, self.manner, self.violation)

    def check_host(self, request: Request, port: int) -> None:
        if request.headers.get("host") != f"{HOST}:{port}":
            self.violation(f"Host is {request.headers.get('host')!r}, not {HOST}:{port} (RFC 9110)")

    async def serve_rest(self, request: Request, writer: asyncio.StreamWriter) -> None:
        upper = self.options.accepted_case
        try:
            if request.method == "GET":
                status, body = "200 OK", self.read_twin(request)
                headers = {"Content-Type": "application/json; charset=utf-8"}
                return await self.answer(writer, status, headers, body)
            url, token = await self.initiate(request)
            accepted = "true" if upper else "True"  # Node compares `True` exactly, C# ignores case [S]
            status, body = "200 OK", b""
            headers = {"iothub-streaming-is-accepted": accepted, "iothub-streaming-url": url}
            headers["iothub-streaming-auth-token"] = token
        except Rejected:
            status, body = "200 OK", b""
            headers = {"iothub-streaming-is-accepted": "false" if upper else "False"}
        except Refusal as refusal:
            status, body = (
                f"{refusal.code // 1000} Refused",
                json.dumps(refusal.body(self.options.error_form)).encode(),
            )
            headers = {"iothub-errorcode": refusal.symbol, "Content-Type": "application/json; charset=utf-8"}
        if upper:
            headers = {name.upper(): value for name, value in headers.items()}
        await self.answer(writer, status, headers, body)

    async def answer(
        self, writer: asyncio.StreamWriter, status: str, headers: dict[str, str], body: bytes
    ) -> None:
        headers |= {"Content-Length": str(len(body)), "Connection": "close"}
        fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {status}\r\n{fields}\r\n".encode() + body)
        await writer.drain()

    async def initiate(self, request: Request) -> tuple[str, str]:
        """Ask the device, and give the service its URL and token (sections 1 and 2.3)."""
        identity, name = self.check_request(request)
        connect, response = (
            float(request.headers[f"iothub-streaming-{part}-timeout-in-seconds"])
            for part in ("connect", "response")
        )
        self.authorise(request, identity)
        session = await self.online(identity, connect)

        self.streams += 1
        rid = str(self.streams)  # a small decimal counter [I]
        sid = secrets.token_hex(16)
        service_token, device_token = token(sid, "service"), token(sid, "device")
        service_seat, device_seat = pair_of_seats((service_token, device_token))
        service_path, device_path = (self.gateway_path(identity, sid, role) for role in ("service", "device"))
        self.seats |= {service_path: service_seat, device_path: device_seat}
        answer = self.offers[rid] = asyncio.get_running_loop().create_future()
        origin = f"wss://{HOST}:{self.gateway_port}"
        await session.offer(
            f"$iothub/streams/POST/{name}/?$rid={rid}&$url={quote(origin + device_path, safe='')}&$auth={device_token}"
        )
        try:
            accepted = await asyncio.wait_for(answer, response)
        except TimeoutError:
            text = "Timed out waiting for the response from device."
            raise Refusal(504101, "GatewayTimeout", text, response) from None
        finally:
            del self.offers[rid]
        if not accepted:
            raise Rejected
        return origin + service_path, service_token

    def authorise(self, request: Request, identity: str) -> None:
        if wrong := verify_sas(request.headers["authorization"], self.service_key, HOST, POLICY):
            print(f"refused: {wrong}", file=sys.stderr, flush=True)
            raise Refusal(401003, "IotHubUnauthorized", "Unauthorized")
        if identity not in self.device_keys:
            raise Refusal(404001, "DeviceNotFound", f"Device {identity} not registered")

    def read_twin(self, request: Request) -> bytes:
        """A service reads the twin of a device or module [D]."""
        if not (match := READ.fullmatch(request.target)):
            raise Breach(f"request line {request.method} {request.target} [D]")
        identity = self.check_common(request, match)
        if request.headers.get("content-length", "0") != "0":
            raise Breach("a GET has a body (RFC 9110)")
        self.authorise(request, identity)
        return self.twins[identity].describe()

    def check_request(self, request: Request) -> tuple[str, str]:
        """The request of sections 1.1 and 1.2; anything else is a breach. Gives the identity and the stream name."""
        match = POST.fullmatch(request.target)
        if request.method != "POST" or not match:
            raise Breach(f"request line {request.method} {request.target} [S]")
        headers = request.headers
        for part in ("connect", "response"):
            value = headers.get(f"iothub-streaming-{part}-timeout-in-seconds", "")
            if not SECONDS.fullmatch(value):
                raise Breach(f"the {part} timeout is {value!r} [S]")
        if headers.get("content-length") != "0" or "transfer-encoding" in headers:
            raise Breach("the request is not marked as bodyless with Content-Length: 0 [M]")
        return self.check_common(request, match), match[3]

    def check_common(self, request: Request, match: re.Match[str]) -> str:
        """What all requests have in common. Gives the identity in the path; the last group is the query."""
        key, _, version = match[match.re.groups].partition("=")
        if key != "api-version" or version not in API_VERSIONS:
            raise Breach(f"the query {match[match.re.groups]!r} is not one known api-version [S]")
        if not request.headers.get("user-agent"):
            raise Breach("there is no User-Agent [S][M]")
        if "authorization" not in request.headers:
            raise Breach("there is no Authorization [S]")
        self.check_host(request, self.port)
        raw = (
            f"{match[1]}/{match[2]}" if match[2] else match[1]
        )  # C e2e sends it so [S], the others encode [S]
        return next((known for known in (unquote(raw), raw) if known in self.device_keys), unquote(raw))

    async def online(self, identity: str, timeout: float) -> Session:
        def ready() -> Session | None:
            session = self.sessions.get(identity)
            return session if session and session.takes_offers else None

        try:
            async with asyncio.timeout(timeout), self.sessions_changed:
                return await self.sessions_changed.wait_for(ready)
        except TimeoutError:
            if session := self.sessions.get(identity):
                self.violation(
                    f"{identity} subscribed to {sorted(session.filters)} only, not to both filters [S]"
                )
            text = "Timed out waiting for device to connect."
            raise Refusal(404103, "DeviceNotOnline", text, timeout) from None

    def gateway_path(self, identity: str, sid: str, role: str) -> str:
        if self.options.gateway_url_query:
            return f"/bri%20dges;v=1/{role}/a%2Fb//{sid}?x=%3D&y=a+b&r={role}"
        return f"/bridges/ih/witness/d/{quote(identity, safe='')}/sid/{sid}/r/{role}"  # [I]; /r/service [~]

    # MQTT, over TLS and over WebSocket

    async def serve_mqtts(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def send(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        await self.serve_mqtt(reader, send)

    async def serve_mqtt_over(self, socket: WebSocket) -> None:
        """Binary frames carry a byte stream; packets need not align with them [D]."""
        offered = socket.request.headers.get("Sec-WebSocket-Protocol", "")
        if "mqtt" not in {name.strip().lower() for name in offered.split(",")}:
            self.violation(f"MQTT over WebSocket offers the subprotocol {offered!r} [D][S]")
        if not await socket.accept():
            return
        stream = asyncio.StreamReader()

        async def feed() -> None:
            async for frame in socket.frames():
                if frame.opcode is Opcode.TEXT:
                    self.violation("MQTT in a text frame [D]")
                stream.feed_data(bytes(frame.data))
            stream.feed_eof()

        async def send(data: bytes) -> None:
            size = self.options.mqtt_fragment or len(data)
            for at in range(0, len(data), size):
                await socket.send(Opcode.BINARY, data[at : at + size])

        feeding = asyncio.create_task(feed())
        try:
            await self.serve_mqtt(stream, send)
        finally:
            feeding.cancel()

    async def serve_mqtt(self, reader: asyncio.StreamReader, send: Send) -> None:
        """Admit a device by its CONNECT (section 2.1); a second one takes the identity over (400027) [D]."""
        try:
            first = await asyncio.wait_for(read_packet(reader), 30)
        except EOFError:
            return
        connect = parse_connect(first)
        key = self.device_keys.get(connect.client_id)
        if key is None:
            raise Breach(f"the client id {connect.client_id!r} is no identity of this hub [D]")
        check_username(connect.username, {HOST, f"{HOST}:{self.port}"}, connect.client_id)
        device, _, module = connect.client_id.partition("/")
        resource = f"{HOST}/devices/{device}" + (f"/modules/{module}" if module else "")
        if wrong := verify_sas(connect.password, key, resource, None):
            print(f"refused: {wrong}", file=sys.stderr, flush=True)
            return await send(bytes([0x20, 2, 0, 5]))  # not authorised
        if old := self.handlers.get(connect.client_id):
            old.cancel()
        session = Session(reader, send, self.answered, self.notify, self.twins[connect.client_id])
        self.sessions[connect.client_id] = session
        self.handlers[connect.client_id] = asyncio.current_task()
        try:
            await session.run(connect.keepalive)
        finally:
            if self.sessions.get(connect.client_id) is session:
                del self.sessions[connect.client_id], self.handlers[connect.client_id]

    async def notify(self) -> None:
        async with self.sessions_changed:
            self.sessions_changed.notify_all()

    def answered(self, rid: str, accepted: bool) -> None:
        answer = self.offers.get(rid)
        if answer is None or answer.done():
            self.violation(f"an answer to {rid!r}, which waits for none")
        else:
            answer.set_result(accepted)


class Rejected(Exception):
    """The device answered 400: HTTP 200 with `False` [S][M]."""


def token(sid: str, role: str) -> str:
    """A bearer token shaped like a JWT [I]; opaque to everybody."""
    parts = ({"typ": "JWT", "alg": "HS256"}, {"sid": sid, "role": role}, secrets.token_hex(16))
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(Hub(arguments()).run()))
