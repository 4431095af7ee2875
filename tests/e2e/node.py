"""A real node: started on a free port, watched, and stopped."""

import contextlib
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time

from client import Connection, request
from harness import BINARY, SLOW, Failure, brief, check, equal, scope, until

SOON = 2  # seconds within which what shall happen at once must have happened
START_SECONDS = 10
STOP_SECONDS = 15
stopping = threading.Event()
_SANITIZER = re.compile(r"(Sanitizer|runtime error:|Assertion .* failed)")
_ADDRESS = re.compile(r'\baddress="?(?:\[[0-9a-fA-F:.]+\]|[0-9.]+):([1-9]\d*)')
_FOREIGN = ("VELOUR_FOG", "LISTEN_", "NOTIFY_", "WATCHDOG_", "JOURNAL_", "INVOCATION_")


def environment(extra=None):
    """This process's environment without what would change a node, and with what the test gives."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    kept.update(extra or {})
    return kept


class Node:
    """One process. Options given are added to `--listen 127.0.0.1:0`, unless `listen` says otherwise."""

    command = ()  # the word before the options
    holds_values = True

    def __init__(self, *options, listen="127.0.0.1:0", env=None, prefix=(), pass_fds=(), port=None, journal=False,
                 close_stderr=False):
        self.lines = []
        self._changed = threading.Condition()
        self._killed = False
        self._done = False
        self._log_ended = False
        self.port = port
        self.host = "127.0.0.1"
        check(not stopping.is_set(), "the run is being stopped")
        arguments = [*prefix, BINARY, *self.command]
        if listen:
            arguments += ["--listen", listen]
        arguments += options
        reading, writing = os.pipe()
        extra = dict(env or {})
        if journal:
            about = os.fstat(writing)
            extra["JOURNAL_STREAM"] = f"{about.st_dev}:{about.st_ino}"
        try:
            self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                            stderr=writing, env=environment(extra), pass_fds=pass_fds)
        except OSError as error:
            os.close(reading)
            raise Failure(f"can't start {BINARY}: {error.strerror}") from error
        finally:
            os.close(writing)
        scope().nodes.append(self)
        if close_stderr:
            self._read_until_address(reading)
            os.close(reading)
            return
        self._reader = threading.Thread(target=self._follow, args=(reading,), daemon=True)
        self._reader.start()
        if port is None:
            self._wait_address()

    def _follow(self, reading):
        with os.fdopen(reading, "rb") as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode("utf-8", "backslashreplace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._log_ended = True
            self._changed.notify_all()

    def _read_all(self):
        if hasattr(self, "_reader"):
            self._reader.join(5 * SLOW)

    def _read_until_address(self, reading):
        seen = b""
        while True:
            part = os.read(reading, 4096)
            check(part, f"the node ended at its start: {seen!r}")
            seen += part
            found = _ADDRESS.search(seen.decode("utf-8", "replace"))
            if found:
                self.port = int(found.group(1))
                return

    def _wait_address(self):
        line = self.wait_log(_ADDRESS, START_SECONDS, "a log line with address=ADDR:PORT")
        self.port = int(_ADDRESS.search(line).group(1))

    def wait_log(self, pattern, seconds, what):
        """The first line of the log that the pattern is found in."""
        pattern = re.compile(pattern)
        end = time.monotonic() + seconds * SLOW
        at = 0
        with self._changed:
            while True:
                for line in self.lines[at:]:
                    if pattern.search(line):
                        return line
                at = len(self.lines)
                left = end - time.monotonic()
                if left <= 0 or self._log_ended:
                    break
                self._changed.wait(left)
        raise Failure(f"no {what} on stderr, but {self.tail()}")

    def count_log(self, pattern):
        """How many lines of the log the pattern is found in, so far."""
        pattern = re.compile(pattern)
        with self._changed:
            return sum(1 for line in self.lines if pattern.search(line))

    def tail(self, count=5):
        """The last lines of the log, for messages."""
        return brief(" | ".join(self.lines[-count:]) or "nothing", 600)

    # --- talking to it

    @property
    def address(self):
        """As other nodes name it."""
        return f"{self.host}:{self.port}"

    def url(self, target="/", host=None):
        """For curl."""
        return f"http://{host or self.host}:{self.port}{target}"

    def connect(self, **options):
        """A connection of its own."""
        return Connection(self.port, host=self.host, **options)

    def call(self, method, target, body=None, headers=(), seconds=20):
        """One request on a new connection."""
        with self.connect() as connection:
            connection.send_what_goes(request(method, target, body, headers))  # it may be refused in the middle
            return connection.reply(method, seconds=seconds)

    def put(self, key, value, *headers):
        """Sets a key that must be taken."""
        reply = self.call("PUT", "/" + key, value, headers)
        check(reply.status == 200, f"PUT /{brief(key, 60)} gives {reply.line()}")
        return reply

    def get(self, key, *headers):
        """The answer to a GET."""
        return self.call("GET", "/" + key, None, headers)

    def delete(self, key):
        """Deletes a key."""
        reply = self.call("DELETE", "/" + key)
        check(reply.status == 200, f"DELETE /{brief(key, 60)} gives {reply.line()}")
        return reply

    # --- looking at it

    def alive(self):
        """Whether it runs."""
        return self.process.poll() is None

    def _kernel_counts(self, field):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
        raise Failure(f"no {field} in /proc/PID/status")

    def memory(self, field="VmRSS"):
        """Bytes of it, from the kernel; VmHWM is the highest that VmRSS ever was."""
        return self._kernel_counts(field) * 1024

    def preemptions(self):
        """How often others had the processor while it had work left."""
        return self._kernel_counts("nonvoluntary_ctxt_switches")

    def descriptors(self):
        """How many file descriptors it has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        """CPU time that it has used."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # --- ending it

    def signal(self, number):
        """Sends it a signal."""
        self.process.send_signal(number)

    def wait(self, seconds):
        """Its exit code, once it has ended and its log has been read."""
        until(lambda: self.process.poll() is not None, seconds, f"the node ends ({self.tail(2)})")
        self._read_all()
        return self.process.returncode

    def terminate(self, seconds=STOP_SECONDS):
        """SIGTERM, and its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        """SIGKILL: for tests that mean it, and for what does not end."""
        self._killed = True
        if self.alive():
            self.process.kill()

    def finish(self):
        """Stops it if it runs, and returns what is not as it should be."""
        if self._done:
            return []
        self._done = True
        problems = []
        if self.alive() and not self._killed:
            self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS * SLOW)
        except subprocess.TimeoutExpired:
            problems.append(f"the node does not end in {STOP_SECONDS * SLOW} s after SIGTERM ({self.tail(2)})")
            self.kill()
            code = self.process.wait()
        self._read_all()
        if code != 0 and not self._killed:
            problems.append(f"the node ended with {code} ({self.tail()})")
        bad = [line for line in self.lines if _SANITIZER.search(line)]
        if bad:
            problems.append(f"on stderr: {brief(' | '.join(bad[:3]), 500)}")
        return problems


def stopped(node, seconds, least=0.0):
    """Waits for the end after a signal that was sent just now; it must be a good one."""
    started = time.monotonic()
    equal(node.wait(seconds), 0, "the exit code")
    passed = time.monotonic() - started
    check(least <= passed <= seconds * SLOW, f"the node ended after {passed:.2f} s")


def refuses_quickly(node):
    """Whether nobody listens on the node's port."""
    try:
        socket.create_connection(("127.0.0.1", node.port), 1).close()
        return False
    except OSError:
        return True


_FIRST_PORT, _LAST_PORT = 12000, 32000  # below those that the kernel gives to connections, which could be in the way
_ports = itertools.count(random.randrange(_LAST_PORT - _FIRST_PORT))


def free_port():
    """A port that was free just now, and that no other test gets: for a node that is started there more than once."""
    for _ in range(100):
        port = _FIRST_PORT + next(_ports) % (_LAST_PORT - _FIRST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise Failure("no port is free")


def run_binary(*arguments, env=None, seconds=10):
    """Runs the binary to its end; for what ends by itself."""
    try:
        return subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              env=environment(env), timeout=seconds * SLOW)
    except OSError as error:
        raise Failure(f"can't start {BINARY}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Failure(f"{' '.join(arguments)} does not end, stderr {error.stderr!r}") from error
