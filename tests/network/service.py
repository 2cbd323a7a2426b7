"""A service without iotstream: asks the hub for a stream and joins it later."""

import base64
import hmac
import http.client
import os
import ssl
import struct
import time
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from expect import Failure
from legs import inside
from parties import Site

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


class Service:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.trust = ssl.create_default_context(cafile=str(site.ca_file))
        fields = dict(pair.split("=", 1) for pair in site.service_string.read_text().strip().split(";"))
        host, expiry = fields["HostName"].partition(":")[0], int(time.time()) + 3600
        mac = hmac.digest(base64.b64decode(fields["SharedAccessKey"]), f"{host}\n{expiry}".encode(), "sha256")
        signature = quote(base64.b64encode(mac), safe="")
        self.authority = fields["HostName"]
        self.token = (
            f"SharedAccessSignature sr={host}&sig={signature}&se={expiry}&skn={fields['SharedAccessKeyName']}"
        )

    def dial(self, authority: str) -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection(authority, context=self.trust, timeout=30)
        with inside(self.site.user_network):
            connection.connect()
        return connection

    def ask(self) -> None:
        """Asks for a stream, which the device accepts."""
        connection = self.dial(self.authority)
        path = f"/twins/dev-1/streams/{self.site.STREAM}?api-version=2020-09-30"
        connection.request("POST", path, headers={"Authorization": self.token, "Content-Length": "0"})
        answer = connection.getresponse()
        if answer.headers["iothub-streaming-is-accepted"] != "True":
            raise Failure(f"the stream was not accepted: {answer.status} {answer.read()!r}")
        self.url, self.gateway_token = (
            answer.headers["iothub-streaming-url"],
            answer.headers["iothub-streaming-auth-token"],
        )
        connection.close()

    def join(self) -> None:
        url = urlsplit(self.url)
        connection = self.dial(url.netloc)
        self.socket = connection.sock
        self.socket.sendall(
            f"GET {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Authorization: Bearer {self.gateway_token}\r\n\r\n".encode()
        )
        self.incoming = self.socket.makefile("rb")
        status = self.incoming.readline()
        while self.incoming.readline() not in (b"\r\n", b""):
            pass
        if b" 101 " not in status:
            raise Failure(f"the gateway answered {status!r}")

    def send(self, payload: bytes, opcode: int = BINARY) -> None:
        length = len(payload)
        size = struct.pack("!B", 0x80 | length) if length < 126 else struct.pack("!BH", 0x80 | 126, length)
        # Masked with zeros.
        self.socket.sendall(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def close(self) -> None:
        """Sends Close and ends the TCP connection at once."""
        self.send(struct.pack("!H", 1000), CLOSE)
        # The connection ends with the last of the two.
        self.incoming.close()
        self.socket.close()

    def messages(self) -> Iterator[bytes]:
        """The messages up to the Close, which has to be an ordinary one."""
        while True:
            head = self.incoming.read(2)
            if len(head) < 2:
                raise Failure("the stream was cut")
            opcode, length = head[0] & 15, head[1]
            if length >= 126:
                length = int.from_bytes(self.incoming.read(2 if length == 126 else 8))
            payload = self.incoming.read(length)
            if opcode == CLOSE:
                if payload[:2] not in (b"", struct.pack("!H", 1000)):
                    raise Failure(
                        f"the gateway closed with {int.from_bytes(payload[:2])} {payload[2:].decode()}"
                    )
                return
            if opcode == PING:
                self.send(payload, PONG)
            elif opcode == BINARY:
                yield payload

    def receive(self, count: int) -> bytes:
        """At least `count` bytes."""
        received = b""
        for message in self.messages():
            received += message
            if len(received) >= count:
                return received
        raise Failure(f"the stream ended after {len(received)} of {count} bytes")
