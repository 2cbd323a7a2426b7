"""The far end of the measurements: one server for every peer, and a way to it that takes time."""

import queue
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BINARY = ROOT / "target/release/iotstream"


@dataclass
class Far:
    """The server, and what clients need to reach it."""

    directory: Path
    ports: dict[str, str] = field(default_factory=dict)

    def start(self) -> subprocess.Popen:
        server = ROOT / "target/release/examples/bench-server"
        process = subprocess.Popen(
            [server, self.directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.ports = dict(pair.split("=") for pair in process.stdout.readline().split())
        return process

    def profiles(self, port: str, backend: str) -> Path:
        """A profile file for the service on `port`."""
        path = self.directory / f"profiles-{backend}-{port}.toml"
        path.touch(0o600)
        service = {"iothub": f"HostName=localhost:{port}", "relay": f"Endpoint=sb://localhost:{port}/"}[
            backend
        ]
        path.write_text(
            'default = "bench"\n[profile.bench]\n'
            f'connection-string = "{service};SharedAccessKeyName=s;SharedAccessKey=c2VjcmV0"\n'
            'ca-file = "ca.pem"\n'
        )
        return path


class Distance:
    """A way to `port` of this machine on which a round trip takes `delay` seconds, that of connecting included."""

    def __init__(self, port: int, delay: float) -> None:
        self.delay = delay
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            # The kernel has accepted at once: what a SYN and its answer would have taken is made up for here.
            begin = time.monotonic() + self.delay
            far = socket.create_connection(("127.0.0.1", self.target))
            for source, sink in ((near, far), (far, near)):
                for end in (source, sink):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                way: queue.Queue[tuple[float, bytes]] = queue.Queue()
                threading.Thread(target=self.take, args=(source, way, begin), daemon=True).start()
                threading.Thread(target=self.give, args=(sink, way), daemon=True).start()

    def take(self, source: socket.socket, way: queue.Queue, begin: float) -> None:
        data = b"x"
        while data:
            try:
                data = source.recv(65536)
            except OSError:
                data = b""
            way.put((max(time.monotonic(), begin) + self.delay / 2, data))

    def give(self, sink: socket.socket, way: queue.Queue) -> None:
        while True:
            due, data = way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self.listener.close()
