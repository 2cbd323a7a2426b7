"""An sshd with keys of its own, the settings of the ssh that goes there, and waiting for a program to be ready."""

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import IO


def sshd(directory: Path, *addresses: str) -> list:
    """The command of an sshd that listens at `addresses`, whose keys are made in `directory`."""
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True)
    shutil.copy(directory / "user.pub", directory / "authorized_keys")
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    config = directory / "sshd_config"
    config.write_text(
        "".join(f"ListenAddress {address}\n" for address in addresses)
        + f"HostKey {directory}/host\nAuthorizedKeysFile {directory}/authorized_keys\n"
        "StrictModes no\nPidFile none\nUseDNS no\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    return [program, "-D", "-e", "-f", config]


def write_ssh_config(directory: Path, more: str, hosts: str) -> None:
    """Settings for every host, `more` of them, and those of `hosts`."""
    (directory / "ssh_config").write_text(
        f"Host *\n  IdentityFile {directory}/user\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n"
        f"  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n{more}{hosts}"
    )


def until(words: str, output: IO[str]) -> None:
    """Reads until a line has `words`, and then on, so that the program never waits for a reader."""
    said = []
    while words not in (line := output.readline()):
        said.append(line)
        if not line:
            raise RuntimeError(f"it ended before '{words}': {''.join(said)}")
    threading.Thread(target=lambda: all(output), daemon=True).start()
