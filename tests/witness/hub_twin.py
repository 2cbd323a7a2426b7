"""A device's twin over MQTT and REST, its reported properties at least (identity-and-host-keys, section 6)."""

import datetime
import json
import re
import sys
from typing import Any

ANSWERS = "$iothub/twin/res/#"  # [D]
GET = re.compile(r"\$iothub/twin/GET/\?\$rid=([^&/+#]+)")  # [D]
REPORT = re.compile(r"\$iothub/twin/PATCH/properties/reported/\?\$rid=([^&/+#]+)")  # [D]
READ = re.compile(r"/twins/([^/?]+)(?:/modules/([^/?]+))?\?([^?]*)")  # [D]
LONGEST, LONGEST_KEY, LONGEST_STRING, DEEPEST = 32_768, 1024, 4096, 10  # [D]
FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f.$# ]")  # in a key [D]; '#' by the service [I]


class Misuse(Exception):
    """A request that the service would answer with 400."""


def merge(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def check(value: Any, depth: int = 0) -> None:
    """The limits of reported properties [D]."""
    match value:
        case dict():
            if depth >= DEEPEST:
                raise Misuse(f"reported properties are more than {DEEPEST} objects deep [D]")
            for key, inner in value.items():
                if not key or len(key.encode()) > LONGEST_KEY or FORBIDDEN.search(key):
                    raise Misuse(f"the reported property {key!r} has no valid name [D]")
                check(inner, depth + 1)
        case list():
            raise Misuse("a reported property is an array, which older api-versions drop [I]")
        case str() if len(value.encode()) > LONGEST_STRING:
            raise Misuse(f"a reported string has {len(value.encode())} bytes [D]")


def metadata(value: Any, now: str) -> Any:
    """When each value was written: here, all of them at the same time [D]."""
    inner = {key: metadata(inner, now) for key, inner in value.items()} if isinstance(value, dict) else {}
    return {"$lastUpdated": now, **inner}


class Twin:
    """The reported properties of one identity, each version of which is shown on stderr."""

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.reported: dict[str, Any] = {}
        self.version = 1

    def get(self) -> bytes:
        """The payload of the answer to a GET [D]."""
        twin = {"desired": {"$version": 1}, "reported": {**self.reported, "$version": self.version}}
        return json.dumps(twin).encode()

    def describe(self) -> bytes:
        """The payload of the answer to a service [D]."""
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.0000000Z")
        device, _, module = self.identity.partition("/")
        reported = {**self.reported, "$metadata": metadata(self.reported, now), "$version": self.version}
        desired = {"$metadata": {"$lastUpdated": now}, "$version": 1}
        twin = {"deviceId": device, "moduleId": module} if module else {"deviceId": device}
        twin |= {"etag": "AAAAAAAAAAE=", "version": self.version, "status": "enabled", "tags": {}}
        twin |= {"connectionState": "Connected", "lastActivityTime": now}
        return json.dumps({**twin, "properties": {"desired": desired, "reported": reported}}).encode()

    def report(self, payload: bytes) -> int:
        """Merge a report, and give the new version."""
        try:
            patch = json.loads(payload)
        except ValueError as error:
            raise Misuse(f"a report is not JSON: {error} [D]") from None
        if not isinstance(patch, dict) or not patch:
            raise Misuse(f"a report is {payload!r}, and changes nothing [D]")
        check(patch)
        merged = merge(self.reported, patch)
        if merged == self.reported:
            raise Misuse("a report changes nothing, and is metered all the same [D]")
        if len(json.dumps(merged, ensure_ascii=False).encode()) > LONGEST:
            raise Misuse(f"the reported properties have more than {LONGEST} bytes [D]")
        self.reported, self.version = merged, self.version + 1
        print(f"{self.identity} reports {json.dumps(merged)}", file=sys.stderr, flush=True)
        return self.version
