"""Clusters of real nodes: joining, pushing, agreeing, leaving, and surviving each other."""

import re
import signal

from client import curl
from harness import Background, check, equal, test, until
from node import Node, free_port

AGREE_SECONDS = 15
UP_SECONDS = 10


def _digest(node):
    return node.call("GET", "/-/digest").body


def _members(node):
    """Address to phase, those that are gone left out."""
    text = node.call("GET", "/-/members").body.decode()
    found = re.findall(r"^member (\S+) (\w+) ", text, re.M)
    return {address: phase for address, phase in found if phase not in ("left", "dropped")}


def _address(node):
    return f"127.0.0.1:{node.port}"


def _is_ready(node):
    return node.call("GET", "/-/ready").status == 200


def _cluster(count, *options):
    """So many nodes that know each other and are ready."""
    nodes = [Node(*options)]
    for _ in range(count - 1):
        nodes.append(Node("--join", _address(nodes[0]), *options))
    _await(nodes)
    return nodes


def _await(nodes):
    for node in nodes:
        until(lambda node=node: _is_ready(node), UP_SECONDS, f"{_address(node)} is ready ({node.tail()})")
        until(lambda node=node: list(_members(node).values()).count("ready") == len(nodes), UP_SECONDS,
              f"{_address(node)} knows all ({_members(node)})")


def _agree(nodes):
    until(lambda: len({_digest(node) for node in nodes}) == 1, AGREE_SECONDS, "all digests are equal")


def _everywhere(nodes, key, value):
    for node in nodes:
        until(lambda node=node: node.get(key).body == value, AGREE_SECONDS, f"{key} is on {_address(node)}")


# --- joining

@test
def a_write_is_on_all_nodes():
    nodes = _cluster(3)
    for number, node in enumerate(nodes):
        node.put(f"k{number}", b"v%d" % number)
    for number in range(3):
        _everywhere(nodes, f"k{number}", b"v%d" % number)
    nodes[1].delete("k0")
    for node in nodes:
        until(lambda node=node: node.get("k0").status == 204, AGREE_SECONDS, "the delete is everywhere")
    _agree(nodes)


@test
def curl_is_told_the_same_everywhere():
    nodes = _cluster(2)
    curl("-sf", "-d", "hello", nodes[0].url("/greeting"))
    until(lambda: curl("-s", nodes[1].url("/greeting")).stdout == b"hello", AGREE_SECONDS, "curl gets it")


@test
def a_newcomer_gathers_everything():
    first = Node()
    for number in range(300):
        first.put(f"key{number}", b"x" * number)
    first.put("short", b"lived", "Fog-TTL: 1000")
    first.delete("key7")
    second = Node("--join", _address(first))
    until(lambda: _is_ready(second), UP_SECONDS, "the newcomer is ready")
    equal(second.get("key299").body, b"x" * 299, "a gathered value")
    equal(second.get("key7").status, 204, "a deleted key")
    check(int(second.get("short").header("fog-ttl")) > 900, "the TTL came along")
    _agree([first, second])


@test
def nodes_that_start_together_form_one_cluster():
    ports = [free_port() for _ in range(3)]
    joins = [option for port in ports for option in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    _await(nodes)
    nodes[2].put("a", b"1")
    _everywhere(nodes, "a", b"1")


@test
def dead_and_own_and_named_addresses_are_joined():
    first = Node()
    port = free_port()
    second = Node("--join", f"127.0.0.1:{free_port()}", "--join", f"127.0.0.1:{port}",
                  "--join", f"localhost:{first.port}", listen=f"127.0.0.1:{port}")
    _await([first, second])


@test
def who_finds_nobody_serves_alone():
    node = Node("--join", f"127.0.0.1:{free_port()}")
    until(lambda: _is_ready(node), UP_SECONDS, "it is ready alone")
    equal(node.get("nothing").status, 204, "a missing key")


@test
def a_node_that_joins_nobody_there_yet_joins_later():
    port = free_port()
    first = Node("--join", f"127.0.0.1:{port}")
    until(lambda: _is_ready(first), UP_SECONDS, "it is ready alone")
    first.put("a", b"early")
    second = Node(listen=f"127.0.0.1:{port}")
    second.put("b", b"other")
    _everywhere([first, second], "a", b"early")
    _everywhere([first, second], "b", b"other")
    _agree([first, second])


# --- dying and coming back

@test
def a_killed_node_comes_back_with_everything():
    nodes = _cluster(3)
    nodes[0].put("before", b"1")
    _everywhere(nodes, "before", b"1")
    nodes[2].kill()
    nodes[2].process.wait()
    nodes[1].put("meanwhile", b"2")
    until(lambda: _members(nodes[0])[_address(nodes[2])] == "down", UP_SECONDS, "it is shown down")
    again = Node("--join", _address(nodes[1]), listen=f"127.0.0.1:{nodes[2].port}")
    nodes[2] = again
    _await(nodes)
    equal(again.get("before").body, b"1", "what was there before")
    equal(again.get("meanwhile").body, b"2", "what came meanwhile")
    _agree(nodes)


@test
def a_stopped_node_gets_what_it_missed():
    nodes = _cluster(3)
    nodes[2].signal(signal.SIGSTOP)
    try:
        for number in range(200):
            nodes[number % 2].put(f"k{number}", b"%d" % number)
        until(lambda: _members(nodes[0])[_address(nodes[2])] == "down", UP_SECONDS, "it is shown down")
        nodes[0].put("k5", b"newest")
    finally:
        nodes[2].signal(signal.SIGCONT)
    _agree(nodes)
    equal(nodes[2].get("k5").body, b"newest", "the newest value")
    _await(nodes)


@test
def a_goodbye_is_heard_at_once_and_loses_nothing():
    nodes = _cluster(3)
    writes = []

    def write():
        with nodes[1].connect() as connection:
            for number in range(3000):
                reply = connection.ask("PUT", f"/w{number}", b"%d" % number)
                check(reply.status == 200, reply.line())
                writes.append(number)
                if reply.closes():
                    return

    writer = Background(write)
    until(lambda: len(writes) > 100, UP_SECONDS, "some were written")
    equal(nodes[1].terminate(), 0, "the exit code")
    try:
        writer.result()
    except Exception as error:  # pylint: disable=broad-except
        check("connection" in str(error).lower() or "closed" in str(error).lower() or "end" in str(error).lower(),
              f"the writer stopped by {error!r}")
    left = [nodes[0], nodes[2]]
    check(_address(nodes[1]) not in _members(nodes[0]), f"it is gone at once ({nodes[1].tail()}; {nodes[0].tail(3)})")
    _agree(left)
    for number in writes:
        equal(nodes[0].get(f"w{number}").body, b"%d" % number, f"write {number}")


@test
def a_rolling_restart_loses_nothing():
    ports = [free_port() for _ in range(3)]
    joins = [option for port in ports for option in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    _await(nodes)
    written = []
    stop = []

    def write():
        at = 0
        while not stop:
            number = len(written)
            for _ in range(200):  # whoever is refused goes to the next node
                done = curl("-s", "-o", "/dev/null", "-w", "%{http_code}", "-d", str(number),
                            f"http://127.0.0.1:{ports[at]}/r{number}")
                if done.returncode == 0 and done.stdout == b"200":
                    break
                check(done.returncode in (7, 52, 56) or done.stdout == b"503", f"curl ends with {done}")
                at = (at + 1) % 3
            else:
                check(False, "no node takes a write")
            written.append(number)

    writer = Background(write)
    for number in range(3):
        until(lambda: len(written) > 20 * (number + 1), UP_SECONDS, "writes go on")
        equal(nodes[number].terminate(), 0, "the exit code")
        nodes[number] = Node(*joins, listen=f"127.0.0.1:{ports[number]}")
        until(lambda: _is_ready(nodes[number]), UP_SECONDS, "it is back")
    stop.append(True)
    writer.result()
    _agree(nodes)
    for node in nodes:
        with node.connect() as connection:
            for number in written:
                equal(connection.ask("GET", f"/r{number}").body, b"%d" % number, f"write {number}")


@test
def a_dead_member_can_be_dropped():
    nodes = _cluster(2)
    target = f"/-/members/{_address(nodes[1])}"
    equal(nodes[0].call("DELETE", target).status, 409, "dropping one that is up")
    nodes[1].kill()
    nodes[1].process.wait()
    until(lambda: nodes[0].call("DELETE", target).status == 200, UP_SECONDS, "it can be dropped once it is down")
    equal(list(_members(nodes[0])), [_address(nodes[0])], "the members")
    equal(nodes[0].call("DELETE", target).status, 404, "dropping it again")


@test
def who_is_down_for_long_is_dropped():
    nodes = _cluster(2, "--forget-after", "4s")
    nodes[1].kill()
    nodes[1].process.wait()
    until(lambda: _address(nodes[1]) not in _members(nodes[0]), 15, "it is dropped")


# --- copies

@test
def copies_are_counted():
    nodes = _cluster(3)
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
def missing_copies_are_told():
    nodes = _cluster(2)
    nodes[1].kill()
    nodes[1].process.wait()
    reply = nodes[0].call("PUT", "/a", b"1", ("Prefer: copies=all, wait=1",))
    equal((reply.status, reply.header("fog-copies")), (202, "1/2"), "a member is missing")
    equal(nodes[0].get("a").body, b"1", "it is written all the same")


# --- what must not be one cluster

@test
def other_clusters_and_partitions_are_refused():
    first = Node("--cluster-name", "one", "--partition", "0/2")
    for options in (("--cluster-name", "two", "--partition", "0/2"), ("--cluster-name", "one", "--partition", "1/2"),
                    ("--cluster-name", "one")):
        other = Node("--join", _address(first), *options)
        other.wait_log("join-refused .*different", UP_SECONDS, "sentence of the refused one")
        until(lambda other=other: _is_ready(other), UP_SECONDS, "it serves alone")
        other.put("greeting" if "1/2" in options else "mine", b"1")  # each in its partition
    first.wait_log("member-refused .*different", UP_SECONDS, "sentence of the refusing one")
    equal(len(_members(first)), 1, "members")
    equal(first.get("mine").status, 204, "a key of a refused node")


@test
def of_two_nodes_with_one_address_one_gives_way():
    first = Node()
    second = Node("--join", _address(first))
    _await([first, second])
    for target in (first, second):
        third = Node("--join", _address(target), "--advertise", _address(first))
        until(lambda third=third: third.call("GET", "/-/ready").status == 503, UP_SECONDS, "it is not ready")
        third.wait_log("event=refused .*--advertise", UP_SECONDS, "sentence of the one that gives way")
        third.kill()
    _await([first, second])
    refusals = sum("refused" in line for line in first.lines + second.lines)
    check(refusals <= 20, f"{refusals} lines about refusals")


@test
def strangers_are_not_taken_for_members():
    node = Node()
    node.put("a", b"1")
    records = node.call("GET", "/-/records").body
    reply = node.call("POST", "/-/merge", records, ("Fog-From: 0123456789abcdef",))
    equal(reply.status, 409, "a merge from a stranger")
    equal(node.call("POST", "/-/digest", b"x" * 1024).status, 409, "a comparison from nobody")
    equal(node.call("POST", "/-/members", b"nonsense").status, 400, "a hello that is none")
    equal(node.call("POST", "/-/merge", b"nonsense").status, 400, "a merge that is none")


# --- restoring

@test
def a_restore_reaches_all_nodes():
    old = Node()
    for number in range(50):
        old.put(f"r{number}", b"%d" % number)
    backup = old.call("GET", "/-/records").body
    nodes = _cluster(2)
    equal(nodes[0].call("POST", "/-/merge", backup).status, 200, "the restore")
    _agree(nodes)
    equal(nodes[1].get("r49").body, b"49", "a restored value on the other node")


@test
def a_delete_wins_over_an_older_backup():
    nodes = _cluster(2)
    nodes[0].put("gone", b"1")
    backup = nodes[0].call("GET", "/-/records").body
    nodes[1].delete("gone")
    _agree(nodes)
    nodes[0].call("POST", "/-/merge", backup)
    _agree(nodes)
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
    nodes = _cluster(2)
    nodes[0].put("w", b"old")
    _everywhere(nodes, "w", b"old")
    tag = nodes[1].get("w").etag()
    waiter = Background(lambda: nodes[1].get("w", f"If-None-Match: {tag}", "Prefer: wait=10"))
    nodes[0].put("w", b"new")
    equal(waiter.result().body, b"new", "what the waiter gets")
