"""What tests of clusters share."""

import json
import re

from harness import check, equal, until
from node import Node, free_port

AGREE_SECONDS = 15
UP_SECONDS = 10


def digest(node):
    """What it says of its whole table."""
    return node.call("GET", "/-/digest").body


def members(node):
    """Address to phase, those that are gone left out."""
    text = node.call("GET", "/-/members").body.decode()
    found = re.findall(r"^member (\S+) (\w+) ", text, re.M)
    return {address: phase for address, phase in found if phase not in ("left", "dropped")}


def number(node):
    """What it is called by the others: the number that it drew when it started."""
    return re.search(r"^member \S+ \w+ ([0-9a-f]{16}) ", node.call("GET", "/-/members").body.decode(), re.M).group(1)


def status(node):
    """/-/status."""
    return json.loads(node.call("GET", "/-/status").body)


def metric(node, name):
    """One figure of /-/metrics; 0 when it is not there."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", node.call("GET", "/-/metrics").body.decode(), re.M)
    return float(found.group(1)) if found else 0


def is_ready(node):
    """Whether it wants requests."""
    return node.call("GET", "/-/ready").status == 200


def cluster(count, *options, **more):
    """So many nodes that know each other and are ready."""
    ports = [free_port() for _ in range(count)]
    nodes = [Node("--join", f"127.0.0.1:{ports[0]}", *options, listen=f"127.0.0.1:{port}", **more) for port in ports]
    settle(nodes)
    return nodes


def settle(nodes, seconds=UP_SECONDS):
    """Waits until all are ready and know each other."""
    for node in nodes:
        until(lambda node=node: is_ready(node), seconds, f"{node.address} is ready ({node.tail()})")
        until(lambda node=node: list(members(node).values()).count("ready") == len(nodes), seconds,
              f"{node.address} knows all ({members(node)})")


def agree(nodes):
    """Waits until all have the same digests."""
    until(lambda: len({digest(node) for node in nodes}) == 1, AGREE_SECONDS, "all digests are equal")


def everywhere(nodes, key, value):
    """Waits until a key has the value on all of them."""
    for node in nodes:
        until(lambda node=node: node.get(key).body == value, AGREE_SECONDS, f"{key} is on {node.address}")


def hold(nodes, wanted):
    """Fails unless all of them agree, and each has all of these keys; None stands for one that is gone."""
    agree(nodes)
    for node in nodes:
        with node.connect() as connection:
            for key, value in wanted.items():
                reply = connection.ask("GET", f"/{key}")
                seen = None if reply.status == 204 else reply.body
                equal((reply.status, seen), (204, None) if value is None else (200, value), f"{key} on {node.address}")


def shown_as(node, other, phase, seconds=UP_SECONDS):
    """Waits until a node shows another one's address in this phase; None when it is to be gone."""
    until(lambda: members(node).get(other.address) == phase, seconds,
          f"{node.address} shows {other.address} as {phase or 'gone'} ({members(node)})")


def damage(node, records, sender):
    """Puts records into one node behind the others' backs: as if a member had sent them, so it tells nobody."""
    reply = node.call("POST", "/-/merge", records, (f"Fog-From: {sender}",))
    check(reply.status == 200, reply.line())
