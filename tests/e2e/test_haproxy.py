"""docs/haproxy.cfg: HAProxy before two front-ends, which are stopped, killed and started again under load."""

import os
import re
import shutil
import socket
import subprocess
import threading

from client import Connection, curl_code
from frontend import Frontend, clusters
from harness import Background, Skip, check, equal, scope, test, until
from load import Load
from node import free_port

CONFIGURATION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/haproxy.cfg")


class _Haproxy:
    """HAProxy with the configuration of the documents, and other addresses."""

    def __init__(self, ports):
        program = shutil.which("haproxy", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            raise Skip("no haproxy here")
        self.port = free_port()
        with open(CONFIGURATION, encoding="ascii") as file:
            text = file.read()
        text, count = re.subn(r"bind :8000", f"bind 127.0.0.1:{self.port}", text)
        equal(count, 1, "places to bind at")
        text, count = re.subn(r"10\.0\.0\.(\d):8000", lambda found: f"127.0.0.1:{ports[int(found.group(1)) - 1]}", text)
        equal(count, len(ports), "servers")
        text = text.replace("global\n", f"global\n    stats socket {self._socket()}\n").replace("maxconn 20000", "maxconn 1000")
        path = os.path.join(scope().directory(), "haproxy.cfg")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        self.log = open(os.path.join(scope().directory(), "haproxy.log"), "wb")  # pylint: disable=consider-using-with
        self.process = subprocess.Popen([program, "-db", "-f", path], stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        scope().nodes.insert(0, self)

    @staticmethod
    def _socket():
        return os.path.join(scope().directory(), "stats")

    def url(self, target):
        """For curl."""
        return f"http://127.0.0.1:{self.port}{target}"

    def states(self):
        """UP or DOWN of the servers."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stats:
            stats.connect(self._socket())
            stats.sendall(b"show stat\n")
            text = b""
            while part := stats.recv(65536):
                text += part
        return re.findall(r"^front-ends,(?:one|two),(?:[^,]*,){15}(\w+)", text.decode(), re.M)

    def kill(self):
        """For a test that takes too long."""
        self.process.kill()

    def finish(self):
        """Stops it."""
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        return []


def _once(port, number):
    """A connection for one request, as curl makes it."""
    with Connection(port) as connection:
        equal(connection.ask("PUT", f"/once-{number}", b"%d" % number).status, 200, "the status of a write")


def _kept(connection, number):
    """A step on a connection that is kept."""
    equal(connection.ask("PUT", f"/kept-{number % 40}", b"%d" % (number % 40)).status, 200, "the status of a write")
    equal(connection.ask("GET", f"/kept-{number % 40}").body, b"%d" % (number % 40), "the value")


@test(alone=True)
def a_front_end_behind_haproxy_is_stopped_killed_and_started_again():
    groups = clusters(2, 2)
    ports = [free_port(), free_port()]

    def start(which):
        return Frontend(groups, "--read-from", "home", listen=f"127.0.0.1:{ports[which]}")

    front_ends = [start(0), start(1)]
    haproxy = _Haproxy(ports)
    until(lambda: curl_code(haproxy.url("/-/ready"), seconds=2) == 200, 10, "HAProxy passes requests on")
    until(lambda: haproxy.states() == ["UP", "UP"], 10, "both are up")
    over, made = threading.Event(), []

    def strangers(client):
        number = client
        while not over.is_set():
            _once(haproxy.port, number)
            number += 10
        made.append(number)

    with Load(haproxy.port, _kept) as load:
        others = [Background(strangers, client) for client in range(2)]
        load.pause(0.3)
        for which, end in ((0, "terminate"), (1, "terminate"), (0, "kill"), (1, "kill")):
            getattr(front_ends[which], end)()
            until(lambda which=which: haproxy.states()[which] == "DOWN", 5, "HAProxy knows that it is down")
            load.pause(0.3)
            front_ends[which] = start(which)
            until(lambda: haproxy.states() == ["UP", "UP"], 5, "both are up again")
            load.pause(0.3)
        over.set()
        for other in others:
            other.result()
    check(min(made) > 100, f"connections with one request each: {made}")
