"""Front-ends: finding nodes, losing them, wrong set-ups, and what passes through. What clients are promised in general is asked of them by
`tests/e2e/run --frontend`."""

import hashlib
import os
import re
import signal
import socket
import sys
import threading
import time

import client
from client import MIB, chunked, curl_reply, refusal, request
from frontend import Frontend, address, cluster, clusters, is_ready, key_of, partition_of
from harness import GUARDED, SLOW, Background, check, equal, register, scope, test, until
from load import Load
from node import Node, free_port, run_binary

SOON = 1  # seconds within which a front-end follows what happens to nodes
HANG = 2  # and notices one that hangs


def _count(node, method, status=200):
    """How many such requests the node has answered."""
    text = node.call("GET", "/-/metrics").body.decode()
    found = re.search(rf'^velour_fog_requests_total\{{method="{method}",status="{status}"\}} (\d+)$', text, re.M)
    return int(found.group(1)) if found else 0


def _requests_to_nodes(frontend):
    """So many has it sent on."""
    text = frontend.call("GET", "/-/metrics").body.decode()
    return sum(int(count) for count in re.findall(r"^velour_fog_frontend_node_requests_total\{.*\} (\d+)$", text, re.M))


def _usable(frontend, node):
    """Whether the front-end can ask a node now, by its log."""
    lines = [line for line in frontend.lines if re.search(rf"event=node-(usable|unusable|down) .*node={re.escape(address(node))}( |$)", line)]
    return bool(lines) and "event=node-usable" in lines[-1]


def _ready_text(frontend):
    return frontend.call("GET", "/-/ready").body.decode()


def _write_and_read(connection, number):
    """A step of a load: what is written can be read at once, whatever happens to nodes."""
    equal(connection.ask("PUT", f"/load-{number}", b"%d" % number).status, 200, "the status of a write")
    reply = connection.ask("GET", f"/load-{number % 50}")
    check(reply.status in (200, 204), f"a read is answered with {reply.line()}")


# --- finding nodes

@test
def frontend_learns_the_rest_from_one_member():
    nodes = cluster(3)
    frontend = Frontend([nodes[:1]])
    until(lambda: all(_usable(frontend, node) for node in nodes), SOON, "it knows all three")
    frontend.put("k", b"v")
    nodes[0].kill()  # the one that was named
    until(lambda: not _usable(frontend, nodes[0]), SOON, "it knows that one is dead")
    equal(frontend.get("k").body, b"v", "the value")
    nodes[1].terminate()
    until(lambda: not _usable(frontend, nodes[1]), SOON, "it knows that one has left")
    equal(frontend.get("k").body, b"v", "the value")


@test
def frontend_follows_who_joins():
    nodes = cluster(1)
    frontend = Frontend([nodes])
    nodes.append(Node("--join", address(nodes[0])))
    until(lambda: is_ready(nodes[1]), 10, "the newcomer is ready")
    until(lambda: _usable(frontend, nodes[1]), SOON, "it knows the newcomer")
    frontend.put("k", b"v")
    until(lambda: nodes[1].get("k").body == b"v", 5, "the newcomer has it")
    nodes[0].kill()
    equal(frontend.get("k").body, b"v", "the value from the newcomer")


@test
def frontend_takes_names():
    nodes = clusters(2, 1)
    frontend = Frontend([[f"localhost:{members[0].port}"] for members in nodes])
    for partition in range(2):
        frontend.put(key_of(partition, 2), b"v")
        equal(nodes[partition][0].get(key_of(partition, 2)).body, b"v", "the value on the node")


@test
def frontend_starts_before_its_clusters():
    ports = [free_port(), free_port()]
    frontend = Frontend([[f"127.0.0.1:{port}"] for port in ports], ready=False)
    for partition in range(2):
        frontend.wait_log(rf"event=partition-lost partition={partition} ", 5, f"line about partition {partition}")
        refusal(frontend.get(key_of(partition, 2)), 503)
    equal(frontend.call("GET", "/-/ready").status, 503, "the status of ready")
    equal(frontend.call("GET", "/-/healthy").status, 200, "the status of healthy")
    Node("--partition", "1/2", listen=f"127.0.0.1:{ports[1]}")
    until(lambda: frontend.call("GET", "/-/ready").status == 200, SOON + 2, "it is ready for what it reaches")
    equal(_ready_text(frontend), "ready, but not for partition 0\n", "what it says")
    frontend.put(key_of(1, 2), b"v")
    answer = frontend.get(key_of(0, 2))
    refusal(answer, 503)
    check(answer.header("retry-after"), "a 503 has no Retry-After")
    Node("--partition", "0/2", listen=f"127.0.0.1:{ports[0]}")
    until(lambda: _ready_text(frontend) == "ready\n", SOON + 2, "it reaches all")
    frontend.put(key_of(0, 2), b"v")
    equal(frontend.get(key_of(1, 2)).body, b"v", "the value in the other partition")


@test
def requests_wait_for_a_node_that_restarts():
    port = free_port()
    node = Node(listen=f"127.0.0.1:{port}")
    frontend = Frontend([[node]])
    frontend.put("k", b"v")
    node.terminate()
    until(lambda: not _usable(frontend, node), SOON, "the front-end knows that it has left")
    late = Background(lambda: frontend.call("PUT", "/k", b"new"))
    node = Node(listen=f"127.0.0.1:{port}")
    equal(late.result().status, 200, "the status of a write that came in between")
    equal(node.get("k").body, b"new", "the value")


@test
def nothing_goes_to_a_node_that_is_not_ready():
    nodes = cluster(1)
    for number in range(3000):
        nodes[0].put(f"fill-{number % 300}", b"x" * 1000)
    frontend = Frontend([nodes])
    with Load(frontend.port, lambda connection, number: equal(
            connection.ask("GET", f"/fill-{number % 300}").status, 200, "the status of a read")) as load:
        for _ in range(3):  # newcomers lack keys until they are ready
            newcomer = Node("--join", address(nodes[0]))
            until(lambda newcomer=newcomer: _usable(frontend, newcomer), 10, "the newcomer is used")
            load.pause(0.2)
            newcomer.terminate()


# --- failure

@test(alone=True)
def killed_nodes_cost_no_error():
    groups = clusters(2, 3)
    frontend = Frontend(groups)
    with Load(frontend.port, _write_and_read) as load:
        load.pause(0.3)
        for members in groups:
            for node in members[:2]:
                node.kill()
                load.pause(0.3)
    check(load.longest < HANG * SLOW, f"the longest request took {load.longest:.2f} s")


@test(alone=True)
def all_but_one_killed_at_once_cost_no_error():
    groups = clusters(2, 3)
    frontend = Frontend(groups)
    with Load(frontend.port, _write_and_read) as load:
        load.pause(0.3)
        for members in groups:
            for node in members[1:]:
                node.kill()
        load.pause(1)
    check(load.longest < HANG * SLOW, f"the longest request took {load.longest:.2f} s")


@test(alone=True)
def rolling_restarts_cost_no_error_and_no_value():
    ports = [free_port() for _ in range(3)]
    joins = [word for port in ports for word in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    for node in nodes:
        until(lambda node=node: node.call("GET", "/-/members").body.count(b" ready ") == 3, 10, "all know each other")
    frontend = Frontend([nodes])
    for number in range(50):
        frontend.put(f"kept-{number}", b"%d" % number)

    def step(connection, number):
        _write_and_read(connection, number)
        equal(connection.ask("GET", f"/kept-{number % 50}").body, b"%d" % (number % 50), "a value from before")

    with Load(frontend.port, step) as load:
        for place, node in enumerate(nodes):
            equal(node.terminate(), 0, "the exit code")
            nodes[place] = Node(*joins, listen=f"127.0.0.1:{ports[place]}")
            until(lambda place=place: is_ready(nodes[place]), 10, "it is ready again")
            until(lambda place=place: _usable(frontend, nodes[place]), SOON, "it is used again")
            load.pause(0.2)
    check(load.longest < HANG * SLOW, f"the longest request took {load.longest:.2f} s")


@test(alone=True)
def a_node_that_hangs_is_left():
    nodes = cluster(3)
    frontend = Frontend([nodes])
    with Load(frontend.port, _write_and_read) as load:
        load.pause(0.3)
        nodes[1].signal(signal.SIGSTOP)
        until(lambda: not _usable(frontend, nodes[1]), HANG, "it is left")
        load.pause(0.5)
        nodes[1].signal(signal.SIGCONT)
        until(lambda: _usable(frontend, nodes[1]), 5, "it is used again")
        load.pause(0.3)
    check(load.longest < (HANG + 0.5) * SLOW, f"the longest request took {load.longest:.2f} s")


@test(alone=True)
def a_front_end_without_requests_stays_ready():
    nodes = cluster(1, "--idle-timeout", "4")
    frontend = Frontend([nodes])
    end = time.monotonic() + 10
    with frontend.connect() as connection:
        while time.monotonic() < end:
            equal(connection.ask("GET", "/-/ready").status, 200, "its readiness while nodes close what is idle")


def _home(frontend, nodes, key):
    """The node that takes the writes of a key, and the others."""
    before = [_count(node, "PUT") for node in nodes]
    for _ in range(10):
        frontend.put(key, b"old")
    grown = [_count(node, "PUT") - count for node, count in zip(nodes, before)]
    equal(sorted(grown), [0] * (len(nodes) - 1) + [10], "writes by node")
    home = nodes[grown.index(10)]
    return home, [node for node in nodes if node is not home]


def _large_body_cut(headers, first):
    """A body that is too large to be sent twice, whose node dies in the middle of it."""
    nodes = cluster(2)
    frontend = Frontend([nodes])
    home, others = _home(frontend, nodes, "k")
    until(lambda: others[0].get("k").body == b"old", 5, "the other node has it")
    with frontend.connect() as connection:
        connection.send(request("PUT", "/k", None, headers) + first)
        connection.silent(0.3)
        home.kill()
        refusal(connection.reply(), 502, 503)
    until(lambda: not _usable(frontend, home), SOON, "the front-end knows")
    equal(frontend.get("k").body, b"old", "the value")
    frontend.put("k", b"new")
    equal(frontend.get("k").body, b"new", "the value after another write")


register("frontend", "large_body_whose_node_dies_changes_nothing", _large_body_cut, [f"Content-Length: {8 * MIB}"],
         bytes(MIB))
register("frontend", "large_chunked_body_whose_node_dies_changes_nothing", _large_body_cut, ["Transfer-Encoding: chunked"],
         chunked(bytes(MIB), last=b""))


@test
def a_large_body_that_a_node_reads_late_changes_nothing():
    """Its client was told of an error long ago, and has written anew since."""
    nodes = cluster(2)
    frontend = Frontend([nodes])
    home, others = _home(frontend, nodes, "k")
    until(lambda: others[0].get("k").body == b"old", 5, "the other node has it")
    with frontend.connect() as connection:
        home.signal(signal.SIGSTOP)
        began = time.monotonic()
        connection.send(request("PUT", "/k", bytes(100 * 1024)))
        refusal(connection.reply(), 502)
    frontend.put("k", b"new")
    time.sleep(max(0, began + 1.2 - time.monotonic()))  # so late it is too late
    home.signal(signal.SIGCONT)
    until(lambda: _usable(frontend, home), 5 * SLOW, "the node is used again")
    for node in nodes:
        until(lambda node=node: node.get("k").body == b"new", 5 * SLOW, f"the value at {node.address}")
    equal(_count(home, "PUT", 412), 1, "late writes")


@test
def a_write_whose_node_stands_still_is_not_said_to_be_done_over_a_version_of_the_future():
    nodes = cluster(2)
    frontend = Frontend([nodes])
    home, others = _home(frontend, nodes, "k")
    home.put("k", b"ahead", f"Fog-Version: {int((time.time() + 3600) * 1e6)}")
    until(lambda: others[0].get("k").body == b"ahead", 5, "the other node has it")
    home.signal(signal.SIGSTOP)
    refusal(frontend.call("PUT", "/k", b"new"), 502)
    equal(others[0].get("k").body, b"ahead", "the value")
    frontend.put("k", b"newer")
    equal(others[0].get("k").body, b"newer", "the value that was written anew")
    home.signal(signal.SIGCONT)
    until(lambda: home.get("k").body == b"newer", 5 * SLOW, "the node has it, too")


@test
def a_write_whose_node_stands_still_is_not_said_to_be_done_under_a_version_just_above_what_was_seen():
    """A clock that was ahead has left more than one; the front-end has seen one that is less than the key's."""
    nodes, ahead = cluster(2), int((time.time() + 3600) * 1e6)
    frontend = Frontend([nodes])
    home, others = _home(frontend, nodes, "k")
    home.put("seen", b"seen", f"Fog-Version: {ahead}")
    equal(frontend.get("seen").body, b"seen", "a value of the same clock")
    home.put("k", b"ahead", f"Fog-Version: {ahead + 500000}")
    until(lambda: others[0].get("k").body == b"ahead", 5, "the other node has it")
    home.signal(signal.SIGSTOP)
    refusal(frontend.call("PUT", "/k", b"new"), 502)
    equal(others[0].get("k").body, b"ahead", "the value")
    home.signal(signal.SIGCONT)


def _broken_off(headers, first):
    """A client that leaves in the middle of its body changes nothing."""
    nodes = cluster(1)
    frontend = Frontend([nodes])
    frontend.put("k", b"old")
    for end in ("close", "reset"):
        connection = frontend.connect()
        connection.send(request("PUT", "/k", None, headers) + first)
        time.sleep(0.2)  # so that it has passed some of it on
        getattr(connection, end)()
    time.sleep(0.3)  # so that a value would have been set
    equal(nodes[0].get("k").body, b"old", "the value")
    equal(frontend.get("k").body, b"old", "the value")


register("frontend", "body_broken_off_changes_nothing", _broken_off, ["Content-Length: 100"], bytes(50))
register("frontend", "large_body_broken_off_changes_nothing", _broken_off, [f"Content-Length: {8 * MIB}"], bytes(MIB))
register("frontend", "chunked_body_broken_off_changes_nothing", _broken_off, ["Transfer-Encoding: chunked"],
         chunked(bytes(50), last=b""))
register("frontend", "large_chunked_body_broken_off_changes_nothing", _broken_off, ["Transfer-Encoding: chunked"],
         chunked(bytes(MIB), last=b""))


@test(alone=True)
def a_long_answer_whose_node_dies_is_completed_by_another():
    nodes = cluster(2)
    frontend = Frontend([nodes], "--read-from", "home")
    value = os.urandom(MIB) * 16
    home, others = _home(frontend, nodes, "k")
    frontend.put("k", value)
    until(lambda: others[0].get("k").body == value, 10, "the other node has it")
    with frontend.connect(receive_buffer=65536) as connection:
        connection.send(request("GET", "/k"))
        connection.buffer = connection.socket.recv(1000)
        home.kill()
        check(connection.reply().body == value, "the value comes back changed")


# --- wrong set-ups

def _wrong_clusters(choose, partitions):
    """A front-end with wrong clusters says so and stores nothing, and nothing that is there can be got wrongly or lost."""
    groups = clusters(2, 1)
    right = Frontend(groups)
    keys = [f"key-{number}" for number in range(12)]
    for key in keys:
        right.put(key, b"right")
    wrong = Frontend(choose(groups), ready=False)
    line = wrong.wait_log("event=wrong-partition", 5, "line about a wrong partition")
    check("--cluster" in line and "--partition" in line, line)
    reached = 0
    for key in keys:
        answer = wrong.call("PUT", "/" + key, b"wrong")
        check(answer.status in (200, 421, 502, 503), f"a write is answered with {answer.line()}")
        if answer.status == 200:  # by chance in its place all the same
            reached += 1
            equal(partition_of(key, 2), partition_of(key, partitions), f"the partition of {key}")
            right.put(key, b"right")
        else:
            refusal(answer, 421, 502, 503)
            refusal(wrong.get(key), 421, 502, 503)
            refusal(wrong.call("DELETE", "/" + key), 421, 502, 503)
    for key in keys:
        equal(right.get(key).body, b"right", f"the value of {key}")
    for partition, members in enumerate(groups):
        listed = members[0].call("GET", "/-/keys").body.decode().split()
        equal([key for key in listed if partition_of(key, 2) != partition], [], "keys in the wrong place")
    status = wrong.call("GET", "/-/ready")
    check(status.status == 503 or "not for" in status.body.decode(), f"it says that it is ready: {status.line()}")


for _name, _choose, _partitions in (
        ("order", lambda groups: groups[::-1], 2),
        ("number_too_small", lambda groups: groups[:1], 1),
        ("number_too_large", lambda groups: [*groups, groups[0]], 3),
        ("twice_the_same", lambda groups: [groups[0], groups[0]], 2)):
    register("frontend", f"clusters_in_the_wrong_{_name}_are_noticed" if _name != "twice_the_same" else
             "one_cluster_named_twice_is_noticed", _wrong_clusters, _choose, _partitions)


@test
def nodes_that_know_no_partition_are_refused_where_there_are_several():
    frontend = Frontend([cluster(1), cluster(1)], ready=False)
    frontend.wait_log("event=wrong-partition .*says=-", 5, "line about a node without --partition")
    refusal(frontend.call("PUT", "/k", b"v"), 502, 503)


@test
def a_node_that_comes_back_with_another_partition_is_left():
    ports = [free_port(), free_port()]
    nodes = [Node("--partition", f"{i}/2", listen=f"127.0.0.1:{port}") for i, port in enumerate(ports)]
    frontend = Frontend([[node] for node in nodes])
    frontend.put(key_of(0, 2), b"v")
    nodes[0].terminate()
    impostor = Node("--partition", "1/2", listen=f"127.0.0.1:{ports[0]}")
    frontend.wait_log("event=wrong-partition partition=0", 5, "line about a wrong partition")
    refusal(frontend.call("PUT", "/" + key_of(0, 2), b"v"), 502, 503)
    equal(impostor.call("GET", "/-/keys").body, b"", "the keys of the impostor")


# --- what passes through

@test
def the_same_key_is_in_one_place_however_it_is_escaped():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    for number in range(20):
        plain = f"key-{number}"
        escaped = "".join(f"%{ord(letter):02x}" for letter in plain)
        upper = "".join(f"%{ord(letter):02X}" if letter in "key-" else letter for letter in plain)
        frontend.put(escaped, b"v%d" % number)
        equal([frontend.get(key).body for key in (plain, escaped, upper)], [b"v%d" % number] * 3, f"the value of {plain}")
        equal([members[0].call("GET", "/" + plain).status for members in groups],
              [200, 421] if partition_of(plain, 2) == 0 else [421, 200], "the statuses of the nodes")


@test
def a_thousand_pipelined_requests_are_answered_in_order():
    frontend = Frontend(clusters(2, 2), "--read-from", "home")
    with frontend.connect() as connection:
        count = 1000
        data = b"".join(request("PUT", f"/p-{number}", b"%d" % number) for number in range(count))
        data += b"".join(request("GET", f"/p-{number}") for number in range(count))
        sender = Background(connection.send, data)
        for number in range(count):
            equal(connection.reply("PUT").status, 200, f"the status of write {number}")
        for number in range(count):
            equal(connection.reply().body, b"%d" % number, f"the value {number}")
        sender.result()


@test
def pipelined_requests_on_one_key_keep_their_order():
    """As on a node: what is sent later on a connection sees what was sent before, where reads go where writes go."""
    frontend = Frontend(clusters(2, 3), "--read-from", "home")
    with frontend.connect() as connection:
        connection.send(b"".join(request("PUT", "/k", b"%d" % number) + request("GET", "/k") for number in range(300)))
        for number in range(300):
            equal(connection.reply("PUT").status, 200, "the status of a write")
            equal(connection.reply().body, b"%d" % number, f"the value after write {number}")


def _all_is_asked(frontend):
    """Whether nothing more is asked of nodes, for now."""
    before = _requests_to_nodes(frontend)
    time.sleep(0.3)
    return _requests_to_nodes(frontend) == before


@test(alone=True)
def unread_pipelined_answers_cost_a_front_end_little():
    """Whoever pipelines and takes nothing has only some of its answers kept; the others are asked for anew once it reads."""
    for length in (63 * 1024, 300 * 1024):
        frontend = Frontend([cluster(2)])
        values = [os.urandom(length) for _ in range(64)]
        for number, value in enumerate(values):
            frontend.put(f"k{number}", value)
        crowd = [frontend.connect(receive_buffer=65536) for _ in range(30)]
        for connection in crowd:
            connection.send(b"".join(request("GET", f"/k{number}") for number in range(len(values))))
        until(lambda: _all_is_asked(frontend), 10, "all is asked that is asked before anything is read")
        used = frontend.memory("VmHWM")
        check(GUARDED or used < 60 * MIB, f"{used} bytes for 30 clients that read nothing of values of {length}")
        check(frontend.descriptors() < 150, f"{frontend.descriptors()} files for 30 clients that read nothing")
        for connection in crowd:
            for number, value in enumerate(values):
                check(connection.reply().body == value, f"value {number} of {length} bytes is changed")
        used = frontend.memory("VmHWM")
        check(GUARDED or used < 60 * MIB, f"{used} bytes after all was read")


@test
def writes_of_a_key_go_to_one_node_and_reads_to_all():
    nodes = cluster(3)
    frontend = Frontend([nodes])
    until(lambda: all(_usable(frontend, node) for node in nodes), SOON, "it knows all three")
    _home(frontend, nodes, "k")
    until(lambda: all(node.get("k").body == b"old" for node in nodes), 5, "all have it")
    time.sleep(0.2)  # so that they do not follow the write any more
    before = [_count(node, "GET") for node in nodes]
    with frontend.connect() as connection:
        for _ in range(300):
            equal(connection.ask("GET", "/k").body, b"old", "the value")
    grown = [_count(node, "GET") - count for node, count in zip(nodes, before)]
    check(min(grown) > 40, f"the nodes have answered {grown} reads")


@test
def reads_from_home_go_where_the_writes_go():
    nodes = cluster(3)
    frontend = Frontend([nodes], "--read-from", "home")
    until(lambda: all(_usable(frontend, node) for node in nodes), SOON, "it knows all three")
    home, others = _home(frontend, nodes, "k")
    before = [_count(node, "GET") for node in others]
    for _ in range(30):
        equal(frontend.get("k").body, b"old", "the value")
    after = [_count(node, "GET") for node in others]
    check(max(late - early for late, early in zip(after, before)) < 20, "others were asked")  # but for hellos and this
    check(_count(home, "GET") >= 30, "home was not asked")


@test
def copies_are_counted_through_it():
    frontend = Frontend(clusters(2, 3))
    for key in (key_of(0, 2), key_of(1, 2)):
        reply = frontend.call("PUT", "/" + key, b"v", ["Prefer: copies=all"])
        equal((reply.status, reply.header("fog-copies")), (200, "3/3"), "the answer to a write with copies=all")


def _stops_while_a_write_waits(leaver):
    """It waits for the copies of a node that is dead, longer than the one that stops may take: that one has it answered."""
    nodes = cluster(2)
    frontend = Frontend([nodes[:1]], "--drain-time", "5")
    nodes[1].kill()
    until(lambda: not _usable(frontend, nodes[1]), HANG, "it knows that one is dead")
    with frontend.connect() as connection:
        connection.send(request("PUT", "/k", b"v", ["Prefer: copies=all, wait=60"]))
        connection.silent(0.5)
        (frontend if leaver == "frontend" else nodes[0]).signal(signal.SIGTERM)
        reply = connection.reply(seconds=3)
        equal((reply.status, reply.header("fog-copies")), (202, "1/2"), "the answer to a write with copies=all")
    if leaver == "frontend":
        equal(frontend.wait(3), 0, "the exit code")
        equal(nodes[0].get("k").body, b"v", "the value")


register("frontend", "stops_while_a_write_waits_for_copies", _stops_while_a_write_waits, "frontend")
register("frontend", "node_stops_while_a_write_waits_for_copies", _stops_while_a_write_waits, "node")


@test
def a_wait_goes_on_when_its_node_stops():
    """Each node is stopped in turn, but for one; its client hears of the change, and of nothing else."""
    nodes = cluster(3)
    frontend = Frontend([nodes])
    tag = frontend.put("w", b"old").etag()
    time.sleep(0.3)  # before that, its reads go where it was written
    waiters = [frontend.connect() for _ in range(20)]
    for waiter in waiters:
        waiter.send(request("GET", "/w", None, [f"If-None-Match: {tag}", "Prefer: wait=60"]))
    waiters[-1].silent(0.5)
    for node in nodes[:2]:
        node.signal(signal.SIGTERM)
        equal(node.wait(10), 0, "the exit code")
        waiters[-1].silent(0.2)
    frontend.put("w", b"new")
    for waiter in waiters:
        equal(waiter.reply(seconds=5).body, b"new", "what a waiter gets")


@test
def waiting_requests_hold_up_nobody():
    frontend = Frontend(clusters(2, 1))
    tag = frontend.put("w", b"old").etag()
    waiters = [frontend.connect() for _ in range(100)]
    for waiter in waiters:
        waiter.send(request("GET", "/w", None, [f"If-None-Match: {tag}", "Prefer: wait=30"]))
    started = time.monotonic()
    with frontend.connect() as connection:
        for number in range(200):
            equal(connection.ask("PUT", f"/k{number}", b"x").status, 200, "the status")
    check(time.monotonic() - started < 2 * SLOW, f"200 writes took {time.monotonic() - started:.2f} s")
    frontend.put("w", b"new")
    for waiter in waiters:
        equal(waiter.reply(seconds=5).body, b"new", "what a waiter gets")


@test(alone=True)
def large_values_need_little_memory():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    value = os.urandom(MIB) * 64
    wanted = hashlib.sha256(value).digest()
    for number in range(20):
        frontend.put(f"warm-{number}", bytes(100000))
    before = frontend.memory("VmHWM")

    def through(number):
        key = f"big-{number}"
        equal(frontend.call("PUT", "/" + key, value).status, 200, "the status of a PUT of 64 MiB")
        equal(hashlib.sha256(frontend.get(key).body).digest(), wanted, "the hash of what comes back")

    for transfer in [Background(through, number) for number in range(4)]:
        transfer.result(60)
    grown = frontend.memory("VmHWM") - before
    check(grown < 16 * MIB or GUARDED, f"its memory grew by {grown} bytes with 4 values of 64 MiB under way")
    check(all(node.memory() > 32 * MIB for members in groups for node in members if node.call("GET", "/-/keys").body.count(b"big")),
          "the nodes do not have the values")


@test(alone=True)
def a_slow_reader_of_a_large_value_costs_little_and_holds_up_nobody():
    frontend = Frontend(clusters(1, 1))
    frontend.put("big", os.urandom(MIB) * 64)
    before = frontend.memory()
    slow = [frontend.connect(receive_buffer=65536) for _ in range(10)]
    for connection in slow:
        connection.send(request("GET", "/big"))
        connection.buffer = connection.socket.recv(100)
    started = time.monotonic()
    with frontend.connect() as connection:
        for number in range(200):
            equal(connection.ask("PUT", f"/k{number}", b"x").status, 200, "the status of a write")
            equal(connection.ask("GET", f"/k{number}").body, b"x", "the value")
    check(time.monotonic() - started < 3 * SLOW, f"200 writes and reads took {time.monotonic() - started:.2f} s")
    grown = frontend.memory() - before
    check(grown < 16 * MIB or GUARDED, f"its memory grew by {grown} bytes with 10 slow readers of 64 MiB")


@test
def nodes_of_the_other_limit_refuse_through_it():
    frontend = Frontend([cluster(1, "--value-max", "1M")])
    frontend.put("k", b"old")
    equal(frontend.call("PUT", "/k", bytes(MIB)).status, 200, "the status at the limit")
    with frontend.connect() as connection:
        connection.send_what_goes(request("PUT", "/k", bytes(2 * MIB)))
        refusal(connection.reply(), 413)


@test
def a_full_node_refuses_through_it():
    frontend = Frontend([cluster(1, "--memory-max", "32M")])
    with frontend.connect() as connection:
        connection.send_what_goes(request("PUT", "/k", bytes(40 * MIB)))
        refusal(connection.reply(), 507)
    equal(frontend.get("k").status, 204, "the status of the key")


@test
def operations_of_nodes_are_refused_with_a_sentence():
    frontend = Frontend(clusters(2, 1))
    for target in ("/-/records", "/-/digest", "/-/members"):
        refusal(frontend.call("GET", target), 404)
    refusal(frontend.call("POST", "/-/merge", b"x"), 404)


@test
def a_front_end_is_no_node_to_another_or_to_itself():
    """So no request can go round in circles."""
    behind = Frontend(clusters(1, 1))
    equal(behind.call("PUT", "/k", b"old").status, 200, "the status of a write through the first one")
    before = Frontend([[behind]], ready=False)
    port = free_port()
    own = Frontend([[f"127.0.0.1:{port}"]], listen=f"127.0.0.1:{port}", ready=False)
    for frontend in (before, own):
        refusal(frontend.call("PUT", "/k", b"x"), 503)
        check(frontend.call("GET", "/-/ready").status == 503, "it is ready")
        equal(_requests_to_nodes(frontend), 0, "requests that it has sent on")
    equal(_requests_to_nodes(behind), 1, "requests that the first one has sent on")


# --- keys by prefix, of all partitions

def _listed(frontend, query):
    answer = frontend.call("GET", "/-/keys" + query)
    equal((answer.status, answer.kind()), (200, "text/plain; charset=utf-8"), f"status and type of {query}")
    return answer.body.decode().splitlines()


@test
def keys_of_all_partitions_are_listed():
    frontend = Frontend(clusters(3, 2))
    keys = [f"list/{number}%20x" for number in range(40)]
    for key in [*keys, "other"]:
        frontend.put(key, b"x")
    until(lambda: sorted(_listed(frontend, "?limit=1000&prefix=list/")) == sorted(keys), SOON, "all are listed")
    equal(len(_listed(frontend, "?limit=1000")), 41, "how many without a prefix")
    equal(_listed(frontend, "?limit=7&prefix=none"), [], "of none")
    for limit in (1, 7, 39):
        some = _listed(frontend, f"?limit={limit}&prefix=list%2F")
        equal((len(some), set(some) - set(keys)), (limit, set()), "as many as wanted")
    length = frontend.call("HEAD", "/-/keys?limit=1000&prefix=other").header("content-length")
    equal(length, "6", "HEAD's Content-Length")


@test
def keys_are_listed_among_other_requests():
    frontend = Frontend(clusters(2, 1))
    frontend.put("key", b"value")
    with frontend.connect() as connection:
        connection.send(request("GET", "/key") + request("GET", "/-/keys?limit=5") + request("GET", "/key"))
        equal([connection.reply().body for _ in range(3)], [b"value", b"key\n", b"value"], "the answers in order")


@test
def keys_are_not_listed_without_a_limit_or_with_a_wrong_one():
    frontend = Frontend(clusters(1, 1))
    for query in ("", "?prefix=x", "?limit=1001", "?limit=0", "?limit=x", "?limit=", "?limit=5&x", "?limit=5&prefix=%zz", "?x"):
        refusal(frontend.call("GET", "/-/keys" + query), 400)
    equal(frontend.call("PUT", "/-/keys?limit=5", b"x").status, 405, "the status of PUT")


@test
def keys_are_not_listed_in_part():
    groups = clusters(2, 1)
    frontend = Frontend(groups)
    groups[1][0].kill()
    refusal(frontend.call("GET", "/-/keys?limit=5"), 503)


@test(alone=True)
def a_node_that_hangs_keeps_no_list():
    nodes = cluster(2)
    frontend = Frontend([nodes])
    frontend.put("key", b"x", "Prefer: copies=all")
    connections = [frontend.connect() for _ in range(8)]
    nodes[1].signal(signal.SIGSTOP)
    began = time.monotonic()
    for connection in connections:
        connection.send(request("GET", "/-/keys?limit=5"))
    equal([connection.reply().body for connection in connections], [b"key\n"] * 8, "the lists")
    took = time.monotonic() - began
    nodes[1].signal(signal.SIGCONT)
    check(took < (HANG + 0.5) * SLOW, f"the longest list took {took:.2f} s")


@test
def many_who_list_keys_have_room_or_are_told():
    at_a_time, more = 16, 4
    groups = clusters(1, 1)
    frontend = Frontend(groups)
    frontend.put("key", b"x")
    node = groups[0][0]
    connections = [frontend.connect() for _ in range(at_a_time + more)]
    node.signal(signal.SIGSTOP)
    for connection in connections:
        connection.send(request("GET", "/-/keys?limit=5"))
    told = until(lambda: [one for one in connections if client.is_ready(one.socket, 0)][more - 1:] and [
        one for one in connections if client.is_ready(one.socket, 0)], SOON * SLOW, "some are refused")
    equal(len(told), more, "how many are refused at once")
    for connection in told:
        refusal(connection.reply(), 503)
    node.signal(signal.SIGCONT)
    for connection in connections:
        if connection not in told:
            equal(connection.reply().body, b"key\n", "the keys")
        connection.close()
    until(lambda: frontend.call("GET", "/-/keys?limit=5").body == b"key\n", 10 * SLOW, "there is room again")


# --- several front-ends, and their port

@test
def front_ends_are_alike():
    groups = clusters(2, 1)
    first, second = Frontend(groups), Frontend(groups)
    for number in range(20):
        first.put(f"k{number}", b"%d" % number)
        equal(second.get(f"k{number}").body, b"%d" % number, "the value through another one")
    first.kill()
    second.put("k1", b"new")
    equal(Frontend(groups).get("k1").body, b"new", "the value through one that starts later")


@test
def front_ends_share_a_port():
    nodes = cluster(1)
    first = Frontend([nodes], "--reuse-port", "yes")
    port = f"127.0.0.1:{first.port}"
    second = Frontend([nodes], "--reuse-port", "yes", listen=port)
    done = run_binary("frontend", "--cluster", address(nodes[0]), "--listen", port)
    equal(done.returncode, 1, "the exit code of one that does not share")
    check(b"in use" in done.stderr, f"stderr is {done.stderr!r}")
    for _ in range(60):
        first.put("k", b"v")  # each on a connection of its own
    for one in (first, second):
        accepted = re.search(r"velour_fog_connections_accepted_total (\d+)", _metrics_of(one))
        check(accepted is None or int(accepted.group(1)) > 5, f"one of both has taken {accepted} of 60 connections")
    first.terminate()
    for _ in range(20):
        second.put("k", b"new")


def _metrics_of(frontend):
    return frontend.call("GET", "/-/metrics").body.decode()


_ACTIVATE = ("import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True); os.environ['LISTEN_FDS'] = '1'; "
             "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])")


@test(alone=True)
def restarts_on_held_sockets_drop_no_request():
    """As with velour-fog-frontend@.socket, one for each of two front-ends on one port: who connects during a restart waits."""
    groups = clusters(2, 1)
    first = socket.create_server(("127.0.0.1", 0), backlog=1000, reuse_port=True)
    second = socket.create_server(first.getsockname(), backlog=1000, reuse_port=True)
    scope().connections += [first, second]
    port = first.getsockname()[1]

    def start(listener):
        one = Frontend(groups, listen=None, port=port, ready=False, pass_fds=[listener.fileno()],
                       prefix=[sys.executable, "-c", _ACTIVATE, str(listener.fileno())])
        one.await_ready()
        return one

    front_ends = [start(first), start(second)]
    over = threading.Event()

    def client(number):
        count = 0
        while not over.is_set():  # a connection for each, as curl does
            front_ends[0].put(f"c{number}-{count}", b"x")
            count += 1
        return count

    clients = [Background(client, number) for number in range(4)]
    for _ in range(2):
        for which, listener in ((0, first), (1, second)):
            time.sleep(0.3)  # while both work
            equal(front_ends[which].terminate(), 0, "the exit code")
            time.sleep(0.2)  # while one socket is nobody's
            front_ends[which] = start(listener)
    time.sleep(0.3)
    over.set()
    check(min(one.result() for one in clients) > 10, "a client made few requests")


@test
def help_in_a_browser_and_by_curl():
    frontend = Frontend(clusters(2, 1))
    for target in ("/", "/-/status", "/-/metrics"):
        equal(curl_reply(frontend.url(target)).status, 200, f"the status of {target}")
