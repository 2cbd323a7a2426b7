"""What these tests need before they start: tools, iotstream itself, and the right to make networks."""

import argparse
import os
import shutil
import signal
import subprocess
import sys

from parties import BINARY, ROOT


def build() -> None:
    """Makes a release build, unless IOTSTREAM_BIN names a program."""
    if "IOTSTREAM_BIN" not in os.environ:
        command = ["cargo", "build", "--release", "--locked", "--bin", "iotstream"]
        subprocess.run(command, cwd=ROOT, check=True)


def prepare(parser: argparse.ArgumentParser) -> None:
    """Makes a build. Starts this script again, in namespaces of its own, if the user is not root."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if not shutil.which("ip"):
        parser.error("ip is missing: .ci/setup installs it")
    build()
    if os.geteuid() != 0:
        os.environ["IOTSTREAM_BIN"] = str(BINARY)
        os.execvp("unshare", ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(1))
