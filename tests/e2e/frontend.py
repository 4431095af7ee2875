"""A real front-end, and what is needed to look behind it."""

import hashlib
import urllib.parse

from harness import check, scope, until
from node import Node

READY_SECONDS = 10


def partition_of(target, partitions):
    """The partition of a key as it stands in a URL, by another way than the program's."""
    key = urllib.parse.unquote_to_bytes(target)
    return int.from_bytes(hashlib.sha1(key).digest(), "big") % partitions


def key_of(partition, partitions, prefix="key"):
    """A key of that partition."""
    return next(f"{prefix}-{i}" for i in range(1000) if partition_of(f"{prefix}-{i}", partitions) == partition)


def address(node):
    """As the program takes it."""
    return f"127.0.0.1:{node.port}"


def is_ready(node):
    """Whether it says so."""
    return node.call("GET", "/-/ready").status == 200


def cluster(size, *options):
    """So many nodes that know each other and are ready."""
    nodes = [Node(*options)]
    for _ in range(size - 1):
        nodes.append(Node("--join", address(nodes[0]), *options))
    for node in nodes:
        until(lambda node=node: is_ready(node), READY_SECONDS, f"a node is ready ({node.tail()})")
        until(lambda node=node: node.call("GET", "/-/members").body.count(b" ready ") == size, READY_SECONDS,
              f"a node knows all others ({node.tail()})")
    return nodes


def clusters(count, size, *options):
    """A cluster for each partition."""
    return [cluster(size, "--partition", f"{partition}/{count}", *options) for partition in range(count)]


class Frontend(Node):
    """A front-end of these clusters: lists of nodes, or of addresses. It is ready, unless `ready` is false."""

    command = ("frontend",)
    holds_values = False

    def __init__(self, of, *options, ready=True, **rest):
        self.clusters = of
        named = [",".join(one if isinstance(one, str) else address(one) for one in members) for members in of]
        super().__init__(*(word for members in named for word in ("--cluster", members)), *options, **rest)
        # Stopped before its nodes are.
        mine = scope().nodes
        mine.remove(self)
        mine.insert(0, self)
        if ready and {"close_stderr", "port"} & set(rest):  # it has no log
            until(self._reaches_all, READY_SECONDS, "all partitions are reached")
        elif ready:
            self.await_ready()

    def _reaches_all(self):
        try:
            with self.connect(source="127.0.0.2") as connection:  # which all tests allow
                return connection.ask("GET", "/-/ready").body == b"ready\n"
        except OSError:
            return False  # it does not listen yet

    def await_ready(self):
        """Waits until it can ask all that were named."""
        for partition, members in enumerate(self.clusters):
            until(lambda partition=partition, members=members: self.count_log(
                rf"event=node-usable partition={partition} ") >= len(members), READY_SECONDS,
                f"the nodes of partition {partition} can be asked ({self.tail()})")

    def home(self, target):
        """The nodes that hold a key."""
        found = self.clusters[partition_of(target, len(self.clusters))]
        check(found, "there are no such nodes")
        return found
