"""Clients that work all the time, and what they saw."""

import threading
import time

from client import Connection
from harness import Background, brief, check


class Load:
    """Threads of clients, each with a connection of its own. One step of a client is one request and its answer: `step` gets the
    connection and a number, and raises for what must not be. Ends with the block, and then must have seen no error."""

    def __init__(self, port, step, clients=4):
        self.errors = []
        self.steps = 0
        self.longest = 0.0
        self._port = port
        self._step = step
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._clients = clients
        self._threads = []

    def _run(self, client):
        number = client
        try:
            with Connection(self._port) as connection:
                while not self._over.is_set():
                    started = time.monotonic()
                    self._step(connection, number)
                    passed = time.monotonic() - started
                    number += self._clients
                    with self._lock:
                        self.steps += 1
                        self.longest = max(self.longest, passed)
        except BaseException as error:  # pylint: disable=broad-except
            with self._lock:
                self.errors.append(f"after {self.steps} steps: {type(error).__name__}: {brief(str(error))}")

    def __enter__(self):
        self._threads = [Background(self._run, client) for client in range(self._clients)]
        return self

    def __exit__(self, kind, error, trace):
        self._over.set()
        for thread in self._threads:
            thread.result()
        if kind is None:
            check(not self.errors, "; ".join(self.errors[:3]))
            check(self.steps > 10 * self._clients, f"only {self.steps} steps were made")

    def pause(self, seconds):
        """Lets it work for a while; fails at the first error."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)
            check(not self.errors, "; ".join(self.errors[:3]))
