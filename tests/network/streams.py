"""Streams that carry a sequence each way, and know of each byte whether it arrived."""

import random
import signal
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from flows import BLOCK, MIB
from parties import Helper, Site

SEQUENCE = random.Random(2).randbytes(MIB)
SEQUENCE += SEQUENCE[:BLOCK]
# What a command target runs: its first line names the agent that serves the stream.
COMMAND = ["sh", "-c", "echo $PPID; exec cat"]
HEADER = 16
# TCP doubles the time between retransmissions, so that what an outage delays takes a multiple of it.
HANGS = 200.0
# A stream that was cut, or the network: trying again may help.
TEMPORARY = 75


@dataclass(frozen=True)
class Plan:
    """What a stream carries. Without a size, it carries blocks until it is told to end."""

    stream: str
    up: int | None
    down: int | None
    block: int = BLOCK
    pause: float = 0.0
    # The target answers after the end of the user's bytes.
    is_late: bool = False


@dataclass
class Direction:
    start: int
    sent: int = 0
    received: int = 0
    wrong_at: int | None = None
    # The sender has sent everything and ended.
    is_over: bool = False
    # The receiver has seen an ordinary end.
    is_whole: bool = False

    def next(self, size: int) -> bytes:
        at = (self.start + self.sent) % MIB
        return SEQUENCE[at : at + size]

    def take(self, data: bytes) -> None:
        at = (self.start + self.received) % MIB
        if self.wrong_at is None and SEQUENCE[at : at + len(data)] != data:
            self.wrong_at = self.received
        self.received += len(data)

    @property
    def missing(self) -> int:
        return self.sent - self.received

    def is_complete(self) -> bool:
        return self.is_over and self.is_whole and self.missing == 0


class Stream:
    """A stream from a user to a device, with both its ends."""

    def __init__(self, number: int, plan: Plan) -> None:
        self.number, self.plan = number, plan
        self.up = Direction(number * 7919)
        # A command is an echo.
        self.down = Direction(number * (7919 if self.is_command else 7907))
        self.over, self.finished = threading.Event(), threading.Event()
        # Who was killed under this stream.
        self.hits: set[str] = set()
        self.begun, self.served_at = time.monotonic(), None
        # Of a command, the agent; of a connection, its port on the agent's side.
        self.agent_pid = self.agent_port = None
        self.target_ended, self.is_reset = threading.Event(), False
        self.user_reads, self.target_reads = threading.Event(), threading.Event()
        self.user_reads.set()
        self.target_reads.set()
        self.last, self.last_at = None, self.begun

    @property
    def is_command(self) -> bool:
        return self.plan.stream == "command"

    def start(self, site: Site, *options: str) -> None:
        self.helper: Helper = site.helper(*options, stream=self.plan.stream)
        threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._finish)]
        for thread in threads:
            thread.start()

    def _send(self) -> None:
        with suppress(OSError, ValueError):
            if not self.is_command:
                self.helper.send(b"%015d\n" % self.number)
            self._give(self.up, self.plan.up, self.helper.send)
            # The helper may end before this thread runs again.
            self.up.is_over = True
            self.helper.process.stdin.close()

    def _give(self, way: Direction, size: int | None, send: object) -> None:
        while way.sent < size if size is not None else not self.over.is_set():
            block = way.next(self.plan.block if size is None else min(self.plan.block, size - way.sent))
            send(block)
            way.sent += len(block)
            if self.plan.pause:
                self.over.wait(self.plan.pause)

    def _finish(self) -> None:
        """Reads what comes back, and waits for all ends."""
        if self.is_command:
            line = self.helper.process.stdout.readline()
            if line.endswith(b"\n"):
                self.agent_pid, self.served_at = int(line), time.monotonic()
        while True:
            self.user_reads.wait()
            block = self.helper.output(BLOCK)
            if not block:
                break
            self.down.take(block)
        self.down.is_whole = True
        self.helper.process.wait()
        if self.is_command:
            # The echo shows what arrived.
            self.up.received, self.up.is_whole = self.down.received, True
            self.down.sent, self.down.is_over = self.up.sent, True
        elif self.served_at is not None:
            self.target_ended.wait()
        self.finished.set()

    def serve(self, connection: socket.socket, port: int) -> None:
        """The target's end."""
        self.agent_port, self.served_at = port, time.monotonic()
        answer = threading.Thread(target=self._answer, args=(connection,), daemon=True)
        if not self.plan.is_late:
            answer.start()
        with suppress(OSError):
            while True:
                self.target_reads.wait()
                block = connection.recv(BLOCK)
                if not block:
                    self.up.is_whole = True
                    break
                self.up.take(block)
        if not self.up.is_whole:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        elif self.plan.is_late:
            answer.start()
        if answer.ident is not None:
            answer.join()
        if self.is_reset:
            self.up.is_whole = False
        if self.up.is_whole:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        self.target_ended.set()

    def _answer(self, connection: socket.socket) -> None:
        try:
            self._give(self.down, self.plan.down, connection.sendall)
            self.down.is_over = True
        except OSError:
            # The kernel tells of a reset once: the reader may see an ordinary end.
            self.is_reset = True

    def is_open(self) -> bool:
        return self.served_at is not None and not self.finished.is_set()

    def hangs(self) -> bool:
        """Whether something is due that has not come for a long time."""
        state = (self.up.sent, self.up.received, self.down.sent, self.down.received, self.served_at)
        is_due = (
            self.hits
            or self.served_at is None
            or self.up.is_over
            or self.up.missing
            or (self.down.missing and not self.is_command)
        )
        is_paused = not (self.user_reads.is_set() and self.target_reads.is_set())
        now = time.monotonic()
        if state != self.last or is_paused or not is_due:
            self.last, self.last_at = state, now
        return now - self.last_at > HANGS

    def verdict(self) -> str | None:
        """What is wrong with a stream that has ended. That a kill has ended it is not."""
        status = self.helper.process.returncode
        for way in (self.up, self.down):
            if way.wrong_at is not None:
                return f"other bytes than were sent, from {way.wrong_at}"
        if status == 0:
            is_complete = self.served_at is not None and self.up.is_complete() and self.down.is_complete()
            return None if is_complete else "ended with 0 though it is not whole"
        if not self.hits:
            return f"ended with {status}"
        expected = {-signal.SIGKILL if hit == "helper" else TEMPORARY for hit in self.hits}
        if self.served_at is not None and status not in expected:
            return f"ended with {status}, not with {expected}"
        if "agent" not in self.hits and self.up.is_whole and self.up.missing and not self.is_command:
            return "the target took a part for the whole"
        return None

    def __str__(self) -> str:
        lived = time.monotonic() - self.begun
        served = "never" if self.served_at is None else f"{self.served_at - self.begun:.1f} s"
        return (
            f"stream {self.number} {self.plan}, begun {lived:.0f} s ago, open after {served}, "
            f"up {self.up}, down {self.down}, hits {self.hits}: {self.helper.said()} ({self.helper.log})"
        )
