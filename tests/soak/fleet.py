"""The processes: three partitions of two nodes, two front-ends, each on a machine of its own on one bridge (see tests/e2e/netns.py)."""

import concurrent.futures
import contextlib
import os
import re
import signal
import socket
import subprocess
import time

from netns import PORT, Network

PARTITIONS = 3
SLOTS = 3  # machines of a partition; two of them have a node
FRONTENDS = 2
AGREE_SECONDS_MAX = 15
STOP_SECONDS_MAX = 15
_CALL_SECONDS = 1.5


def get(space, address, target, seconds=_CALL_SECONDS):
    """One GET from a network namespace: (status, body), or (0, b"") where nobody answers."""
    try:
        with space.inside():
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with connection:
            connection.settimeout(seconds)
            connection.connect((address, PORT))
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % target.encode())
            answer = b""
            while part := connection.recv(1 << 16):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body
    except (OSError, IndexError, ValueError):
        return 0, b""


class Server:
    """A machine, and the process on it, when there is one."""

    def __init__(self, fleet, machine, name, arguments):
        self.fleet = fleet
        self.machine = machine
        self.name = name
        self.address = fleet.network.address(machine)
        self.space = fleet.network.spaces[machine]
        self.process = None
        self.started = 0.0
        self.expected_end = False
        self.stopped = False  # by SIGSTOP
        self._arguments = arguments

    def start(self):
        """Starts it; it may take a moment until it listens."""
        self.stopped = False
        self.started = time.time()
        with open(os.path.join(self.fleet.folder, self.name + ".log"), "ab") as log:
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [*self.space.entrance, self.fleet.binary, *self._arguments, "--listen", f"{self.address}:{PORT}"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, pass_fds=(self.space.fd,))
        self.expected_end = False  # from here on: until now it was that of the life before

    def alive(self):
        """Whether its process runs (or is stopped)."""
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9."""
        self.expected_end = True
        self.process.kill()
        self.process.wait()

    def goodbye(self):
        """SIGTERM. Returns None, or what is wrong with its end."""
        self.expected_end = True
        begun = time.time()
        self.process.terminate()
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"{self.name} does not end in {STOP_SECONDS_MAX} s after SIGTERM"
        return None if code == 0 else f"{self.name} ended with {code}, {time.time() - begun:.1f} s after SIGTERM"

    def stop(self):
        """SIGSTOP."""
        self.stopped = True
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """SIGCONT."""
        if self.alive():
            self.process.send_signal(signal.SIGCONT)
        self.stopped = False

    def get(self, target, seconds=_CALL_SECONDS):
        """A GET from its own machine, which takes no cable."""
        return get(self.space, self.address, target, seconds)

    def ready(self):
        """Whether it says so."""
        return self.get("/-/ready")[0] == 200

    def measure(self):
        """What the kernel and itself say of it."""
        pid = self.process.pid
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        figures = {"pid": pid, "rss": resident, "fds": len(os.listdir(f"/proc/{pid}/fd")),
                   "cpu": (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")}
        text = self.get("/-/metrics")[1].decode() if not self.stopped else ""
        for name in ("timers", "connections", "held_requests", "tombstones", "keys", "table_bytes", "table_resident_bytes", "frontend_retries_total",
                     "frontend_unanswered_total", "repairs_total", "lagged_records_total"):
            if found := re.search(rf"^velour_fog_{name} (\S+)$", text, re.M):
                figures[name] = float(found.group(1))
        return figures


class Partition:
    """Its machines, two of which have a node; what happens to them is told to `troubles`."""

    def __init__(self, fleet, number):
        self.number = number
        first = number * SLOTS
        joins = [word for slot in range(SLOTS) for word in ("--join", f"{fleet.network.address(first + slot)}:{PORT}")]
        self.slots = [Server(fleet, first + slot, f"p{number}{'abc'[slot]}",
                             ["--partition", f"{number}/{PARTITIONS}", "--grace", f"{fleet.grace}", "--memory-max", "512M", *joins])
                      for slot in range(SLOTS)]

    def running(self):
        """Those that have a process."""
        return [server for server in self.slots if server.alive()]

    def why_unsettled(self):
        """None when all that run are ready, know each other and have the same table; else what is not so."""
        running = self.running()
        digests = set()
        for server in running:
            if not server.ready():
                return f"{server.name} is not ready"
        for server in running:
            ready = re.findall(rb"^member (\S+) ready ", server.get("/-/members")[1], re.M)
            if len(ready) != len(running):
                return f"{server.name} knows {len(ready)} ready members of {len(running)}"
        for server in running:
            digests.add(server.get("/-/digest")[1])
        return None if len(digests) == 1 and b"" not in digests else "digests differ"

    def settle(self, seconds, over=None):
        """Waits for that. Returns None, or what is not so in the end; `over` ends the wait."""
        end = time.monotonic() + seconds
        while why := self.why_unsettled():
            if time.monotonic() > end or (over and over.is_set()):
                return f"partition {self.number}, after {seconds} s: {why}"
            time.sleep(0.1)
        return None


class Fleet:
    """All of it, on a network of its own."""

    def __init__(self, binary, folder, grace):
        self.binary = binary
        self.folder = folder
        self.grace = grace
        self.network = Network(PARTITIONS * SLOTS + FRONTENDS + 1)
        self.client_space = self.network.spaces[-1]
        self.partitions = [Partition(self, number) for number in range(PARTITIONS)]
        clusters = [word for partition in self.partitions for word in
                    ("--cluster", ",".join(f"{server.address}:{PORT}" for server in partition.slots))]
        self.frontends = [Server(self, PARTITIONS * SLOTS + number, f"f{number + 1}", ["frontend", *clusters])
                          for number in range(FRONTENDS)]
        self.nodes = [server for partition in self.partitions for server in partition.slots]

    def servers(self):
        """All machines."""
        return [*self.nodes, *self.frontends]

    def start(self):
        """Starts two nodes of each partition, and the front-ends."""
        for partition in self.partitions:
            for server in partition.slots[:2]:
                server.start()
        for server in self.frontends:
            server.start()

    def end(self):
        """Goodbye to all: front-ends, then one node of each partition, then the others. Returns what is wrong with their ends."""
        running = [partition.running() for partition in self.partitions]
        problems = []
        for batch in (self.frontends, [nodes[0] for nodes in running if nodes], [node for nodes in running for node in nodes[1:]]):
            batch = [server for server in batch if server.alive()]
            with concurrent.futures.ThreadPoolExecutor() as pool:
                problems += pool.map(Server.goodbye, batch)
        return [problem for problem in problems if problem]

    def abort(self):
        """Ends all at once."""
        for server in self.servers():
            if server.alive():
                with contextlib.suppress(OSError):
                    server.kill()
