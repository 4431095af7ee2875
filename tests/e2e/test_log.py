"""The log tells the story of a cluster: each thing once, with what to do, however often it happens."""

import re
import signal
import socket
import time

from cluster import UP_SECONDS, agree, cluster, everywhere, metric, settle
from frontend import Frontend, clusters, key_of
from harness import Background, Failure, check, equal, test, until
from node import Node, free_port
from test_cluster_clocks import clock_environment

BURST = 200  # LOG_BURST_MAX
PER_SECOND = 2


def _said(one, event, /, **fields):
    """Lines of an event that have these values."""
    with one._changed:  # pylint: disable=protected-access
        lines = [line for line in one.lines if f" event={event} " in line + " "]
    return [line for line in lines if all(f" {name}={value}" in line for name, value in fields.items())]


def _once(one, event, level, /, do=None, seconds=UP_SECONDS, **fields):
    """Waits for the line, and fails unless it is the only one; says what to do where a person has to."""
    until(lambda: _said(one, event, **fields), seconds, f"{event} is in the log ({one.tail()})")
    lines = _said(one, event, **fields)
    equal(len(lines), 1, f"lines of {event} {fields}: {lines}")
    check(f"level={level} " in lines[0], lines[0])
    if do:
        check(re.search(rf' do="[^"]*{do}[^"]*"', lines[0]), f"what to do is not said: {lines[0]}")
    return lines[0]


def _parses(node):
    """Every line is logfmt: words, or name=value, quoted where it has blanks."""
    for line in list(node.lines):
        check(re.fullmatch(r'(?:[a-z_]+=(?:"[^"]*"|[^" ]*)(?: |$))+', line), f"a line that is no logfmt: {line}")


def _frozen(node, seconds):
    """It stands still for a while."""
    node.signal(signal.SIGSTOP)
    Background(lambda: (time.sleep(seconds), node.signal(signal.SIGCONT))).result()


@test
def log_of_a_join_a_death_and_a_departure():
    first = Node()
    _once(first, "ready", "info", msg='"serving alone"')
    second, third = Node("--join", first.address), Node("--join", first.address)
    settle([first, second, third])
    for other in (second, third):
        _once(first, "member-known", "info", member=other.address)
        _once(first, "member-up", "info", member=other.address)
        _once(other, "gathering", "info", donor="")
        _once(other, "ready", "info", members=3 if "members=3" in "".join(other.lines) else 2)
    second.kill()
    _once(first, "member-down", "warn", do="-X DELETE HOST:PORT/-/members/" + second.address, member=second.address)
    _once(third, "member-down", "warn", do="start it again", member=second.address)
    third.terminate()
    _once(first, "member-gone", "info", member=third.address, phase="left")
    equal(_said(first, "member-down", member=third.address), [], "alarms about a member that left")
    check(not any("level=error" in line for line in first.lines), first.tail())
    _parses(first)


def _answers(node):
    try:
        return node.call("GET", "/-/ready").status == 200
    except OSError:
        return False


@test
def log_of_a_free_port():
    for serves in (Node("--log-level", "error"), Frontend([[f"127.0.0.1:{free_port()}"]], "--log-level", "warn", ready=False)):
        _once(serves, "listening", "info", address=serves.address)
        serves.terminate()
        serves.process.wait()
        equal(_said(serves, "stopped"), [], "what else is told")
    port = free_port()
    quiet = Node("--log-level", "warn", listen=f"127.0.0.1:{port}", port=port)
    until(lambda: _answers(quiet), UP_SECONDS, "it serves")
    equal(quiet.lines, [], "the log")


@test
def log_of_a_node_that_stood_still():
    nodes = cluster(2)
    frozen = Background(_frozen, nodes[1], 4)
    _once(nodes[0], "member-down", "warn", do="mend the network", member=nodes[1].address)
    nodes[0].put("meanwhile", b"x")
    frozen.result()
    until(lambda: len(_said(nodes[0], "member-up")) == 2, UP_SECONDS, "it is back")
    everywhere(nodes, "meanwhile", b"x")
    agree(nodes)
    until(lambda: _said(nodes[0], "repaired") or _said(nodes[1], "repaired"), UP_SECONDS, "a line on the repair")
    for node in nodes:
        equal(_said(node, "clock-skew"), [], "lines on clocks, which are right")
        _parses(node)


@test
def log_of_a_wrong_clock():
    first = Node()
    second = Node("--join", first.address, env=clock_environment(FAKETIME="+1h"))
    settle([first, second])
    for node in (first, second):
        _once(node, "clock-skew", "warn", do="NTP")
    time.sleep(1.2)  # two more hellos
    for node in (first, second):
        _once(node, "clock-skew", "warn")


def _hello(name, partition="-", protocol=1):
    return (f"protocol {protocol}\ncluster {name}\npartition {partition}\njoined 0\nclock 1\nhorizon 0\ndigest 0000000000000000\n"
            f"records 0\nmember 10.0.0.9:8000 ready 00000000000000aa 1 0 0\n").encode()


@test
def log_of_members_that_are_refused():
    node = Node()
    others = [Node("--join", node.address, "--cluster-name", "other"), Node("--join", node.address, "--partition", "0/2")]
    for other, word in zip(others, ("--cluster-name", "--partition"), strict=True):
        line = _once(other, "join-refused", "warn", do="one of the two", member=node.address)
        check(word in line, line)
        check(word in _once(node, "member-refused", "warn", do="one of the two", member=other.address), "the reason")
    with node.connect() as connection:
        for _ in range(500):
            equal(connection.ask("POST", "/-/members", _hello("third")).status, 409, "the status")
        line = _once(node, "member-refused", "warn", member="10.0.0.9:8000")
        check("'third' and 'fog'" in line, line)
        started = time.monotonic()
        for name in range(1500):
            equal(connection.ask("POST", "/-/members", _hello(f"flood{name}")).status, 409, "the status")
        most = BURST + PER_SECOND * (time.monotonic() - started + 5)
    check(len(_said(node, "member-refused")) <= most, f"{len(_said(node, 'member-refused'))} lines, at most {most} wanted")
    for one in (node, *others):
        _parses(one)


@test
def log_of_one_that_is_joined_and_is_no_node():
    """A front-end here: nothing can be done there, so the line must not send anybody to it."""
    node = Node()
    frontend = Frontend([[node]])
    line = _once(Node("--join", frontend.address), "join-refused", "warn", do="correct the address", member=frontend.address, status=404)
    check("of the two" not in line, line)


@test
def log_of_one_that_is_joined_and_gives_no_answer():
    """Without a line on it, who has written a wrong port sees a node that serves alone, and not why."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        node = Node("--join", address)
        _once(node, "join-unanswered", "warn", do="correct --join", member=address, msg="\"it takes connections, but gives no answer that is one of HTTP\"")
    address = f"127.0.0.1:{free_port()}"
    _once(Node("--join", address), "join-unanswered", "warn", do="correct --join", member=address, msg="\"it refuses connections\"")


@test
def log_of_a_member_that_has_stopped_says_nothing_of_join():
    first = Node()
    second = Node("--join", first.address)
    second.wait_log("event=ready", 10, "that it is ready")
    first.signal(signal.SIGTERM)
    second.wait_log("event=member-gone", 10, "that it has gone")
    time.sleep(1.5)  # three tries at --join
    equal(second.count_log("event=join-unanswered"), 0, "lines on it")


@test
def log_of_a_node_that_joins_itself_and_does_not_reach_itself():
    """Its address is one that leads to it from outside alone: there is nothing to start, or to correct."""
    address, other = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    node = Node("--advertise", address, "--join", f"{address},{other}")
    _once(node, "join-unanswered", "warn", member=other)
    time.sleep(1.5)  # three tries at --join
    equal(node.count_log(f"member={address}"), 0, "lines on its own address")


@test
def log_of_a_web_server_that_is_joined_has_none_of_its_html():
    page = b"<!DOCTYPE HTML>\n<html lang='en'>"
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node("--join", f"127.0.0.1:{server.getsockname()[1]}")
        with server.accept()[0] as one:
            one.recv(65536)
            one.sendall(b"HTTP/1.1 501 No\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))
            line = _once(node, "join-refused", "warn", do="correct the address", msg="\"What answers there gives a page of HTML.\"")
    check("html lang" not in line, line)


@test
def log_of_what_others_make_up():
    """Nobody's words can end a value of the log, and begin another one."""
    evil = b'no" do="x" level=error event=memory-full evil="yes\\'
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node("--join", f"127.0.0.1:{server.getsockname()[1]}")
        with server.accept()[0] as one:
            one.recv(65536)
            one.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%s" % (len(evil), evil))
            line = _once(node, "join-refused", "warn", do="one of the two")
    check("msg=\"no' do='x' level=error event=memory-full evil='yes/\" do=" in line, line)
    equal(node.call("POST", "/-/members", _hello('x" event=memory-full x="')).status, 409, "the status")
    equal(node.call("POST", "/-/members", _hello("fog", partition='x" event=memory-full x="')).status, 409, "the status")
    until(lambda: len(_said(node, "member-refused")) == 2, UP_SECONDS, "both are told")
    for line in _said(node, "member-refused"):
        check("'x' event=memory-full x='' and '" in line, line)


@test
def log_of_another_protocol():
    node = Node()
    reply = node.call("POST", "/-/members", _hello("fog", protocol=2))
    equal(reply.status, 409, "the status")
    check(b"different protocols (2 and 1)" in reply.body, reply.line())
    check("run one version" in _once(node, "member-refused", "warn", do="one of the two"), "the reason")


@test
def log_of_clients_from_elsewhere():
    node = Node("--allow", "127.0.0.1/32")
    for _ in range(200):
        try:
            with node.connect(source="127.0.0.2") as connection:
                equal(connection.rest(seconds=5), b"", "what a stranger gets")
        except OSError:
            pass
    until(lambda: b'reason="network"} 200' in node.call("GET", "/-/metrics").body, 5, "all are counted")
    line = _once(node, "client-refused", "warn", do="--allow")
    check("address=127.0.0.2:" in line, line)


@test
def log_of_too_many_connections():
    node = Node("--connections-max", "2")
    with node.connect() as one, node.connect() as two:
        for kept in (one, two):
            equal(kept.ask("GET", "/-/healthy").status, 200, "the status")
        for _ in range(100):
            with node.connect() as third:
                try:
                    check(third.rest(seconds=5).startswith(b"HTTP/1.1 503"), "the third client is served")
                except (OSError, Failure):
                    pass
        _once(node, "connections-full", "warn", do="--connections-max")


@test
def log_of_too_few_descriptors():
    node = Node("--connections-max", "100", prefix=("sh", "-c", 'ulimit -n 24; exec "$@"', "sh"))
    crowd = []
    for _ in range(40):
        crowd.append(node.connect())
    _once(node, "accept-paused", "warn", do="LimitNOFILE")
    for connection in crowd:
        connection.close()
    equal(node.call("GET", "/-/healthy").status, 200, "the status once there are descriptors again")
    before = metric(node, "velour_fog_accept_failures_total")
    crowd = [node.connect() for _ in range(40)]
    time.sleep(0.5)  # some more attempts
    for connection in crowd:
        connection.close()
    until(lambda: metric(node, "velour_fog_accept_failures_total") > before, 5, "it was so again")
    _once(node, "accept-paused", "warn")


@test
def log_of_a_full_memory():
    node = Node("--memory-max", "16M")
    statuses = []
    while statuses.count(507) < 100:
        statuses.append(node.call("PUT", f"/k{len(statuses)}", b"x" * 65536).status)
        check(len(statuses) < 1000, "the memory is not full")
    _once(node, "memory-full", "error", do="--memory-max")


@test
def log_of_damaged_records():
    node = Node()
    for _ in range(50):
        equal(node.call("POST", "/-/merge", b"rubbish " * 20).status, 400, "the status")
    _once(node, "merge-refused", "warn", do="backup", msg='"')


@test
def log_of_records_of_another_partition():
    """Those before the first one that is refused are in, and no more are counted."""
    source, node = Node(), Node("--partition", "0/2")
    for number in range(20):
        source.put(f"k-{number}", b"x")
    reply = node.call("POST", "/-/merge", source.call("GET", "/-/records").body)
    equal(reply.status, 421, "the status")
    found = re.search(rb"The (\d+) records before it were read, (\d+) of them were new here", reply.body)
    keys = node.call("GET", "/-/keys").body.count(b"\n")
    check(found, reply.line())
    equal((int(found.group(1)), int(found.group(2))), (keys, keys), "what is said to be in")
    _once(node, "merge-refused", "warn", do="velour-fog restore")


@test
def log_of_keys_of_another_partition():
    node = Node("--partition", "0/2")
    key = key_of(1, 2)
    for _ in range(50):
        equal(node.get(key).status, 421, "the status")
    line = _once(node, "misrouted", "warn", do="number of partitions")
    check("partition=0 wanted=1 of=2" in line, line)


@test
def log_of_a_name_that_nobody_knows():
    node = Node("--join", "no-such-name.invalid:8000")
    _once(node, "name-unknown", "warn", do="--join", seconds=12, name="no-such-name.invalid")


@test
def log_of_a_node_that_hangs():
    nodes = cluster(2)
    front_end = Frontend([nodes])
    _frozen(nodes[0], 3)
    _once(front_end, "node-down", "warn", node=nodes[0].address, msg='"it does not answer"')


@test
def log_of_clusters_in_a_wrong_order():
    groups = clusters(2, 1)
    front_end = Frontend([groups[1], groups[0]], ready=False)
    for number, (node,) in enumerate(reversed(groups)):
        _once(front_end, "wrong-partition", "error", partition=number, node=node.address)
        line = _once(front_end, "partition-lost", "error", do="correct --cluster", partition=number)
        check(f"get {front_end.get(key_of(number, 2)).status}\"" in line, line)


def _log_of_what_is_no_node(answers):
    """It is told once, and asked ever less often. After so many answers it closes."""
    asked = [0]

    def serve(server):
        while True:
            try:
                one, _ = server.accept()
            except OSError:  # it was closed
                return
            asked[0] += 1
            with one:
                one.recv(65536)
                one.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno" * answers)

    with socket.create_server(("127.0.0.1", 0)) as server:
        Background(serve, server)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        front_end = Frontend([[address]], ready=False)
        until(lambda: asked[0] > 0, UP_SECONDS, "it is asked")
        time.sleep(3)
        check(asked[0] <= 8, f"it was asked {asked[0]} times")
        server.shutdown(socket.SHUT_RDWR)
    _once(front_end, "node-foreign", "warn", do="correct --cluster", node=address, status=404)
    _parses(front_end)


@test
def log_of_what_is_no_node():
    _log_of_what_is_no_node(2)


@test
def log_of_what_is_no_node_and_closes_behind_each_answer():
    _log_of_what_is_no_node(1)


@test
def log_of_a_front_end():
    nodes = cluster(2)
    front_end = Frontend([nodes])
    nodes[0].kill()
    _once(front_end, "node-down", "warn", node=nodes[0].address)
    equal(_said(front_end, "node-unusable", node=nodes[0].address), [], "a second line on the same")
    nodes[1].terminate()
    until(lambda: _said(front_end, "node-down", node=nodes[1].address), UP_SECONDS, "the end of the other one")
    expected = _said(front_end, "node-unusable", node=nodes[1].address)  # unless it was quicker than the next question
    _once(front_end, "node-down", "info" if expected else "warn", node=nodes[1].address)
    _once(front_end, "partition-lost", "error", do="start its nodes", partition=0)
    nobody = f"127.0.0.1:{free_port()}"
    lonely = Frontend([[nobody]], ready=False)
    _once(lonely, "partition-lost", "error", do="start its nodes", partition=0, asked=nobody)
    for one in (front_end, lonely):
        _parses(one)
