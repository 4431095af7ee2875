"""Connections, file descriptors, who may connect, and clients that do not read."""

import ipaddress
import os
import re
import select
import socket
import time

from client import MIB, curl, curl_code, is_ready, request
from harness import GUARDED, SLOW, Failure, Skip, check, equal, register, test, until
from node import Node
from served import serve


def _served(node, **options):
    """Whether a new connection gets a right answer soon; it is closed then."""
    try:
        with node.connect(seconds=2, **options) as connection:
            return connection.ask("GET", "/-/healthy", seconds=2).status == 200
    except (Failure, OSError):
        return False


# --- how many connections

@test
def connections_max_spares_the_old_ones():
    node = serve("--connections-max", "10")
    old = [node.connect() for _ in range(10)]
    for number, connection in enumerate(old):
        equal(connection.ask("PUT", f"/k{number}", b"x").status, 200, "the status")
    for _ in range(5):
        with node.connect() as extra:
            try:
                extra.send(request("GET", "/k0"))
                left = extra.rest(seconds=5)
            except Failure:
                left = b""  # waits, without an answer
            except OSError:
                left = b""
            check(not left or left.startswith(b"HTTP/1.1 503 "), f"connection 11 of 10 gets {left[:80]!r}")
    for number, connection in enumerate(old):
        equal(connection.ask("GET", f"/k{number}").body, b"x", "the value on an old connection")
    old.pop().close()
    until(lambda: _served(node), 5, "a place that was left is given to a new client")
    for number, connection in enumerate(old):
        equal(connection.ask("GET", f"/k{number}").body, b"x", "the value on an old connection")


@test
def timers_go_with_their_connections():
    node = serve()

    def timers():
        return int(re.search(r"^velour_fog_timers (\d+)$", node.call("GET", "/-/metrics").body.decode(), re.M).group(1))

    before = timers()
    connections = [node.connect() for _ in range(40)]
    for connection in connections:
        equal(connection.ask("GET", "/-/healthy").status, 200, "the status")
    check(timers() >= before + 40, f"{timers()} timers with 40 connections more, {before} before")
    for connection in connections:
        connection.close()
    until(lambda: timers() <= before + 10, 5, f"the timers of 40 connections are gone, {before} were before")


@test
def connections_max_of_one():
    node = serve("--connections-max", "1")
    for number in range(20):
        until(lambda: _served(node), 5, f"client {number} is served after the one before has left")


@test
def connections_max_by_itself_leaves_descriptors_for_members():
    node = Node(prefix=("sh", "-c", 'ulimit -n 1024; exec "$@"', "sh"))
    crowd = []
    for _ in range(1100):  # those past the limit are told so, and stay as long as they are let
        crowd.append(socket.socket())
        crowd[-1].connect(("127.0.0.1", node.port))
    until(lambda: node.count_log("event=connections-full"), 5, "no client more has a place")
    time.sleep(0.5)
    equal(node.count_log("event=accept-paused"), 0, "times that it had no descriptors left")
    for client in crowd:
        client.close()


@test
def many_connections_at_once():
    node = serve()
    node.put("k", b"x")
    crowd = [node.connect() for _ in range(500)]
    for connection in crowd:
        connection.send(request("GET", "/k"))
    for connection in crowd:
        equal(connection.reply().body, b"x", "the value")
    before = node.descriptors()
    for connection in crowd:
        connection.close()
    until(lambda: node.descriptors() <= before - 500, 5, "closed connections are given back")


@test
def connections_that_come_and_go():
    node = serve()
    node.put("k", b"x")
    before = node.descriptors()
    for number in range(600):
        connection = node.connect()
        if number % 3 == 0:
            equal(connection.ask("GET", "/k").body, b"x", "the value")
        elif number % 3 == 1:
            connection.send(request("GET", "/k"))
            connection.reset()
            continue
        connection.close()
    until(lambda: node.descriptors() <= before, 5, "closed connections are given back")


@test
def out_of_descriptors():
    node = serve(prefix=["sh", "-c", 'ulimit -n 48; exec "$0" "$@"'])
    old = [node.connect() for _ in range(8)]
    for number, connection in enumerate(old):
        equal(connection.ask("PUT", f"/k{number}", b"x").status, 200, "the status")
    crowd = []
    for _ in range(100):
        try:
            crowd.append(node.connect(seconds=2))
            crowd[-1].send(request("GET", "/k0"))
        except OSError:
            pass  # refused, or closed at once
    for _ in range(3):
        for number, connection in enumerate(old):
            equal(connection.ask("GET", f"/k{number}", seconds=5).body, b"x", "the value on an old connection")
    used = node.cpu_seconds()
    time.sleep(1)  # the time over which CPU use is measured
    used = node.cpu_seconds() - used
    check(used < 0.5, f"without descriptors the node uses {used:.2f} s of CPU in a second")
    for connection in crowd:
        connection.close()
    until(lambda: _served(node), 10, "new clients are served when descriptors are free again")
    for number, connection in enumerate(old):
        equal(connection.ask("GET", f"/k{number}").body, b"x", "the value on an old connection")


@test
def waiting_clients_are_served_when_descriptors_come_back():
    node = serve(prefix=["sh", "-c", 'ulimit -n 48; exec "$0" "$@"'])
    node.put("k", b"x")
    crowd = []
    for _ in range(60):
        try:
            crowd.append(node.connect(seconds=2))
        except OSError:
            pass
    for connection in crowd[:-5]:
        connection.close()
    for connection in crowd[-5:]:
        try:
            connection.send(request("GET", "/k"))
            answer = connection.reply(seconds=10)
            check(answer.status in (200, 503), f"a client that waited gets {answer.line()}")
        except OSError:
            pass  # was refused, which is allowed too
        except Failure as failure:
            check("closes without an answer" in str(failure), str(failure))
    until(lambda: _served(node), 10, "new clients are served")


# --- who may connect

def _allowed(node, source, host="127.0.0.1"):
    """Whether curl from that address gets an answer."""
    return curl_code("--interface", source, node.url("/-/healthy", host), seconds=5) == 200


@test
def allow_is_obeyed():
    node = serve("--allow", "127.0.0.2/32")
    check(_allowed(node, "127.0.0.2"), "127.0.0.2 is not let in")
    for source in ("127.0.0.1", "127.0.0.3"):
        check(not _allowed(node, source), f"{source} is let in")
    check(_allowed(node, "127.0.0.2"), "127.0.0.2 is not let in any more")


@test
def allow_closes_without_an_answer():
    node = serve("--allow", "127.0.0.2/32")
    done = curl("-i", node.url("/"), seconds=5)
    check(done.returncode in (7, 52, 55, 56) and not done.stdout, f"curl ends with {done.returncode}: {done.stdout!r}")


@test
def allow_several():
    node = serve("--allow", "127.0.0.2/32", "--allow", "127.0.1.0/24")
    for source, wanted in {"127.0.0.2": True, "127.0.1.0": True, "127.0.1.255": True, "127.0.0.1": False,
                           "127.0.2.0": False, "127.0.0.255": False}.items():
        equal(_allowed(node, source), wanted, f"{source} is let in")


def _prefix(cidr, inside, outside):
    node = serve("--allow", cidr)
    for source in inside:
        check(_allowed(node, source), f"{source} is not let in with {cidr}")
    for source in outside:
        check(not _allowed(node, source), f"{source} is let in with {cidr}")


for _name, _cidr, _inside, _outside in (
        ("30", "127.0.0.4/30", ["127.0.0.4", "127.0.0.7"], ["127.0.0.3", "127.0.0.8", "127.0.0.1"]),
        ("31", "127.0.0.2/31", ["127.0.0.2", "127.0.0.3"], ["127.0.0.1", "127.0.0.4"]),
        ("9", "127.128.0.0/9", ["127.128.0.0", "127.255.255.1"], ["127.0.0.1", "127.127.255.255"]),
        ("8", "127.0.0.0/8", ["127.0.0.1", "127.200.3.4"], []),
        ("0", "0.0.0.0/0", ["127.0.0.1", "127.200.3.4"], [])):
    register("limits", f"allow_prefix_of_{_name}_bits", _prefix, _cidr, _inside, _outside)


def _dual(*options):
    """A node that listens on all addresses, of both kinds."""
    if not socket.has_ipv6:
        raise Skip("no IPv6 here")
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        raise Skip("no IPv6 here") from error
    return serve(*options, listen="[::]:0")


@test
def dual_listener_serves_both():
    node = _dual()
    equal(curl_code("--data-binary", "x", node.url("/k")), 200, "the status over IPv4")
    equal(curl(node.url("/k", "[::1]")).stdout, b"x", "the value over IPv6")


@test
def mapped_addresses_obey_ipv4_cidrs():
    node = _dual("--allow", "127.0.0.2/32")
    check(_allowed(node, "127.0.0.2"), "127.0.0.2 is not let in")
    check(not _allowed(node, "127.0.0.1"), "127.0.0.1 is let in")
    check(not _allowed(node, "::1", "[::1]"), "::1 is let in")


@test
def ipv6_cidr_lets_in_no_ipv4():
    node = _dual("--allow", "::1/128")
    check(_allowed(node, "::1", "[::1]"), "::1 is not let in")
    check(not _allowed(node, "127.0.0.1"), "127.0.0.1 is let in")


@test
def all_of_ipv4_is_not_all_of_ipv6():
    node = _dual("--allow", "0.0.0.0/0")
    check(_allowed(node, "127.0.0.1"), "127.0.0.1 is not let in")
    check(not _allowed(node, "::1", "[::1]"), "::1 is let in")


@test
def listener_on_ipv6_loopback():
    _dual()
    node = serve(listen="[::1]:0")
    equal(curl_code(node.url("/-/healthy", "[::1]")), 200, "the status over IPv6")


PRIVATE = [ipaddress.ip_network(text) for text in (
    "127.0.0.0/8", "169.254.0.0/16", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fe80::/10",
    "fc00::/7")]


def _own_address(family, towards):
    """This machine's address that it would use towards another one, or None."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((towards, 9))  # sends nothing
        except OSError:
            return None
        return probe.getsockname()[0]


@test
def default_lets_in_just_private_addresses():
    node = _dual()
    seen = 0
    for family, towards in ((socket.AF_INET, "203.0.113.1"), (socket.AF_INET6, "2001:db8::1")):
        own = _own_address(family, towards)
        if not own:
            continue
        seen += 1
        private = any(ipaddress.ip_address(own) in network for network in PRIVATE if ":" in own or network.version == 4)
        host = f"[{own}]" if ":" in own else own
        equal(_allowed(node, own, host), private, f"{own} is let in")
    for own, host in (("127.0.0.1", "127.0.0.1"), ("127.9.9.9", "127.0.0.1"), ("::1", "[::1]")):
        check(_allowed(node, own, host), f"{own} is not let in")
    if not seen:
        raise Skip("this machine has no address but loopback ones; those are let in")


@test
def refused_clients_are_counted():
    node = serve("--allow", "127.0.0.2/32")

    def count():
        with node.connect(source="127.0.0.2") as connection:
            text = connection.ask("GET", "/-/metrics").body.decode()
        found = re.findall(r"^(velour_fog_\w*(?:refused|denied|rejected|allow)\w*)(?:\{([^}]*)\})? (\S+)$", text, re.M)
        check(found, "no metric counts who was refused")
        return sum(float(value) for _, _, value in found)

    before = count()
    for _ in range(3):
        curl(node.url("/"), seconds=5)
    equal(count() - before, 3, "the growth of the count after 3 refused clients")


# --- clients that do not read

def _quick(node, count=50):
    """Others are served meanwhile."""
    with node.connect() as connection:
        for number in range(count):
            started = time.monotonic()
            reply = connection.ask("PUT", "/other", b"%d" % number, seconds=5)
            check(reply.status == 200, f"a PUT is answered with {reply.line()}")
            equal(connection.ask("GET", "/other", seconds=5).body, b"%d" % number, "the value")
            check(time.monotonic() - started < 1 * SLOW, f"a PUT and a GET took {time.monotonic() - started:.2f} s")


@test(alone=True)
def unread_large_values_cost_no_memory():
    node = serve()
    value = os.urandom(MIB) * 64
    node.put("big", value)
    _quick(node)
    before = node.memory()
    slow = []
    for _ in range(20):
        slow.append(node.connect(receive_buffer=65536))
        slow[-1].send(request("GET", "/big"))
        slow[-1].buffer = slow[-1].socket.recv(100)
    _quick(node)
    grown = node.memory() - before
    check(grown < 16 * MIB or GUARDED, f"the memory grew by {grown} bytes with 20 readers of 64 MiB that do not read")
    node.put("big", b"new")  # the old value lives as long as it is read
    _quick(node)
    first = slow.pop()
    check(first.reply().body == value, "a value that was replaced while it was read comes changed")
    for connection in slow:
        connection.reset()
    if node.holds_values and not GUARDED:
        until(lambda: node.memory() < before - 32 * MIB, 10, "the memory of the value is given back")
    equal(node.get("big").body, b"new", "the value")


def _fill(connection, data):
    """Sends without reading until nothing has gone for a moment; the bytes that went."""
    connection.socket.setblocking(False)
    sent = 0
    view = memoryview(data)
    while sent < len(view):
        if not is_ready(connection.socket, 0.5, select.POLLOUT):
            break
        try:
            sent += connection.socket.send(view[sent:sent + 65536])
        except BlockingIOError:
            pass
    return sent


@test(alone=True)
def unread_pipelined_answers_cost_no_memory():
    node = serve()
    value = os.urandom(65536)
    node.put("k", value)
    _quick(node)
    one = request("GET", "/k")
    requests = one * 200000
    before = node.memory()
    connection = node.connect(receive_buffer=65536)
    sent = _fill(connection, requests)
    check(sent < len(requests), "the node takes in requests without end while nobody reads its answers")
    _quick(node)
    grown = node.memory() - before
    check(grown < 32 * MIB or GUARDED, f"the memory grew by {grown} bytes with {sent // len(one)} unread answers")
    count = sent // len(one)
    for number in range(min(count, 500)):
        check(connection.reply().body == value, f"answer {number} of {count} is changed")


@test(alone=True)
def unread_small_answers_cost_no_memory():
    node = serve()
    _quick(node)
    one = request("GET", "/absent")
    requests = one * 1000000
    before = node.memory()
    crowd = [node.connect(receive_buffer=65536) for _ in range(3)]
    sent = [_fill(connection, requests) for connection in crowd]
    _quick(node)
    grown = node.memory() - before
    check(grown < 32 * MIB or GUARDED, f"the memory grew by {grown} bytes with {sum(sent) // len(one)} unread answers")
    check(max(sent) < len(requests), "the node takes in requests without end while nobody reads its answers")
    for connection in crowd:
        for number in range(1000):
            equal(connection.reply().status, 204, f"the status of answer {number}")


@test
def slow_reader_gets_all_of_it():
    node = serve()
    value = os.urandom(3 * MIB)
    node.put("k", value)
    with node.connect(receive_buffer=65536) as connection:
        connection.send(request("GET", "/k") * 2)
        equal(len(connection.socket.recv(10, socket.MSG_PEEK)) > 0, True, "the answer begins")
        _quick(node, 20)
        for _ in range(2):
            check(connection.reply(seconds=40).body == value, "the value comes back changed")


@test
def many_unfinished_requests_cost_little():
    node = serve()
    _quick(node)
    before = node.memory()
    crowd = [node.connect() for _ in range(300)]
    for connection in crowd:
        connection.send(b"GET /k HTTP/1.1\r\nHost: x\r\nX-A: aaaa")
    _quick(node)
    grown = node.memory() - before
    check(grown < 16 * MIB or GUARDED, f"300 unfinished requests cost {grown} bytes")
    for connection in crowd[::10]:
        connection.send(b"\r\n\r\n")
        equal(connection.reply().status, 204, "the status")


@test
def announced_bodies_cost_nothing():
    node = serve()
    _quick(node)
    before = node.memory()
    for _ in range(100):
        node.connect().send(request("PUT", "/k", None, ["Content-Length: 60000000"]) + b"a")
    _quick(node)
    grown = node.memory() - before
    check(grown < 64 * MIB or GUARDED, f"100 announced bodies of 60 MB cost {grown} bytes before they came")
