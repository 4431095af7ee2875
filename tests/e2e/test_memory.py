"""--memory-max: 507 at the limit, reads and deletes go on, and the process never grows much over it."""

import os

from client import MIB, chunked, refusal, request
from harness import GUARDED, SLOW, Background, Failure, check, equal, register, test, until
from node import Node

LIMIT = 64 * MIB
OVER = 1.1  # of the limit: what all of the process's memory may be


def _check_peak(node, limit=LIMIT):
    peak = node.memory("VmHWM")
    check(GUARDED or peak <= OVER * limit, f"with --memory-max {limit >> 20}M the process was {peak / MIB:.1f} MiB large")


def _put_many(connection, names, values):
    """Sets keys, pipelined; the names of those that were taken, and whether there was a 507 (which may close)."""
    sender = Background(connection.send_what_goes, b"".join(request("PUT", "/" + name, value)
                                                            for name, value in zip(names, values)))
    statuses = connection.statuses(len(names))
    check(set(statuses) <= {200, 507}, f"the statuses are {set(statuses)}")
    check(len(statuses) == len(names) or 507 in statuses, f"the connection closes after {len(statuses)} writes")
    sender.result()
    return [name for name, status in zip(names, statuses) if status == 200], 507 in statuses


def _fill(node, length, prefix="fill", batch=16, most=2_000_000):
    """Sets keys with values of this length until 507; their names."""
    names = []
    value = os.urandom(length)
    connection = node.connect()
    while len(names) < most:
        new = [f"{prefix}-{len(names) + number}" for number in range(batch)]
        taken, refused = _put_many(connection, new, [value] * batch)
        names += taken
        _check_peak(node)
        if refused:
            return names, value
    raise Failure(f"{len(names)} values of {length} bytes were taken with a limit of {LIMIT} bytes")


def _goes_on(node, names, value):
    """At the limit: reads and deletes work, and room that was made can be used again."""
    with node.connect() as connection:
        for name in names[:: max(1, len(names) // 50)]:
            check(connection.ask("GET", "/" + name).body == value, f"{name} comes back changed")
        half = names[: len(names) // 2]
        for start in range(0, len(half), 1000):
            batch = half[start:start + 1000]
            connection.send(b"".join(request("DELETE", "/" + name) for name in batch))
            equal(connection.statuses(len(batch)), [200] * len(batch), "the statuses of DELETEs at the limit")
        for name in names[: len(names) // 2: max(1, len(names) // 50)]:
            equal(connection.ask("GET", "/" + name).status, 204, f"the status of {name} after its delete")
    until(lambda: node.call("PUT", "/again", value).status == 200, 10, "writes work again after deletes")
    check(node.get("again").body == value, "the value written after deletes is changed")
    equal(node.call("GET", "/-/healthy").status, 200, "the status of /-/healthy")
    _check_peak(node)


def _full(length, batch):
    node = Node("--memory-max", "64M")
    names, value = _fill(node, length, batch=batch)
    check(len(names) * length >= LIMIT * 0.35, f"507 came after {len(names)} values of {length} bytes")
    for _ in range(3):
        refusal(node.call("PUT", "/one-more", value * 4), 507)
    equal(node.get("one-more").status, 204, "the status of a key that did not fit")
    _goes_on(node, names, value)


register("memory", "full_with_values_of_64_kib", _full, 65536, 16, alone=True)
register("memory", "full_with_values_of_1_mib", _full, MIB, 4, alone=True)
register("memory", "full_with_values_of_1000_bytes", _full, 1000, 500, alone=True)
if SLOW == 1:
    register("memory", "full_with_values_of_100_bytes", _full, 100, 2000, alone=True)


@test(alone=True)
def deletes_of_unknown_keys_leave_room_for_others():
    node = Node("--memory-max", "64M")
    names, value = _fill(node, 30000)
    with node.connect() as connection:
        statuses = {200}
        for start in range(0, 50_000, 1000):
            connection.send(b"".join(request("DELETE", f"/unknown-{start + number}") for number in range(1000)))
            statuses = set(connection.statuses(1000))
            if 507 in statuses:
                break
        check(507 in statuses, "50,000 deletes of keys that are not there are taken at the limit")
    _goes_on(node, names, value)


@test(alone=True)
def full_twice_over():
    node = Node("--memory-max", "64M")
    for turn in range(4):
        names, value = _fill(node, 30000 + 5000 * turn, prefix=f"turn-{turn}")
        check(len(names) * len(value) >= LIMIT * 0.3, f"in turn {turn} 507 came after {len(names)} values")
        with node.connect() as connection:
            for name in names:
                equal(connection.ask("DELETE", "/" + name).status, 200, "the status of a DELETE")


@test(alone=True)
def overwriting_does_not_fill():
    node = Node("--memory-max", "64M")
    values = [os.urandom(MIB), os.urandom(MIB // 2), os.urandom(100)]
    with node.connect() as connection:
        for turn in range(600):
            value = values[turn % 3]
            equal(connection.ask("PUT", f"/k{turn % 10}", value).status, 200, f"the status in turn {turn}")
    _check_peak(node)


@test(alone=True)
def value_larger_than_the_limit_is_507():
    node = Node("--memory-max", "32M")
    node.put("k", b"old")
    with node.connect() as connection:
        sender = Background(connection.send_what_goes, request("PUT", "/k", bytes(60 * MIB)))
        refusal(connection.reply(), 507)
        sender.result()
    equal(node.get("k").body, b"old", "the value afterwards")
    _check_peak(node, 32 * MIB)


@test(alone=True)
def value_of_unknown_length_needs_no_more_than_its_own_size():
    node = Node("--memory-max", "64M")
    value = os.urandom(40 * MIB)
    for _ in range(2):
        with node.connect() as connection:
            connection.send(request("PUT", "/k", None, ["Transfer-Encoding: chunked"])
                            + chunked(*(value[at:at + 100_000] for at in range(0, len(value), 100_000))))
            equal(connection.reply().status, 200, "the status of a value of 40 MiB in chunks with --memory-max 64M")
        check(node.get("k").body == value, "the value comes back changed")
        equal(node.delete("k").status, 200, "the status of its DELETE")
    _check_peak(node)


@test(alone=True)
def unfinished_bodies_count():
    node = Node("--memory-max", "64M")
    node.put("k", b"old")
    crowd = []
    senders = []
    for number in range(8):
        crowd.append(node.connect())
        data = request("PUT", f"/k{number}", None, [f"Content-Length: {16 * MIB}"]) + bytes(16 * MIB - 1)
        senders.append(Background(crowd[-1].send_what_goes, data, b"", 0, 5))
    refused = 0
    for sender in senders:
        sender.result(30)
    equal(node.get("k").body, b"old", "a value read meanwhile")
    _check_peak(node)
    for connection in crowd:
        try:
            connection.send(b"\0")
            answer = connection.reply(seconds=10)
            if answer.status != 200:
                refusal(answer, 507)
                refused += 1
        except OSError:
            refused += 1
    check(refused >= 3, f"of 8 bodies of 16 MiB at once only {refused} were refused with --memory-max 64M")
    _check_peak(node)
    for connection in crowd:
        connection.close()
    for number in range(8):
        node.delete(f"k{number}")
    until(lambda: node.call("PUT", "/after", bytes(MIB)).status == 200, 10, "writes work again")


@test(alone=True)
def left_bodies_are_given_back():
    node = Node("--memory-max", "64M")
    for _ in range(10):
        connections = [node.connect() for _ in range(2)]
        for connection in connections:
            connection.send(request("PUT", "/k", None, [f"Content-Length: {20 * MIB}"]) + bytes(19 * MIB))
        for connection in connections:
            connection.reset()
        until(lambda: node.call("PUT", "/big", bytes(20 * MIB)).status == 200, 10, "a large value fits again")
        node.delete("big")
    _check_peak(node)


@test(alone=True)
def merge_over_the_limit_is_507():
    source, node = Node(), Node("--memory-max", "64M")
    for number in range(120):
        source.put(f"k{number}", os.urandom(MIB))
    records = source.call("GET", "/-/records").body
    with node.connect() as connection:
        sender = Background(connection.send_what_goes, request("POST", "/-/merge", records))
        refusal(connection.reply(), 507)
        sender.result()
    _check_peak(node)
    present = [number for number in range(120) if node.call("HEAD", f"/k{number}").status == 200]
    for number in present[:5]:
        check(node.get(f"k{number}").body == source.get(f"k{number}").body, f"k{number} is changed")
    for number in present:
        node.delete(f"k{number}")
    until(lambda: node.call("PUT", "/after", bytes(MIB)).status == 200, 10, "writes work again")


@test(alone=True)
def waiters_and_connections_at_the_limit():
    node = Node("--memory-max", "64M")
    names, value = _fill(node, 65536)
    tag = node.get(names[0]).etag()
    with node.connect() as waiter:
        waiter.send(request("GET", "/" + names[0], None, ["Prefer: wait=30", f"If-None-Match: {tag}"]))
        waiter.silent(0.2)
        node.delete(names[0])
        equal(waiter.reply(seconds=5).status, 204, "the waiter's status")
    for target in ("/", "/-/status", "/-/metrics", "/-/digest", "/-/keys?prefix=fill-1"):
        equal(node.call("GET", target).status, 200, f"the status of {target}")
    check(len(node.call("GET", "/-/records").body) > len(value) * (len(names) - 1), "the backup is too short")
    _check_peak(node)
