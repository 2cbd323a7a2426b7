"""A port whose connections are passed on to another, until they are cut."""

import socket
import struct
import threading
from contextlib import suppress

from flows import BLOCK
from legs import inside


class Splice:
    def __init__(self, network: int, port: int, to: int) -> None:
        self.network, self.to = network, to
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()
        with inside(network):
            self.listener = socket.create_server(("0.0.0.0", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        with (
            near,
            suppress(OSError),
            inside(self.network),
            socket.create_connection(("127.0.0.1", self.to)) as far,
        ):
            with self.lock:
                self.open |= {near, far}
            back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
            back.start()
            self._pass(near, far)
            back.join()
            with self.lock:
                self.open -= {near, far}

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(BLOCK):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def cut(self, is_reset: bool) -> None:
        """Ends every connection, with a reset or in good order."""
        with self.lock:
            for end in self.open:
                with suppress(OSError):
                    if is_reset:
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.close()
        self.cut(is_reset=True)
