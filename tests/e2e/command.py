"""What the tests of `velour-fog status`, `diff`, `backup` and `restore` share."""

import os
import pty
import re
import resource
import signal
import subprocess

from frontend import address
from harness import BINARY, SLOW, Failure, check, equal, scope, until
from node import environment, run_binary


def name(node):
    """HOST:PORT, as commands take it; a string is one already."""
    return node if isinstance(node, str) else address(node)


def run(*words, code=0, seconds=30, env=None):
    """Runs a command to its end; what it printed, and what it complained of."""
    done = run_binary(*words, seconds=seconds, env=env)
    seen = done.stdout.decode(), done.stderr.decode()
    equal(done.returncode, code, f"the exit code of {' '.join(words)} ({seen})")
    return seen


def on_terminal(*words, seconds=20, env=None):
    """Runs a command on a terminal of its own; its exit code, and all that came out."""
    reading, writing = pty.openpty()
    try:
        process = subprocess.Popen([BINARY, *words], stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
                                   env=environment(env))
    finally:
        os.close(writing)
    scope().nodes.append(Running(process))
    seen = b""
    while True:
        try:
            part = os.read(reading, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        seen += part
    os.close(reading)
    return process.wait(seconds * SLOW), seen.decode()


def rows(seen, columns):
    """What stands on a terminal of so many columns and any number of rows after all that came out. It knows what commands make use of."""
    screen, row, column, wraps = [[]], 0, 0, True
    for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|.", seen, re.DOTALL):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            screen += [[]] * (row == len(screen))
        elif part == "\x1b[K":
            del screen[row][column:]
        elif part in ("\x1b[?7h", "\x1b[?7l"):  # DECAWM
            wraps = part.endswith("h")
        elif not part.startswith("\x1b"):
            if column == columns and wraps:
                row, column = row + 1, 0
                screen += [[]] * (row == len(screen))
            column = min(column, columns - 1)
            screen[row] = screen[row][:column] + [part] + screen[row][column + 1:]
            column += 1
    return ["".join(line) for line in screen]


class Running:
    """A command that runs; it ends with the test, or before."""

    def __init__(self, process):
        self.process = process

    def kill(self):
        """SIGKILL; it holds no lock any more afterwards."""
        self.process.kill()
        self.process.wait()

    def finish(self):
        """As of a node."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        return []


def start(*words, **rest):
    """Starts a command."""
    process = subprocess.Popen([BINARY, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, env=environment(), **rest)
    running = Running(process)
    scope().nodes.insert(0, running)
    return running


def watches_signals(running):
    """Whether SIGTERM is blocked there, so that it is read in its turn."""
    with open(f"/proc/{running.process.pid}/status", encoding="ascii") as file:
        blocked = re.search(r"^SigBlk:\s*([0-9a-f]+)$", file.read(), re.M)
    return int(blocked.group(1), 16) >> (signal.SIGTERM - 1) & 1


def end(running, seconds=20):
    """Waits for its end: its exit code, and what it said."""
    try:
        said, _ = running.process.communicate(timeout=seconds * SLOW)
    except subprocess.TimeoutExpired as error:
        raise Failure("the command does not end") from error
    return running.process.returncode, said.decode()


def size(path):
    """Bytes of a file; 0 when there is none."""
    try:
        return os.path.getsize(path)
    except FileNotFoundError:
        return 0


def file_limit(limit):
    """For start: no file may grow beyond so many bytes, as on a full disk."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return limited


def files_limit(limit):
    """For start: so many files may be open at a time."""

    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    return limited


def peak(running):
    """The most memory that it has had so far; 0 when it has ended."""
    try:
        with open(f"/proc/{running.process.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def watch_memory(running, limit, seconds=40):
    """Waits for its end while it stays below so much memory; ASan's own apart."""
    seen = [0]

    def ended():
        seen[0] = max(seen[0], peak(running))
        return running.process.poll() is not None

    until(ended, seconds, "the command ends")
    check(SLOW > 1 or 0 < seen[0] < limit, f"it took {seen[0] >> 20} MiB")
