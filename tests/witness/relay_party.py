"""What a sender and a listener of Azure Relay do alike: read a connection string, mint a token, dial, report.

Used by relay_sender.py and relay_listener.py; relay_service.py does not import it. The marks are those of the protocol
document: [P] specification, [D] .NET client, [C] the same when it ran, [N] Node, [J] Java, [Ppy] Python sample,
[A] aztunnel, [B] azbridge, [Y] another Python client, [T] what clients send to a stand-in, [~] inferred.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import os
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit

KEYS = {"endpoint", "entitypath", "sharedaccesskeyname", "sharedaccesskey", "sharedaccesssignature"}
HEADER = "ServiceBusAuthorization"


class Violation(Exception):
    """The other side broke a rule of the protocol document."""


def require(rule: object, text: str) -> None:
    if not rule:
        raise Violation(text)


def report(event: str, **details: object) -> None:
    """One line of JSON on stderr; stdout carries the bytes of a stream only."""
    print(json.dumps({"event": event, **details}), file=sys.stderr, flush=True)


def report_violation(text: object) -> None:
    print(f"violation: {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Credential:
    """A connection string [B][D]: pairs split at ';' without the empty ones, then at the first '='."""

    host: str
    port: int
    entity: str | None
    rule: str | None
    key: str | None
    signature: str | None

    @classmethod
    def read(cls, path: Path) -> "Credential":
        return cls.parse(path.read_text().strip())

    @classmethod
    def parse(cls, text: str) -> "Credential":
        pairs = [part.split("=", 1) for part in text.split(";") if part]
        values = {name.lower(): value for name, value in pairs}
        require(len(values) == len(pairs), "a key came twice")
        require(set(values) <= KEYS, f"unknown keys among {sorted(values)} [D]")
        endpoint = urlsplit(values["endpoint"])
        require(endpoint.scheme == "sb", f"the endpoint is {values['endpoint']!r} [D]")
        return cls(
            host=endpoint.hostname,
            port=endpoint.port or 443,
            entity=values.get("entitypath"),
            rule=values.get("sharedaccesskeyname"),
            key=values.get("sharedaccesskey"),
            signature=values.get("sharedaccesssignature"),
        )


# The URI that each client signs (section 2.2), from the host, the port and the entity's path.
AUDIENCES: dict[str, Callable[[str, int, str], str]] = {
    "dotnet": lambda host, _, path: f"http://{host}/{path}/",  # [D]
    "documented": lambda host, _, path: f"http://{host}/{path}",  # [Ppy]
    "aztunnel": lambda host, _, path: f"https://{host}/{path}".lower(),  # [A]
    "lower": lambda host, _, path: f"http://{host}/{path}".lower(),  # [Y]
    "node": lambda host, port, path: f"http://{host}:{port}/{path}",  # [T]
    "java": lambda host, _, path: f"sb://{host}/{path}",  # [T]
    "java-namespace": lambda host, _, path: f"sb://{host}",  # [T]
    "namespace": lambda host, _, path: f"http://{host}/",  # [D]
}


def escape(text: str, lower: bool = False) -> str:
    """Percent-encode; .NET's documentation shows lower-case escapes, the other clients write upper-case [D]."""
    escaped = quote(text, safe="")
    if not lower:
        return escaped
    parts = escaped.split("%")
    return "%".join([parts[0], *(part[:2].lower() + part[2:] for part in parts[1:])])


def sign(resource: str, expiry: str, key: str) -> str:
    """HMAC-SHA256 with the key's text over the encoded resource, one LF and the expiry [D][J][N][Ppy]."""
    return base64.b64encode(
        hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    ).decode()


def sas(
    audience: str, rule: str, key: str, expiry: int, *, lower: bool = False, order: str = "sr sig se skn"
) -> str:
    """A token; the documentation shows more than one order of its fields [P]."""
    resource = escape(audience, lower)
    fields = {
        "sr": resource,
        "sig": escape(sign(resource, str(expiry), key), lower),
        "se": str(expiry),
        "skn": escape(rule, lower),
    }
    return "SharedAccessSignature " + "&".join(f"{name}={fields[name]}" for name in order.split())


def trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that both ends have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--connection-string-file", type=Path, required=True)
    parser.add_argument("--ca-file", type=Path, required=True)
    parser.add_argument("--entity", help="where the connection string has no EntityPath")
    parser.add_argument("--id", help="sb-hc-id")
    parser.add_argument("--token-in", choices=["header", "query", "nowhere"], default="header")
    parser.add_argument("--audience", choices=AUDIENCES, default="dotnet")
    parser.add_argument("--lower-escapes", action="store_true", help="%%3a and not %%3A [D]")
    parser.add_argument("--token-order", default="sr sig se skn")
    parser.add_argument("--token-life", type=float, default=3600, metavar="SECONDS")
    parser.add_argument("--kind", choices=["dotnet", "ws"], default="dotnet", help="how a stream is closed")
    parser.add_argument("--preamble", metavar="PORT-NAME", help="azbridge's [B]")
    parser.add_argument("--sink", default="hash", help="hash | echo | stdout | tcp:PORT: where bytes go")
    parser.add_argument("--do", default="end shutdown", metavar="STEPS", help="see relay_steps.py")
    return parser


class Party:
    """Where the service is, and what this end shows it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.credential = Credential.read(options.connection_string_file)
        self.entity: str = options.entity or self.credential.entity
        require(self.entity, "no entity is named")
        self.tls = trusting(options.ca_file)

    def token(self, suffix: str = "") -> str:
        if self.credential.signature:
            return self.credential.signature
        path = f"{self.entity}/{suffix}" if suffix else self.entity
        audience = AUDIENCES[self.options.audience](self.credential.host, self.credential.port, path)
        return sas(
            audience,
            self.credential.rule,
            self.credential.key,
            int(time.time() + self.options.token_life),
            lower=self.options.lower_escapes,
            order=self.options.token_order,
        )

    def request(
        self, action: str | None, suffix: str = "", query: str = ""
    ) -> tuple[str, list[tuple[str, str]]]:
        """The URL and the headers of `listen` or `connect`; an absent action means connect [D]."""
        path = quote(self.entity, safe="/") + (f"/{suffix}" if suffix else "")
        pairs = [query] if query else []
        headers = [("Relay-User-Agent", "iotstream-witness/1")]
        if action:
            pairs.append(f"sb-hc-action={action}")
        if self.options.id:
            pairs.append(f"sb-hc-id={self.options.id}")
        if self.options.token_in == "query":
            pairs.append(f"sb-hc-token={quote_plus(self.token(suffix))}")  # '+' is a space [C]
        elif self.options.token_in == "header":
            headers.append((HEADER, self.token(suffix)))
        url = f"wss://{self.credential.host}:{self.credential.port}/$hc/{path}"
        return url + ("?" + "&".join(pairs) if pairs else ""), headers


def run(main: Callable[[], "asyncio.Future[int]"]) -> int:
    """The exit status of an end: 1 after a violation."""
    try:
        status = asyncio.run(main())
    except (Violation, OSError, KeyError, ValueError, TimeoutError) as error:
        report_violation(repr(error))
        status = 1
    sys.stderr.flush()
    os._exit(status)  # a thread may still sit in read(0), which nothing can cancel
