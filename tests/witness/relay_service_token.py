"""What the service knows of tokens and rules (section 2.2)."""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

PREFIX = "SharedAccessSignature "


@dataclass(frozen=True)
class Rule:
    """A key with rights, on the whole namespace or on one entity."""

    key: str
    rights: frozenset[str]
    entity: str | None = None


class Wrong(Exception):
    """An answer other than 101. To a token: 401 if it is bad, 403 if it is not for this path or action [P]."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status, self.text = status, text


def signature(resource: str, expiry: str, key: str) -> str:
    """HMAC-SHA256 with the key's text, not what it decodes to [D][J][N]; over `sr` as it was received."""
    return base64.b64encode(
        hmac.digest(key.encode(), f"{resource}\n{expiry}".encode(), hashlib.sha256)
    ).decode()


def expiry_of(token: str) -> float:
    return float(fields_of(token)["se"])


def fields_of(token: str) -> dict[str, str]:
    if not token.startswith(PREFIX):
        raise Wrong(401, "The token is malformed")
    pairs = [field.partition("=") for field in token.removeprefix(PREFIX).split("&")]
    fields = {name: value for name, _, value in pairs}
    if set(fields) != {"sr", "sig", "se", "skn"} or len(fields) != len(pairs) or not fields["se"].isdecimal():
        raise Wrong(401, "The token is malformed")
    return fields


def verify(token: str, rules: dict[str, Rule], path: str, right: str, skew: float) -> None:
    """Raise Wrong unless the token gives the right on the path, which is decoded and includes a suffix."""
    fields = fields_of(token)
    rule = rules.get(unquote(fields["skn"]))
    if rule is None or not hmac.compare_digest(
        unquote(fields["sig"]), signature(fields["sr"], fields["se"], rule.key)
    ):
        raise Wrong(401, f"The token has an invalid signature for {path}")
    if float(fields["se"]) + skew < time.time():
        raise Wrong(401, "The token has expired")
    # Scheme, port, case and a slash at the end do not count; a token covers what is below its URI [~].
    signed = [part for part in unquote(urlsplit(unquote(fields["sr"])).path).lower().split("/") if part]
    wanted = path.lower().split("/")
    if signed != wanted[: len(signed)]:
        raise Wrong(403, f"The token is not valid for {path}")
    if right not in rule.rights or rule.entity not in (None, *prefixes(path)):
        raise Wrong(403, f"The token has no right to {right} on {path}")


def prefixes(path: str) -> list[str]:
    """The path itself and every path above it, by whole segments."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
