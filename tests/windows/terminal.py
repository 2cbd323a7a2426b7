"""Runs the caller on a terminal, types Ctrl-C in the middle of a session, and goes on: `terminal.py PROGRAM ARGUMENT…`.

The ProxyCommand's target echoes. The exit status is the caller's.
"""

import fcntl
import os
import pty
import subprocess
import sys
import termios

terminal, console = pty.openpty()


def take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(console, termios.TIOCSCTTY, 0)


caller = subprocess.Popen(
    sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=console, preexec_fn=take_terminal
)
os.close(console)


def echo(text: bytes) -> None:
    caller.stdin.write(text)
    caller.stdin.flush()
    echoed = caller.stdout.read(len(text))
    assert echoed == text, f"{echoed[:100]!r}, and not {text[:100]!r}"


echo(b"before")
os.write(terminal, b"\x03")
said = b""
while b"caller.exe: Ctrl-C" not in said:
    said += os.read(terminal, 1000)
for _ in range(1000):
    echo(b"after")
caller.stdin.close()
sys.exit(caller.wait())
