"""What members of a cluster tell each other: copies, restores, deletes."""

import signal
import time

from client import MIB, request
from cluster import UP_SECONDS, agree, cluster, damage, digest, everywhere, metric, number, settle
from harness import SLOW, Background, check, equal, test, until
from node import Node, stopped


# --- copies

@test
def copies_are_counted():
    nodes = cluster(3)
    reply = nodes[0].call("PUT", "/a", b"1", ("Prefer: copies=all",))
    equal((reply.status, reply.header("fog-copies")), (200, "3/3"), "all copies")
    for node in nodes:
        equal(node.get("a").body, b"1", "the value, with no wait")
    reply = nodes[1].call("DELETE", "/a", None, ("Prefer: copies=2",))
    check(reply.status == 200 and reply.header("fog-copies") in ("2/3", "3/3"), reply.line())
    reply = nodes[1].call("PUT", "/b", b"x" * 100000, ("Prefer: copies=3",))
    equal((reply.status, reply.header("fog-copies")), (200, "3/3"), "of a large value")
    check(nodes[0].put("c", b"1").header("fog-copies") is None, "nobody asked")


@test
def first_of_two_numbers_of_copies_counts():
    node = Node()
    for prefer, status in (("copies=1, copies=2, wait=0", 200), ("copies=2, copies=1, wait=0", 202),
                           ("copies=all, copies=2, wait=0", 200), ("copies=2, copies=all, wait=0", 202),
                           ("copies=4294967295, wait=0", 202), ("copies=4294967296, wait=0", 202)):
        equal(node.call("PUT", "/a", b"1", (f"Prefer: {prefer}",)).status, status, prefer)


@test
def missing_copies_are_told():
    nodes = cluster(2)
    nodes[1].kill()
    nodes[1].process.wait()
    reply = nodes[0].call("PUT", "/a", b"1", ("Prefer: copies=all, wait=1",))
    equal((reply.status, reply.header("fog-copies")), (202, "1/2"), "a member is missing")
    equal(nodes[0].get("a").body, b"1", "it is written all the same")


@test
def copies_wait_as_long_as_they_may():
    nodes = cluster(3)
    nodes[2].kill()
    nodes[2].process.wait()
    reply = nodes[0].call("PUT", "/a", b"1", ("Prefer: copies=2",))
    equal((reply.status, reply.header("fog-copies")), (200, "2/3"), "two of three, one of them down")
    for prefer, seconds, method in (("copies=all, wait=1", 1, "PUT"), ("copies=9, wait=1", 1, "PUT"), ("copies=3", 5, "POST"),
                                    ("wait=1, copies=all", 1, "DELETE")):
        begun = time.monotonic()
        reply = nodes[0].call(method, "/b", None if method == "DELETE" else b"2", (f"Prefer: {prefer}",))
        took = time.monotonic() - begun
        equal((reply.status, reply.header("fog-copies")), (202, "2/3"), prefer)
        check(seconds * 0.9 <= took < (seconds + 2) * SLOW, f"{prefer} took {took:.2f} s")
    equal(nodes[1].get("b").status, 204, "the delete, which is everywhere all the same")
    until(lambda: nodes[0].call("DELETE", f"/-/members/{nodes[2].address}").status == 200, UP_SECONDS, "it is dropped")
    reply = nodes[0].call("PUT", "/a", b"3", ("Prefer: copies=all",))
    equal((reply.status, reply.header("fog-copies")), (200, "2/2"), "all that are left")


@test
def copies_that_come_late_are_counted():
    nodes = cluster(2)
    nodes[1].signal(signal.SIGSTOP)
    try:
        writer = Background(lambda: nodes[0].call("PUT", "/a", b"1", ("Prefer: copies=2, wait=20",)))
        time.sleep(0.5)
    finally:
        nodes[1].signal(signal.SIGCONT)
    reply = writer.result()
    equal((reply.status, reply.header("fog-copies")), (200, "2/2"), "a member that was slow")


@test
def copies_of_who_was_killed_since_do_not_count():
    nodes = cluster(3)
    nodes[2].signal(signal.SIGSTOP)
    try:
        writer = Background(lambda: nodes[0].call("PUT", "/a", b"1", ("Prefer: copies=3, wait=4",)))
        until(lambda: nodes[1].get("a").status == 200, UP_SECONDS, "the second one has it")
        nodes[1].kill()
        nodes[1].process.wait()
        time.sleep(0.5)
    finally:
        nodes[2].signal(signal.SIGCONT)
    reply = writer.result()
    equal((reply.status, reply.header("fog-copies")), (202, "2/3"), "two are left that have it")


@test
def copies_of_a_write_that_is_tried_again_are_counted():
    nodes = cluster(3)
    first = nodes[0].put("a", b"first").fog_version()
    begun = time.monotonic()
    for node, key, version, value in ((nodes[0], "a", first, b"first"), (nodes[1], "a", first - 1, b"older"),
                                      (nodes[2], "b", first, b"new"), (nodes[2], "b", first, b"new")):
        reply = node.call("PUT", f"/{key}", value, (f"Fog-Version: {version}", "Prefer: copies=all"))
        equal((reply.status, reply.header("fog-copies"), reply.fog_version()), (200, "3/3", version), f"{value} for {key}")
    check(time.monotonic() - begun < 4 * SLOW, "the copies come at once")
    reply = nodes[1].call("DELETE", "/b", None, (f"Fog-Version: {first}", "Prefer: copies=all"))
    equal((reply.status, reply.header("fog-copies")), (200, "3/3"), "a delete")
    for node in nodes:
        equal(node.get("a").body, b"first", "the value")
        equal(node.get("b").status, 204, "the delete of the same version")
    agree(nodes)


# --- a member that is too small

@test(alone=True)
def a_small_member_hears_of_deletes_of_what_it_had_no_room_for():
    large = Node()
    small = Node("--memory-max", "64M", "--join", large.address)
    nodes = [large, small]
    settle(nodes)
    big = [f"big-{number}-{'x' * 200}" for number in range(80)]

    def ask_all(method, names, value, batch):
        with large.connect() as connection:
            for start in range(0, len(names), batch):
                part = names[start:start + batch]
                connection.send(b"".join(request(method, "/" + name, value) for name in part))
                equal(set(connection.statuses(len(part))), {200}, f"the statuses of {method}s")

    ask_all("PUT", big, bytes(MIB), 1)
    ask_all("DELETE", [f"unknown-{number}" for number in range(30_000)], None, 100)
    until(lambda: metric(large, "velour_fog_pushed_records_total") >= 30_000, 20, "all deletes are told")
    kept = [name for name in big if small.call("HEAD", "/" + name).status == 200]
    check(0 < len(kept) < len(big), f"{len(kept)} large values are on the small member")
    ask_all("DELETE", big, None, 1)
    until(lambda: metric(small, "velour_fog_keys") == 0, 5, "the small member hears of deletes of what it has")
    until(lambda: len({digest(node) for node in nodes}) == 1, 30, f"both hold the same ({small.tail()})")


@test
def a_member_that_is_too_small_stops_without_waiting_for_what_it_has_no_room_for():
    large = Node()
    small = Node("--memory-max", "16M", "--join", large.address)
    settle([large, small])
    for number in range(64):
        large.put(f"big-{number}", bytes(256 << 10))
    small.wait_log("event=repair-full", 20, "word that it is too small")
    small.put("mine", b"one")
    small.signal(signal.SIGTERM)
    stopped(small, 4)
    equal(small.count_log("event=drain-time-over"), 0, "the complaints that something is lost")
    equal(large.get("mine").body, b"one", "what the small member was told last")


# --- restoring

@test
def a_restore_reaches_all_nodes():
    old = Node()
    for number in range(50):
        old.put(f"r{number}", b"%d" % number)
    backup = old.call("GET", "/-/records").body
    nodes = cluster(2)
    equal(nodes[0].call("POST", "/-/merge", backup).status, 200, "the restore")
    agree(nodes)
    equal(nodes[1].get("r49").body, b"49", "a restored value on the other node")
    equal(metric(nodes[0], "velour_fog_pushed_records_total"), 50, "records that were told at once")


@test
def what_comes_from_a_member_is_not_told_on():
    nodes, donor = cluster(2), Node()
    donor.put("a", b"1")
    damage(nodes[0], donor.call("GET", "/-/records").body, number(nodes[1]))
    agree(nodes)
    equal(nodes[1].get("a").body, b"1", "what repair has found")
    equal([metric(node, "velour_fog_pushed_records_total") for node in nodes], [0, 0], "records that were told at once")


@test
def a_member_may_send_what_is_larger_than_a_client_may():
    nodes, donor = cluster(2, "--value-max", "1000"), Node()
    donor.put("a", b"x" * 1001)
    records = donor.call("GET", "/-/records").body
    equal(nodes[0].call("POST", "/-/merge", records).status, 400, "a client's")
    equal(nodes[0].get("a").status, 204, "the value")
    damage(nodes[0], records, number(nodes[1]))
    equal(len(nodes[0].get("a").body), 1001, "the value")


@test
def a_member_sends_so_many_records_at_once_and_no_more():
    nodes, donor = cluster(2), Node()
    most = 8192
    with donor.connect() as connection:
        connection.send(b"".join(request("PUT", f"/{at}", b"x") for at in range(most)))
        equal(set(connection.statuses(most)), {200}, "the statuses")
    whole = donor.call("GET", "/-/records").body
    donor.put("more", b"x")
    sender = (f"Fog-From: {number(nodes[1])}",)
    reply = nodes[0].call("POST", "/-/merge", donor.call("GET", "/-/records").body, sender)
    check(reply.status == 400 and b"more records at once" in reply.body, reply.line())
    equal(metric(nodes[0], "velour_fog_keys"), 0, "keys")
    damage(nodes[0], whole, number(nodes[1]))
    equal(metric(nodes[0], "velour_fog_keys"), most, "keys")


@test
def a_delete_wins_over_an_older_backup():
    nodes = cluster(2)
    nodes[0].put("gone", b"1")
    backup = nodes[0].call("GET", "/-/records").body
    nodes[1].delete("gone")
    agree(nodes)
    nodes[0].call("POST", "/-/merge", backup)
    agree(nodes)
    for node in nodes:
        equal(node.get("gone").status, 204, "the deleted key")


@test
def a_write_that_is_tried_again_does_not_win_over_a_later_one():
    node = Node()
    first = node.put("a", b"first").fog_version()
    node.put("a", b"second")
    reply = node.call("PUT", "/a", b"first", (f"Fog-Version: {first}",))
    equal((reply.status, reply.fog_version()), (200, first), "the second try")
    equal(node.get("a").body, b"second", "the value")
    equal(node.call("PUT", "/a", b"x", ("Fog-Version: x",)).status, 400, "a version that is none")


@test
def a_waiter_hears_of_a_write_on_another_node():
    nodes = cluster(2)
    nodes[0].put("w", b"old")
    everywhere(nodes, "w", b"old")
    tag = nodes[1].get("w").etag()
    waiter = Background(lambda: nodes[1].get("w", f"If-None-Match: {tag}", "Prefer: wait=10"))
    nodes[0].put("w", b"new")
    equal(waiter.result().body, b"new", "what the waiter gets")
