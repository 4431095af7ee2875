"""The clients: raw HTTP on connections that live as long as they can, each request and its answer told to the history."""

import collections
import random
import socket
import struct
import threading
import time

from fleet import PARTITIONS
from history import body_of
from netns import PORT

FRONTEND_SECONDS = 8  # how long a client waits for an answer
NODE_SECONDS = 3
WAIT_SECONDS = 5  # of who waits for a change
PROBE_SECONDS = 10
HOT_KEYS = 20
_DEFINITE = {400, 403, 405, 412, 413, 414, 421, 431, 501, 505, 507}  # was not carried out
_HEARD_SECONDS = 2  # within which who waits must have heard of a change


class Wire:
    """One connection, made in this thread's network namespace."""

    def __init__(self, address, seconds):
        self.socket = socket.create_connection((address, PORT), seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # What is given up is not sent by the kernel some seconds later, when the cable is back.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.buffer = b""

    def _more(self):
        part = self.socket.recv(1 << 18)
        if not part:
            raise ConnectionError("closed")
        self.buffer += part

    def send(self, method, name, headers="", body=None):
        """A request."""
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        self.socket.sendall(f"{method} /{name} HTTP/1.1\r\nHost: soak\r\n{headers}{length}\r\n".encode() + (body or b""))

    def answer(self, method):
        """(status, headers by their small names, body)."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self._more()
        lines = self.buffer[:end].decode("latin-1").split("\r\n")
        self.buffer = self.buffer[end + 4:]
        status = int(lines[0].split(" ", 2)[1])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(headers.get("content-length", 0)) if method != "HEAD" and status not in (204, 304) else 0
        while len(self.buffer) < size:
            self._more()
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return status, headers, body

    def ask(self, method, name, headers="", body=None):
        """Both."""
        self.send(method, name, headers, body)
        return self.answer(method)

    def close(self):
        """Ends it."""
        self.socket.close()


def version_of(headers):
    """Fog-Version, or None."""
    return int(headers["fog-version"]) if "fog-version" in headers else None


class Gate:
    """Clients go through it for each request; closing it waits for those that are inside."""

    def __init__(self):
        self._condition = threading.Condition()
        self._open = True
        self._inside = 0
        self.over = threading.Event()

    def enter(self):
        """Waits until it is open; false when all is over."""
        with self._condition:
            self._condition.wait_for(lambda: self._open or self.over.is_set())
            self._inside += not self.over.is_set()
            return not self.over.is_set()

    def leave(self):
        """The request is answered."""
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def close(self, seconds):
        """Nobody is inside when it returns. False when somebody still is after that time."""
        with self._condition:
            self._open = False
            return self._condition.wait_for(lambda: self._inside == 0, seconds)

    def open(self):
        """Lets all in again."""
        with self._condition:
            self._open = True
            self._condition.notify_all()

    def end(self):
        """Nobody comes in any more."""
        with self._condition:
            self.over.set()
            self._condition.notify_all()


class Tally:
    """What clients met since it was last taken."""

    def __init__(self):
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self._times = collections.defaultdict(list)

    def count(self, what):
        """One of those."""
        with self._lock:
            self._counts[what] += 1

    def time(self, what, seconds):
        """How long one took."""
        with self._lock:
            self._times[what].append(seconds)

    def take(self):
        """Counts, and of times how many, median, 99 % and the longest, in ms."""
        with self._lock:
            counts, times = self._counts, self._times
            self._counts, self._times = collections.Counter(), collections.defaultdict(list)
        taken = dict(counts)
        for what, values in times.items():
            values.sort()
            taken[what] = {"count": len(values), "p50": round(values[len(values) // 2] * 1e3, 3),
                           "p99": round(values[min(len(values) - 1, int(len(values) * 0.99))] * 1e3, 3), "max": round(values[-1] * 1e3, 3)}
        return taken


class Client(threading.Thread):
    """What all clients share: a connection that is made anew when it fails, and a seed."""

    def __init__(self, soak, seed):
        super().__init__(daemon=True)
        self.soak = soak
        self.random = random.Random(seed)
        self.wire = None
        self.since = {}  # key to the version that this connection has seen

    def drop(self):
        """Closes its connection."""
        if self.wire:
            self.wire.close()
        self.wire = None
        self.since = {}

    def read(self, method, name, headers, who, session):
        """A GET or HEAD, checked. Returns its status, Fog-Version and ETag."""
        history = self.soak.history
        floor = history.floor(name)
        begun = time.time()
        status, fields, body = self.wire.ask(method, name, headers)
        version = version_of(fields)
        if status in (200, 204) and method == "GET":
            history.read(name, floor, (status, version, body), who, self.since.get(name, 0) if session else 0)
            self.note(name, version)
        elif status == 304:
            heard = time.time() - _HEARD_SECONDS
            calm = self.soak.troubles.calm(name, begun)
            history.unchanged(name, floor, version, who, heard if calm and heard > begun else None)
        return status, version, fields.get("etag")

    def note(self, name, version):
        """This connection has seen that version."""
        if version is not None:
            self.since[name] = max(version, self.since.get(name, 0))

    def write(self, name, via, size):
        """A PUT or DELETE of some kind. Returns its status, and whether it waited for copies; raises when nobody knows what became of it."""
        draw = self.random.random()
        delete = draw < 0.2
        ttl = self.random.randint(2, 40) if 0.2 <= draw < 0.3 and size < 1000 else 0
        wanted = 2 if self.random.random() < 0.2 else 1
        headers = (f"Fog-TTL: {ttl}\r\n" if ttl else "") + ("Prefer: copies=2, wait=2\r\n" if wanted > 1 else "")
        write = self.soak.history.begin(name, via, delete, ttl, wanted, size > 64 << 10 and not delete)
        try:
            body = None if delete else body_of(name, write.number, size)
            status, fields, _ = self.wire.ask("DELETE" if delete else "PUT", name, headers, body)
        except (OSError, ValueError):
            self.soak.history.failed(write, False)
            raise
        if status in (200, 202):
            held = 2 if wanted > 1 and status == 200 else 1
            self.soak.history.done(write, version_of(fields), held)
            self.note(name, write.version)
        else:
            self.soak.history.failed(write, status in _DEFINITE)
        return status, wanted > 1

    def step(self):
        """One request."""
        raise NotImplementedError

    def loop(self, interval):
        """Requests at this interval, as long as they can be kept up with."""
        due = time.monotonic() + self.random.random() * interval
        while True:
            time.sleep(max(0.0, due - time.monotonic()))
            due = max(due + interval, time.monotonic() - 0.1)
            if not self.soak.gate.enter():
                break
            try:
                self.step()
            except Exception as error:  # pylint: disable=broad-except
                self.soak.problem("harness", f"{type(self).__name__}: {type(error).__name__}: {error}")
                time.sleep(1)
            finally:
                self.soak.gate.leave()
        self.drop()


class ThroughFrontend(Client):
    """Reads and writes all keys through one front-end, and through the other one when that fails."""

    def __init__(self, soak, number, rate):
        super().__init__(soak, f"{soak.seed} client {number}")
        self.at = number
        self.rate = rate

    def run(self):
        with self.soak.fleet.client_space.inside():
            self.loop(1 / self.rate)

    def choose(self):
        """The key of the next request, whether it has a large value, and how large one is."""
        draw = self.random.random()
        if draw < 0.005:
            name = self.random.choice(self.soak.large)
            return name, True, self.random.choice((100 << 10, 300 << 10))
        if draw < 0.1:
            return self.random.choice(self.soak.names[:HOT_KEYS]), False, self.random.randint(80, 400)
        return self.random.choice(self.soak.names), False, self.random.randint(80, 900)

    def step(self):
        frontend = self.soak.fleet.frontends[self.at % len(self.soak.fleet.frontends)]
        name, large, size = self.choose()
        begun = time.time()
        try:
            if self.wire is None:
                self.wire = Wire(frontend.address, FRONTEND_SECONDS)
            draw = self.random.random()
            if draw < 0.6:
                status, copies = self.read("GET", name, "", frontend.name, False)[0], False
            elif draw < 0.62:
                status, copies = self.read("HEAD", name, "", frontend.name, False)[0], False
            else:
                status, copies = self.write(name, "frontend", size)
        except (OSError, ValueError) as error:
            self.fail(frontend, name, large, begun, f"{type(error).__name__} {error}")
            return
        self.soak.tally.time("large" if large else "copies" if copies else "frontend", time.time() - begun)
        self.soak.tally.count("requests")
        if status >= 500:
            self.fail(frontend, name, large, begun, str(status))
        elif status >= 400:
            self.soak.problem("refused", f"{name} through {frontend.name}: {status}")
        elif self.random.random() < 0.001:
            self.drop()

    def fail(self, frontend, name, large, begun, what):
        """An error, for which there may be a reason. It goes on with the other front-end."""
        self.drop()
        self.at += 1
        why = self.soak.troubles.why_error(frontend, name, large, begun)
        self.soak.tally.count("errors with a reason" if why else "errors")
        self.soak.error(frontend.name, name, begun, what, why)


class OnNode(Client):
    """Reads and writes through one node, from its own machine: so it goes on while its cable is pulled."""

    def __init__(self, soak, server, partition, rate):
        super().__init__(soak, f"{soak.seed} on {server.name}")
        self.server = server
        self.partition = partition
        self.rate = rate

    def run(self):
        with self.server.space.inside():
            self.loop(1 / self.rate)

    def step(self):
        if not self.server.alive():
            self.drop()
            return
        names = self.soak.of_partition[self.partition]
        name = self.random.choice(names[:HOT_KEYS // PARTITIONS]) if self.random.random() < 0.2 else self.random.choice(names)
        begun = time.time()
        try:
            if self.wire is None:
                self.wire = Wire(self.server.address, NODE_SECONDS)
            if self.random.random() < 0.5:
                status, copies = self.read("GET", name, "", self.server.name, True)[0], False
            else:
                status, copies = self.write(name, self.server.name, self.random.randint(80, 900))
        except (OSError, ValueError):
            self.drop()
            self.soak.tally.count("failures at nodes")
            self.soak.pause(0.2)
            return
        self.soak.tally.count("requests at nodes")
        if not copies:
            self.soak.tally.time("node", time.time() - begun)
        if status >= 400 and status != 503:
            self.soak.problem("refused", f"{name} at {self.server.name}: {status}")


class Watcher(Client):
    """Waits for changes of hot keys through a front-end. It only reads, so it goes on while the gate is closed."""

    def __init__(self, soak, number):
        super().__init__(soak, f"{soak.seed} watcher {number}")
        self.at = number

    def run(self):
        with self.soak.fleet.client_space.inside():
            while not self.soak.gate.over.is_set():
                frontend = self.soak.fleet.frontends[self.at % len(self.soak.fleet.frontends)]
                try:
                    self.follow(frontend)
                except (OSError, ValueError):
                    self.soak.tally.count("waits that broke off")
                    self.at += 1
                    self.soak.pause(0.3)
                self.drop()

    def follow(self, frontend):
        """Some changes of one key."""
        self.wire = Wire(frontend.address, WAIT_SECONDS + FRONTEND_SECONDS)
        name = self.random.choice(self.soak.names[:HOT_KEYS])
        tag = '"absent"'
        for _ in range(self.random.randint(2, 12)):
            begun = time.time()
            headers = f"Prefer: wait={WAIT_SECONDS}\r\nIf-None-Match: {tag}\r\n"
            status, _, tag = self.read("GET", name, headers, f"{frontend.name}, waiting", False)
            took = time.time() - begun
            if took > WAIT_SECONDS + 2 and self.soak.troubles.calm(name, begun):
                self.soak.problem("late-wait", f"{name} through {frontend.name}: {status} after {took:.1f} s")
            self.soak.tally.count(f"waits answered with {status}")
            if status >= 400:
                self.soak.pause(0.1)
            if status >= 400 or tag is None or self.soak.gate.over.is_set():
                return


class Prober(Client):
    """Reads from a node that has just been started, as soon as it listens and until it is ready: what it has not yet it must not deny."""

    def __init__(self, soak, server, partition):
        super().__init__(soak, f"{soak.seed} {server.name} {time.time()}")
        self.server = server
        self.partition = partition

    def run(self):
        end = time.monotonic() + PROBE_SECONDS
        with self.server.space.inside():
            while time.monotonic() < end and not self.soak.gate.over.is_set():
                try:
                    if self.wire is None:
                        self.wire = Wire(self.server.address, NODE_SECONDS)
                    ready = self.wire.ask("GET", "-/ready")[0] == 200
                    self.look()
                    if ready:
                        break
                    time.sleep(0.01)
                except (OSError, ValueError):
                    self.drop()
                    time.sleep(0.002)
        self.drop()

    def look(self):
        """Some keys."""
        names = self.random.sample(self.soak.of_partition[self.partition], 40)
        floors = [self.soak.history.floor(name) for name in names]
        for name in names:
            self.wire.send("GET", name)
        for name, floor in zip(names, floors):
            status, fields, body = self.wire.answer("GET")
            self.soak.tally.count(f"probes answered with {status}")
            if status in (200, 204):
                self.soak.history.read(name, floor, (status, version_of(fields), body), f"{self.server.name}, just started")
