"""Runs a program on a terminal, and types a line at its prompt: `answer.py PROMPT LINE PROGRAM ARGUMENT…`.

Prints what the terminal shows. The exit status is the program's.
"""

import contextlib
import os
import pty
import sys
import tty

prompt, line, *program = sys.argv[1:]
child, terminal = pty.fork()
if child == 0:
    # What is shown, and what a key means, is the console's decision alone.
    tty.setraw(0)
    os.execvp(program[0], program)
shown = b""
# Linux reports the end of a terminal as an error.
with contextlib.suppress(OSError):
    while prompt.encode() not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, line.encode() + b"\r")
    while True:
        shown += os.read(terminal, 1000)
_, status = os.waitpid(child, 0)
print(shown.decode(errors="replace"), flush=True)
sys.exit(os.waitstatus_to_exitcode(status))
