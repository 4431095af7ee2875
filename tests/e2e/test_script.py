"""scripts/cluster: clusters on one machine, for trying things out."""

import os
import re
import signal
import socket
import subprocess

from client import curl, curl_code
from harness import BINARY, SLOW, check, equal, scope, test, until
from node import Node, environment

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../scripts/cluster")


def _free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


class _Cluster:
    """The script, with ports and a directory of its own; what it started ends with the test."""

    def __init__(self, first_of_all):
        span = range(first_of_all, 32000, 20)
        self.first = next(base for base in span if all(_free(port) for port in range(base - 2, base + 8)))
        self.directory = os.path.join(scope().directory(), "cluster")
        scope().nodes.append(self)

    def run(self, *arguments, code=0, first=None):
        """What it prints; it must end with the code."""
        env = environment({"FIRST_PORT": first or str(self.first), "DIRECTORY": self.directory, "VELOUR_FOG": BINARY})
        log = os.path.join(scope().directory(), "output")  # no pipe, which the nodes would hold open
        with open(log, "wb") as output:
            done = subprocess.run([SCRIPT, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env,
                                  check=False, timeout=40 * SLOW)
        with open(log, encoding="utf-8") as output:
            text = output.read()
        equal(done.returncode, code, f"the exit code of {' '.join(arguments)} ({text.strip()})")
        return text

    def url(self, offset, target):
        """Of the node of that number; 0 is the first front-end."""
        return f"http://127.0.0.1:{self.first + offset}{target}"

    def kill(self):
        """For a test that takes too long."""
        self.finish()

    def finish(self):
        """Stops all that it started."""
        self.run("down")
        left = [name for name in os.listdir(self.directory)] if os.path.isdir(self.directory) else []
        return [f"scripts/cluster down leaves {left}"] if left else []


def _get(cluster, offset, key):
    return curl("-s", cluster.url(offset, f"/{key}")).stdout


@test
def script_remembers_the_ports_of_its_cluster():
    """Without FIRST_PORT a node came back on another port, and served alone there."""
    cluster = _Cluster(20602)
    cluster.run("up", "2")
    another = str(cluster.first + 4)
    said = cluster.run("status", first=another)
    check(f"node 1, 127.0.0.1:{cluster.first + 1}, ready" in said and f"node 2, 127.0.0.1:{cluster.first + 2}, ready" in said, said)
    equal(curl_code("-H", "Prefer: copies=all, wait=10", "-d", "v", cluster.url(1, "/k")), 200, "the status of a write")
    cluster.run("kill", "1", first=another)
    cluster.run("start", "1", first=another)
    equal(_get(cluster, 1, "k"), b"v", "what it has when it is back")


@test
def script_knows_a_cluster_that_was_started_before_ports_were_remembered():
    cluster = _Cluster(21002)
    check(cluster.run("up", "1").startswith("1 node is ready: 127.0.0.1:"), "one node is told of as several")
    with open(os.path.join(cluster.directory, "shape"), "w", encoding="ascii") as file:
        file.write("1 1 0\n")
    said = cluster.run("status")
    check(f"node 1, 127.0.0.1:{cluster.first + 1}, ready" in said, said)


@test
def script_tells_of_a_node_that_stands_still():
    cluster = _Cluster(20902)
    cluster.run("up", "2")
    with open(os.path.join(cluster.directory, "1.pid"), encoding="ascii") as file:
        node = int(file.read())
    os.kill(node, signal.SIGSTOP)
    try:
        said = cluster.run("status")
    finally:
        os.kill(node, signal.SIGCONT)
    check(f"node 1, 127.0.0.1:{cluster.first + 1}, does not answer\n" in said, said)
    check(f"node 2, 127.0.0.1:{cluster.first + 2}, ready" in said, said)


@test
def script_refuses_what_is_no_port():
    cluster = _Cluster(20802)
    for first in ("abc", "70000", "65535", "8000x"):
        said = cluster.run("up", "1", code=1, first=first)
        check(said.startswith(f'scripts/cluster: FIRST_PORT is "{first}"'), said)
    check(not os.path.exists(cluster.directory), "nothing is begun")


@test
def script_starts_a_cluster():
    cluster = _Cluster(20002)
    said = cluster.run("up", "2")
    equal(said, f"2 nodes are ready: 127.0.0.1:{cluster.first + 1} 127.0.0.1:{cluster.first + 2}\n", "what up says")
    equal(curl_code("-d", "v", cluster.url(1, "/k")), 200, "the status of a write")
    until(lambda: _get(cluster, 2, "k") == b"v", 10, "the other node has it")
    check("already" in cluster.run("up", "2", code=1), "a second up is not refused")
    cluster.run("kill", "2")
    check("node 2, 127.0.0.1" in (said := cluster.run("status")) and "does not run" in said, said)
    cluster.run("start", "2")
    equal(_get(cluster, 2, "k"), b"v", "the value after a restart")
    cluster.run("start", "3")  # one more
    equal(_get(cluster, 3, "k"), b"v", "the value on one more node")
    cluster.run("stop", "1")
    cluster.run("down")
    equal(curl_code(cluster.url(2, "/k")), 0, "the status after down")


@test
def script_starts_partitions_and_a_front_end():
    cluster = _Cluster(24002)
    said = cluster.run("up", "2", "--partitions", "2", "--frontends", "1").splitlines()
    equal([line.split(":")[0] for line in said], ["2 nodes of partition 0 are ready", "2 nodes of partition 1 are ready",
                                                  "front-end f1 is ready"], "what up says")
    for number in range(20):
        equal(curl_code("-d", f"v{number}", cluster.url(0, f"/k{number}")), 200, "the status of a write")
    statuses = [[curl_code(cluster.url(node, f"/k{number}")) for number in range(20)] for node in (1, 3)]
    for number, pair in enumerate(zip(*statuses)):
        check(pair.count(421) == 1, f"k{number} is answered with {pair} by nodes of the two partitions")
    cluster.run("kill", "3")
    for number in range(20):
        equal(_get(cluster, 0, f"k{number}"), b"v%d" % number, f"k{number} after a kill")
    lines = cluster.run("status").splitlines()
    check(any(re.match(r"front-end f1, 127\.0\.0\.1:\d+, ready", line) for line in lines), f"status says {lines}")
    check(any(re.match(r"node 3, 127\.0\.0\.1:\d+, does not run", line) for line in lines), f"status says {lines}")
    check(any(re.match(r"node 4, 127\.0\.0\.1:\d+, partition 1, ready", line) for line in lines), f"status says {lines}")
    cluster.run("start", "3")
    cluster.run("stop", "f1")
    equal(curl_code(cluster.url(0, "/k0")), 0, "the status of a stopped front-end")
    cluster.run("start", "f1")
    equal(_get(cluster, 0, "k0"), b"v0", "the value through a restarted front-end")
    check("no node 5" in cluster.run("start", "5", code=1), "a node that there is not is started")


@test
def script_takes_nobody_else_for_its_own():
    """A node that is there already, as README has one started first, would answer for the front-end that cannot be."""
    cluster = _Cluster(28002)
    Node(listen=f"127.0.0.1:{cluster.first}")
    said = cluster.run("up", "1", "--frontends", "1", code=1)
    check(f"another program listens on 127.0.0.1:{cluster.first}" in said, said)
    check("there is no cluster" in cluster.run("status", code=1), "something was started")
