"""A site of the soak: an emulator, an agent that restarts under systemd's rules, and all of its streams."""

import itertools
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import resources
from expect import Failure, until
from flows import MIB
from parties import Site, Target
from splice import Splice
from streams import COMMAND, HEADER, Plan, Stream

PROFILES = {"iothub": "emulator", "relay": "relay"}
# The agent reaches the hub's own ports through these, so that its connection can be cut and its streams go on.
MQTT_SPLICE, RELAY_SPLICE = 8884, 8444
# An agent comes back in this time: after a fight for its identity, which three cuts look like, it waits for a minute.
RECOVERY = 120.0
TOKEN_LIFE = 8
LONG = 5


class Station(Site):
    """Its backends are `iothub`, `relay` or both. `fail` is told what went wrong."""

    def __init__(self, directory: Path, backends: list[str], seed: str, fail: Callable[[str], None]) -> None:
        self.name, self.backends, self.fail = directory.name, backends, fail
        self.seed, self.dice = seed, random.Random(f"{seed} streams")
        self.numbers = itertools.count(1)
        self.live: dict[int, Stream] = {}
        self.counts: Counter[str] = Counter()
        self.transport, self.token_life, self.is_over = "mqtt", TOKEN_LIFE, threading.Event()
        # The last time at which opening a stream may have failed for a fault, and whether a fault lasts.
        self.troubled_at, self.is_troubled = 0.0, False
        self.memory: dict[str, list[int]] = {}
        directory.mkdir()
        super().__init__(directory, self._attend)

    def begin(self, serve: Callable[[socket.socket], None], _settings: str) -> None:
        self.lay_legs()
        hub = self.networks[1]
        self.start_emulator()
        self.profiles = self.copy("profiles.toml", self.user_leg)
        self.credentials = {
            "iothub": self.copy("devices/dev-1.conn", self.device_leg),
            "relay": self.copy("relay/dev-1.listen.conn", self.device_leg, RELAY_SPLICE),
        }
        self.splices = [Splice(hub, MQTT_SPLICE, 8883), Splice(hub, RELAY_SPLICE, 8443)]
        self.target = Target(self.networks[2], serve)
        self.write_settings()
        self.start_restartable()

    def start_emulator(self) -> None:
        options = ["--device", "dev-1", "--relay-entity", "dev-1", "--inject", "relay-skew=0s"]
        self.start_hub(*options)

    def write_settings(self) -> None:
        lines = [f'connection-string-file = "{self.credentials[self.backends[0]]}"']
        if self.backends[0] == "iothub":
            lines += [f'transport = "{self.transport}"', f"mqtt-port = {MQTT_SPLICE}"]
        lines += [
            f"token-life = {self.token_life}",
            'keepalive = "5s"',
            f'control = "{self.directory}/control.sock"',
            f'metrics = "{self.directory}/metrics.prom"',
        ]
        if len(self.backends) > 1:
            lines += ["[relay]", f'connection-string-file = "{self.credentials["relay"]}"']
        lines += ["[[target]]", f'stream = "{self.STREAM}"', f'connect = "127.0.0.1:{self.target.port}"']
        lines += ["[[target]]", 'stream = "command"', f"command = {COMMAND}"]
        self.configure("\n".join(lines) + "\n")

    def start_restartable(self) -> None:
        self.start_agent("--restartable", "-v")

    # Streams.

    def _attend(self, connection: socket.socket) -> None:
        header = b""
        while len(header) < HEADER:
            more = connection.recv(HEADER - len(header))
            if not more:
                return
            header += more
        stream = self.live.get(int(header))
        if stream is not None:
            stream.serve(connection, connection.getpeername()[1])

    def open(self, plan: Plan, *options: str) -> Stream:
        number = next(self.numbers)
        stream = self.live[number] = Stream(number, plan)
        profile = PROFILES[self.backends[number % len(self.backends)]]
        stream.start(self, "--profile", profile, "--wait", "60s", *options)
        threading.Thread(target=self._close, args=(stream,), daemon=True).start()
        return stream

    def _close(self, stream: Stream) -> None:
        stream.finished.wait()
        problem, counts = stream.verdict(), self.counts
        counts["streams"] += 1
        counts["bytes"] += stream.up.received + stream.down.received
        if stream.hits:
            counts["cut"] += stream.helper.process.returncode != 0
            counts["cut bytes"] += stream.up.missing + stream.down.missing
        elif problem and stream.served_at is None and self.may_fail_to_open(stream):
            counts["refused"] += 1
            with (self.directory / "not-opened").open("a") as file:
                print(time.strftime("%T"), stream, file=file)
            problem = None
        if problem:
            counts["lost bytes"] += max(0, stream.up.missing) + max(0, stream.down.missing)
            self.fail(f"{self.name}: {problem}: {stream}")
        else:
            stream.helper.log.unlink(missing_ok=True)
        del self.live[stream.number]
        with suppress(ValueError):
            self.processes.remove(stream.helper.process)

    def may_fail_to_open(self, stream: Stream) -> bool:
        return self.is_troubled or stream.begun < self.troubled_at

    def any_plan(self) -> Plan:
        """Of a stream in the flow of new ones."""
        dice = self.dice
        size = [0 if dice.random() < 0.1 else int(2 ** dice.uniform(0, 24)) for _ in range(2)]
        if dice.random() < 0.05:
            size[dice.randrange(2)] = 64 * MIB
        if dice.random() < 0.2:
            return Plan("command", min(size[0], 4 * MIB), None)
        if dice.random() < 0.15:
            # A trickle.
            return Plan(self.STREAM, 40, 40, block=1 + dice.randrange(7), pause=dice.uniform(0.05, 1))
        return Plan(self.STREAM, *size, is_late=dice.random() < 0.2)

    def long_plan(self, number: int) -> Plan:
        block, pause = ((17, 0.3), (65536, 0.4), (1000, 0.02), (3, 45.0), (20_000, 0.2))[number % LONG]
        return Plan("command" if number % LONG == 4 else self.STREAM, None, None, block=block, pause=pause)

    def keep_opening(self) -> None:
        """Opens streams until the end: a flow of new ones, and long ones in place of those that have ended."""
        long: dict[int, tuple[Stream, float]] = {}
        while not self.is_over.wait(self.dice.expovariate(0.7)):
            self.open(self.any_plan())
            now = time.monotonic()
            for place in range(LONG):
                if place not in long or long[place][0].finished.is_set():
                    # The first ones live as long as the soak.
                    life = float("inf") if place not in long else self.dice.uniform(60, 600)
                    long[place] = (self.open(self.long_plan(place)), now + life)
                elif now > long[place][1]:
                    long[place][0].over.set()

    def end_streams(self) -> None:
        self.is_over.set()
        for stream in list(self.live.values()):
            stream.over.set()

    def probe(self) -> float:
        """Opens a stream that has to work; returns how long that took."""
        since = time.monotonic()
        while time.monotonic() - since < RECOVERY:
            stream = self.open(Plan(self.STREAM, 1000, 1000))
            stream.finished.wait(RECOVERY)
            if stream.finished.is_set() and stream.helper.process.returncode == 0:
                return time.monotonic() - since
            time.sleep(0.2)
        raise Failure(f"{self.name}: no stream opens")

    # Processes.

    def agent_child(self) -> int:
        """The process that serves streams, below the main process."""
        until(lambda: resources.children(self.agent.pid), 20, "the agent has no process")
        return resources.children(self.agent.pid)[0]

    def roles(self) -> dict[str, int]:
        return {"emulator": self.hub.pid, "main process": self.agent.pid, "agent": self.agent_child()}

    def use(self) -> dict[str, resources.Use]:
        return {role: resources.use(pid) for role, pid in self.roles().items()}

    def measure(self) -> None:
        """Notes the memory of each process, unless one is being replaced."""
        with suppress(OSError, IndexError, TypeError, Failure):
            for role, now in self.use().items():
                self.memory.setdefault(role, []).append(now.resident)

    def growth(self) -> dict[str, int]:
        return {role: resources.growth(samples) for role, samples in self.memory.items()}

    def settle(self) -> None:
        """Stops the renewals: each has a second connection for a moment, and a thread for some seconds."""
        self.token_life = 3600
        self.reload()

    def reload(self) -> None:
        self.write_settings()
        self.agent.send_signal(signal.SIGHUP)

    def leaks(self, before: dict[str, resources.Use], seconds: float) -> list[str]:
        """What is still there, after all streams have ended."""

        def found() -> list[str]:
            now = self.use()
            more = [
                f"{self.name}: the {role} has {now[role].descriptors} descriptors and {now[role].threads} threads, "
                f"not {use.descriptors} and {use.threads}"
                for role, use in before.items()
                if now[role].exceeds(use)
            ]
            strangers = resources.at_home(self.directory) - set(self.roles().values())
            for pid in strangers:
                with suppress(OSError):
                    words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    more.append(f"{self.name}: process {pid} is left: {words}")
            return more

        left: list[str] = []

        def is_clean() -> bool:
            left[:] = found()
            return not left

        with suppress(Failure):
            until(is_clean, seconds, "clean")
        return left

    def close(self) -> None:
        for splice in getattr(self, "splices", []):
            splice.close()
        super().close()
