"""Signals, draining, closed descriptors, and the log."""

import os
import pty
import re
import signal
import socket
import time

from client import MIB, curl_code, is_ready, request
from harness import Background, Failure, check, equal, register, test, until
from node import SOON, free_port, refuses_quickly, stopped
from served import serve

LOGFMT = re.compile(r'(<[0-7]>)?([A-Za-z_][\w.-]*=("([^"\\\x00-\x1f]|\\.)*"|[^\s"=\x00-\x1f]*))( [A-Za-z_][\w.-]*='
                    r'("([^"\\\x00-\x1f]|\\.)*"|[^\s"=\x00-\x1f]*))*')


# --- stopping

def _ends(number):
    node = serve()
    node.put("k", b"x")
    node.signal(number)
    stopped(node, SOON)


register("process", "sigterm_ends_it_with_0", _ends, signal.SIGTERM)
register("process", "sigint_ends_it_with_0", _ends, signal.SIGINT)


@test
def idle_connections_are_closed_at_once():
    node = serve("--drain-time", "20")
    idle = [node.connect() for _ in range(50)]
    for connection in idle[::2]:  # the others have never said a word
        equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
    node.signal(signal.SIGTERM)
    for connection in idle:
        connection.closed(seconds=SOON)
    stopped(node, SOON)


@test
def who_does_not_wait_says_that_something_was_cut_off_only_if_it_was():
    for busy in (False, True):
        node = serve("--drain-time", "0")
        if busy:
            connection = node.connect()
            connection.send(request("PUT", "/k", None, ["Content-Length: 2"]))
            connection.silent(0.2)
        node.signal(signal.SIGTERM)
        stopped(node, SOON)
        equal(node.count_log("event=drain-time-over"), busy, f"how often something was cut off ({node.tail()})")


def _in_flight(first, second, method="PUT"):
    """A request is half sent when the signal comes: it is finished, answered, and the connection closed."""
    node = serve("--drain-time", "20")
    with node.connect() as connection, node.connect() as other:
        equal(other.ask("PUT", "/other", b"x").status, 200, "the status of another request")
        connection.send(first)
        connection.silent(0.2)  # it has been read when nothing more can come
        node.signal(signal.SIGTERM)
        other.closed(seconds=SOON)
        check(node.alive(), "the node has ended before the request was finished")
        connection.send(second)
        answer = connection.reply(method)
        equal(answer.status, 200, "the status")
        check(answer.closes(), "the answer does not say Connection: close")
        connection.closed(seconds=SOON)
    stopped(node, SOON)


register("process", "body_in_flight_is_finished", _in_flight,
         request("PUT", "/k", None, ["Content-Length: 10"]) + b"01234", b"56789")
register("process", "chunked_body_in_flight_is_finished", _in_flight,
         request("PUT", "/k", None, ["Transfer-Encoding: chunked"]) + b"5\r\n0123", b"4\r\n0\r\n\r\n")
register("process", "head_in_flight_is_finished", _in_flight, b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-",
         b"Length: 0\r\n\r\n")


@test
def large_answer_in_flight_is_finished():
    node = serve("--drain-time", "20")
    value = os.urandom(MIB) * 32
    node.put("k", value)
    with node.connect(receive_buffer=65536) as connection:
        connection.send(request("GET", "/k"))
        connection.buffer = connection.socket.recv(1000)
        node.signal(signal.SIGTERM)
        until(lambda: _refuses(node), SOON, "the node takes no new connections")
        check(connection.reply().body == value, "the value comes back changed")
        connection.closed(seconds=SOON)
    stopped(node, SOON)


def _refuses(node):
    try:
        with socket.create_connection(("127.0.0.1", node.port), 1) as probe:
            probe.settimeout(1)
            return probe.recv(1) == b""
    except OSError:
        return True


@test
def new_connections_are_refused_while_draining():
    node = serve("--drain-time", "20")
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, ["Content-Length: 10"]) + b"01234")
        connection.silent(0.2)
        node.signal(signal.SIGTERM)
        until(lambda: _refuses(node), SOON, "the node takes no new connections")
        equal(curl_code(node.url("/-/ready"), seconds=2), 0, "the status that curl sees")
        connection.send(b"56789")
        equal(connection.reply().status, 200, "the status")
    stopped(node, SOON)


@test
def waiting_requests_are_answered():
    node = serve("--drain-time", "20")
    tag = node.put("k", b"x").etag()
    waiters = [node.connect() for _ in range(20)]
    for waiter in waiters:
        waiter.send(request("GET", "/k", None, ["Prefer: wait=60", f"If-None-Match: {tag}"]))
    waiters[-1].silent(0.2)
    node.signal(signal.SIGTERM)
    for waiter in waiters:
        answer = waiter.reply(seconds=SOON)
        check(answer.status in (200, 304, 503), f"a waiter gets {answer.line()}")
        waiter.closed(seconds=SOON)
    stopped(node, SOON)


@test
def requests_that_are_read_while_it_drains_do_not_wait():
    node = serve("--drain-time", "20")
    tag = node.put("k", b"x").etag()
    clients = [node.connect() for _ in range(6)]
    clients[-1].silent(0.2)
    node.signal(signal.SIGSTOP)
    for number, client in enumerate(clients):
        if number % 2:
            client.send(request("PUT", f"/w-{number}", b"v", ["Prefer: copies=9, wait=60"]))
        else:
            client.send(request("GET", "/k", None, ["Prefer: wait=60", f"If-None-Match: {tag}"]))
    node.signal(signal.SIGTERM)
    node.signal(signal.SIGCONT)
    for number, client in enumerate(clients):
        equal(client.reply("PUT" if number % 2 else "GET", seconds=SOON).status, 202 if number % 2 else 304, "the status")
        client.closed(seconds=SOON)
    stopped(node, SOON)


@test
def pipelined_requests_are_finished():
    node = serve("--drain-time", "20")
    with node.connect() as connection:
        count = 300
        connection.send(b"".join(request("PUT", "/k", b"%d" % number) for number in range(count)))
        equal(connection.reply().status, 200, "the first status")
        node.signal(signal.SIGTERM)
        answered = 1
        try:
            while True:
                answer = connection.reply(seconds=5)
                equal(answer.status, 200, "a status")
                answered += 1
                if answer.closes():
                    break
        except Failure as failure:
            check("closes without an answer" in str(failure), str(failure))
        connection.closed()
    stopped(node, SOON)


def _stuck(data):
    """A client that never finishes holds the node for the drain time, and no longer."""
    node = serve("--drain-time", "1")
    value = os.urandom(MIB) * 32
    node.put("k", value)
    with node.connect(receive_buffer=65536) as connection:
        connection.send(data)
        time.sleep(0.2)  # the request is there, or half there
        node.signal(signal.SIGTERM)
        stopped(node, 1 + 1, 0.5)


register("process", "drain_time_ends_an_unfinished_request", _stuck,
         request("PUT", "/k2", None, ["Content-Length: 10"]) + b"01234")
register("process", "drain_time_ends_an_unread_answer", _stuck, request("GET", "/k"))


@test
def unfinished_body_is_dropped_by_the_drain():
    node = serve("--drain-time", "1")
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, ["Content-Length: 10"]) + b"01234")
        connection.silent(0.1)
        node.signal(signal.SIGTERM)
        left = connection.rest()
        check(not left or left.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 503 ")), f"half a request gets {left[:80]!r}")
    stopped(node, SOON)


@test
def sigterm_twice():
    node = serve("--drain-time", "20")
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, ["Content-Length: 10"]) + b"01234")
        connection.silent(0.1)
        node.signal(signal.SIGTERM)
        node.signal(signal.SIGTERM)
    stopped(node, SOON)


@test
def sigterm_under_load():
    node = serve()
    stop = []

    def load(number):
        done = 0
        with node.connect() as connection:
            try:
                while not stop:
                    equal(connection.ask("PUT", f"/k{number}", b"x" * 1000).status, 200, "the status")
                    done += 1
            except (OSError, Failure):
                pass
        return done

    loads = [Background(load, number) for number in range(8)]
    until(lambda: all(node.get(f"k{number}").status == 200 for number in range(8)), 10, "the load has begun")
    node.signal(signal.SIGTERM)
    stopped(node, SOON)
    stop.append(True)
    check(min(one.result() for one in loads) > 0, "a client was never served")


# --- signals that are harmless

def _harmless(number):
    node = serve()
    with node.connect() as connection:
        equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
        for _ in range(3):
            node.signal(number)
            equal(connection.ask("GET", "/k").body, b"x", "the value")
        equal(node.get("k").body, b"x", "the value for a new client")


for _signal in (signal.SIGHUP, signal.SIGPIPE):
    register("process", f"{_signal.name.lower()}_is_harmless", _harmless, _signal)


@test
def stop_and_continue():
    node = serve()
    with node.connect() as connection:
        equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
        node.signal(signal.SIGSTOP)
        connection.send(request("GET", "/k"))
        connection.silent(0.2)
        node.signal(signal.SIGCONT)
        equal(connection.reply().body, b"x", "the value")


@test
def a_stop_longer_than_the_idle_time_loses_no_request():
    """As of a container that is paused: what came meanwhile is read before anybody is taken for idle.

    The first client's many requests have it stopped inside of a turn, where it does not wait. Who connected first must not
    be idle before the stop, however slow the machine is just then.
    """
    idle_s = 2
    node = serve("--idle-timeout", f"{idle_s}s")

    def connect_all():
        started = time.monotonic()
        connections = [node.connect() for _ in range(600)]
        connections[0].send(request("PUT", "/k", b"x") * 3000)
        node.signal(signal.SIGSTOP)
        if time.monotonic() - started < idle_s / 2:
            return connections
        node.signal(signal.SIGCONT)
        for connection in connections:
            connection.close()
        return None

    connections = until(connect_all, 20, "600 clients connect within half the idle time")
    for connection in connections[1:]:
        connection.send(request("PUT", "/k", b"x"))
    time.sleep(idle_s + 0.5)
    node.signal(signal.SIGCONT)
    for connection in connections:
        equal(connection.reply().status, 200, "the status")


@test
def clients_that_vanish_inside_an_answer():
    node = serve()
    value = bytes(4 * MIB)
    node.put("k", value)
    for _ in range(30):
        connection = node.connect(receive_buffer=65536)
        connection.send(request("GET", "/k") * 3)
        connection.socket.recv(10)
        connection.reset()
    check(node.get("k").body == value, "the value is changed")


@test
def closed_stderr_is_harmless():
    node = serve("--log-level", "debug", close_stderr=True)
    for _ in range(20):
        with node.connect() as connection:
            connection.send(b"nonsense\r\n\r\n")
            equal(connection.reply().status, 400, "the status")
    node.signal(signal.SIGHUP)
    node.put("k", b"x")
    equal(node.get("k").body, b"x", "the value")
    equal(node.terminate(), 0, "the exit code")


@test
def started_without_standard_descriptors():
    """A log line must not end up in a connection that got descriptor 2."""
    port = free_port()
    node = serve("--log-level", "debug", listen=f"127.0.0.1:{port}", port=port,
                prefix=["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-'])
    until(lambda: not refuses_quickly(node), 10, "the node takes connections")
    for number in range(5):
        with node.connect() as connection:
            connection.ask("PUT", f"/k{number}", b"x")
            with node.connect() as bad:
                bad.send(b"nonsense\r\n\r\n")
                equal(bad.reply().status, 400, "the status")
                bad.closed()
            equal(connection.ask("GET", f"/k{number}").body, b"x", "the value")
    equal(node.terminate(), 0, "the exit code")


# --- the log

@test
def log_is_logfmt_a_line_an_event():
    node = serve("--log-level", "debug")
    node.put("k", b"x")
    for data in (b"nonsense\r\n\r\n",
                 b"GET /%0Alevel=error%22%00%1b[31m HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
                 b"GET /a\"b=c HTTP/1.1\r\nHost: x\r\n\x01: y\r\n\r\n", b"GET /\xff\xfe HTTP/1.1\r\nHost: a b\r\n\r\n"):
        with node.connect() as connection:
            connection.send(data)
            connection.rest()
    node.signal(signal.SIGHUP)
    equal(node.terminate(), 0, "the exit code")
    node.finish()
    check(len(node.lines) >= 2, f"the log is {node.tail()}")
    for line in node.lines:
        check(LOGFMT.fullmatch(line), f"not logfmt: {line!r}")
        check(not line.startswith("<"), f"a journald priority without journald: {line!r}")


@test
def log_says_that_it_stops():
    node = serve()
    count = len(node.lines)
    equal(node.terminate(), 0, "the exit code")
    node.finish()
    check(len(node.lines) > count, f"nothing is logged of the stop, the log is {node.tail()}")


@test
def log_has_priorities_under_journald():
    node = serve("--log-level", "debug", journal=True)
    node.put("k", b"x")
    equal(node.terminate(), 0, "the exit code")
    node.finish()
    for line in node.lines:
        check(re.match(r"<[0-7]>", line), f"no journald priority: {line!r}")
        check(LOGFMT.fullmatch(line), f"not logfmt: {line!r}")


_LOG_ENDS = {"pipe": os.pipe, "socket": lambda: [end.detach() for end in socket.socketpair()], "terminal": pty.openpty}


def _fill(writing):
    """Leaves no room in it, but for the end of a line."""
    os.set_blocking(writing, False)
    for _ in range(10):  # a terminal has more room a little later
        try:
            while True:
                os.write(writing, b"x" * 100)
        except BlockingIOError:
            time.sleep(0.02)
    os.set_blocking(writing, True)  # it is the node's, too


def _read_all(reading, seconds=1):
    """What comes until it is silent for so long."""
    seen = b""
    while is_ready(reading, seconds):
        seen += os.read(reading, 65536)
    return seen


def _log_that_nobody_reads(kind):
    """Who reads the log stands still: then lines of it are lost, and nothing else. The first that comes through again says how many."""
    reading, writing = _LOG_ENDS[kind]()
    port = free_port()
    try:
        node = serve(listen=f"127.0.0.1:{port}", port=port, pass_fds=[writing],
                     prefix=["bash", "-c", f'exec "$0" "$@" 2>&{writing}'])
        until(lambda: b"event=listening" in os.read(reading, 4096), 10, "the node listens")
        _fill(writing)
        for _ in range(20):
            node.signal(signal.SIGHUP)
            with node.connect() as connection:
                equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
        _read_all(reading)
        node.signal(signal.SIGHUP)
        said = _read_all(reading)
        check(re.search(rb"event=signal lost=[1-9]\d* ", said), f"that lines were lost is not said: {said!r}")
        node.signal(signal.SIGHUP)
        said = _read_all(reading)
        check(b"event=signal signal=SIGHUP " in said, f"it is said again: {said!r}")
        _fill(writing)
        node.signal(signal.SIGTERM)
        stopped(node, SOON)
    finally:
        os.close(reading)
        os.close(writing)


for _kind in _LOG_ENDS:
    register("process", f"log_that_nobody_reads_holds_up_nothing_{_kind}", _log_that_nobody_reads, _kind)


# --- the processor

def _slices_can_be_chosen():
    """Else nobody yields, as that costs a whole one."""
    return [int(number) for number in os.uname().release.split(".")[:2]] >= [6, 12]


@test
def who_has_bulk_to_carry_lets_others_on_its_core_go_first():
    nodes = [serve(prefix=["nice", "-n", "1"]) for _ in range(2)]
    core = min(os.sched_getaffinity(0))
    for node in nodes:
        os.sched_setaffinity(node.process.pid, [core])
        equal(node.put("k", bytes(64 * MIB)).status, 200, "the status")
    before = [(node.preemptions(), node.cpu_seconds()) for node in nodes]
    reads = [Background(curl_code, *["-o", "/dev/null", node.url("/k")] * 4) for node in nodes for _ in range(4)]
    for read in reads:
        read.result(60)
    for node, (switches, seconds) in zip(nodes, before):
        rate = (node.preemptions() - switches) / (node.cpu_seconds() - seconds)
        check(rate > 1500 or not _slices_can_be_chosen(), f"while it carried bulk, others were let in {rate:.0f} times a second of its time")
        equal(os.getpriority(os.PRIO_PROCESS, node.process.pid), os.getpriority(os.PRIO_PROCESS, 0) + 1, "its nice value")
