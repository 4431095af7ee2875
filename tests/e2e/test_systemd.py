"""What systemd wants to be told, and the sockets that it hands over."""

import os
import re
import signal
import socket
import sys
import time

from client import curl_code, request
from harness import SLOW, Failure, Skip, check, equal, fresh, register, scope, test, until
from node import SOON, Node, free_port, refuses_quickly, stopped
from served import serve

class _Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.name = f"@fog-e2e-{os.getpid()}-{fresh()}" if abstract else os.path.join(scope().directory(), "notify")
        self.socket.bind("\0" + self.name[1:] if abstract else self.name)
        scope().connections.append(self)
        self.seen = []

    def shutdown(self):
        """Ends every wait."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already

    def close(self):
        """Closes it."""
        self.socket.close()

    def fill(self):
        """Has no room for more, as long as it reads nothing."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                while True:
                    other.sendto(b"X_OTHER=1", self.name)
            except BlockingIOError:
                pass

    def wait(self, pattern, seconds=5):
        """Waits for a line that begins with the pattern."""
        end = time.monotonic() + seconds * SLOW
        at = 0
        while True:
            for line in self.seen[at:]:
                if re.match(pattern, line):
                    return line
            at = len(self.seen)
            left = end - time.monotonic()
            check(left > 0, f"systemd was not told {pattern}, but {self.seen}")
            self.socket.settimeout(left)
            try:
                self.seen += self.socket.recv(65536).decode().splitlines()
            except TimeoutError:
                pass


def _notified(abstract):
    manager = _Manager(abstract)
    node = serve(env={"NOTIFY_SOCKET": manager.name})
    manager.wait("READY=1$")
    manager.wait("STATUS=.+")
    check(not any(line.startswith("WATCHDOG=") for line in manager.seen), "WATCHDOG=1 without WATCHDOG_USEC")
    check(not any(line.startswith("STOPPING=") for line in manager.seen), "STOPPING=1 before the stop")
    node.put("k", b"x")
    node.signal(signal.SIGTERM)
    manager.wait("STOPPING=1$")
    stopped(node, SOON)


register("systemd", "is_notified", _notified, False)
register("systemd", "is_notified_over_an_abstract_socket", _notified, True)


@test
def is_told_ready_only_when_it_listens():
    manager = _Manager()
    port = free_port()
    node = serve(listen=f"127.0.0.1:{port}", port=port, env={"NOTIFY_SOCKET": manager.name})
    manager.wait("READY=1$", 10)
    equal(node.get("k").status, 204, "the status of a request right after READY=1")


@test
def is_told_ready_though_there_was_no_room_for_it_at_first():
    manager = _Manager()
    manager.fill()
    node = serve(env={"NOTIFY_SOCKET": manager.name})
    node.put("k", b"x")
    manager.wait("READY=1$", 5)
    manager.wait("STATUS=.+", 5)


@test
def watchdog_is_fed():
    manager = _Manager()
    node = serve(env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "400000"})
    manager.wait("READY=1$")
    times = []
    for _ in range(5):
        manager.seen.clear()
        manager.wait("WATCHDOG=1$")
        times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    check(max(gaps) < 0.4 * SLOW, f"with a watchdog of 0.4 s the gaps are {[round(gap, 2) for gap in gaps]}")
    check(sum(gaps) > 0.2, f"the watchdog is fed all the time: {[round(gap, 3) for gap in gaps]}")
    node.put("k", b"x")


@test
def watchdog_of_another_process_is_not_fed():
    manager = _Manager()
    serve(env={"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"})
    manager.wait("READY=1$")
    try:
        manager.wait("WATCHDOG=1$", 0.6 / SLOW)
    except Failure:
        return
    raise Failure("WATCHDOG=1 though WATCHDOG_PID is another process")


@test
def that_is_gone_is_harmless():
    node = serve(env={"NOTIFY_SOCKET": os.path.join(scope().directory(), "nothing-there"), "WATCHDOG_USEC": "100000"})
    node.put("k", b"x")
    time.sleep(0.3)  # so that the watchdog would have been fed
    equal(node.get("k").body, b"x", "the value")


_ACTIVATE = ("import os, sys; n = int(sys.argv[1]); os.dup2(int(sys.argv[2]), 3, inheritable=True); "
             "os.environ['LISTEN_FDS'] = str(n); os.environ['LISTEN_PID'] = sys.argv[3] or str(os.getpid()); "
             "os.execv(sys.argv[4], sys.argv[4:])")


def _activated(listener, *options, pid="", listen=None, port=0):
    return serve(*options, listen=listen, port=port or listener.getsockname()[1], pass_fds=[listener.fileno()],
                prefix=[sys.executable, "-c", _ACTIVATE, "1", str(listener.fileno()), pid])


@test
def socket_activation_without_standard_descriptors():
    """No connection gets the number of stderr, and the log with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        node = serve("--log-level", "debug", listen=None, port=listener.getsockname()[1], pass_fds=[listener.fileno()],
                     prefix=[sys.executable, "-c", "import os; os.closerange(0, 3); " + _ACTIVATE, "1", str(listener.fileno()), ""])
        with node.connect() as first, node.connect() as second:
            for connection in (first, second):
                equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
            for _ in range(3):
                node.signal(signal.SIGHUP)
            for connection in (first, second):
                connection.silent(0.2)
                equal(connection.ask("GET", "/k").body, b"x", "the value")
        equal(node.terminate(), 0, "the exit code")


@test
def socket_activation():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), 20 * SLOW) as early:  # before the node runs
            early.sendall(request("PUT", "/k", b"early", ["Connection: close"]))
            node = _activated(listener)
            check(early.recv(100).startswith(b"HTTP/1.1 200 "), "the client that came before the node is not served")
        equal(node.get("k").body, b"early", "the value")
        equal(node.terminate(), 0, "the exit code")
        with socket.create_connection(("127.0.0.1", port), 5):
            pass  # the socket is systemd's, and lives on


def _cpu_seconds(node):
    with open(f"/proc/{node.process.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@test
def socket_activation_costs_nothing_while_it_drains():
    """Who connects then waits for the next process, at a socket that systemd keeps open."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        node = _activated(listener)
        with node.connect() as slow:
            node.wait_log("event=listening", 5, "it listens")
            slow.send(request("PUT", "/k", b"ab")[:-1])
            slow.silent(0.2)
            node.signal(signal.SIGTERM)
            node.wait_log("event=draining", 5, "it drains")
            with socket.create_connection(listener.getsockname(), 5):
                before = _cpu_seconds(node)
                time.sleep(1)
                check(_cpu_seconds(node) - before < 0.3, "it turns without rest")
            slow.send(b"b")
            equal(slow.reply().status, 200, "the status")
        equal(node.wait(5), 0, "the exit code")


@test
def socket_activation_over_ipv6():
    try:
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as error:
        raise Skip("no IPv6 here") from error
    with listener:
        node = _activated(listener, "--allow", "127.0.0.2/32")
        until(lambda: curl_code("--interface", "127.0.0.2", node.url("/-/healthy")) == 200, 10, "127.0.0.2 is served")
        equal(curl_code(node.url("/-/healthy")), 0, "the status from 127.0.0.1")


@test
def socket_activation_for_another_process_is_ignored():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = free_port()
        node = _activated(listener, pid="1", listen=f"127.0.0.1:{port}", port=port)
        until(lambda: not refuses_quickly(node), 10, "the node takes connections on its own port")
        node.put("k", b"x")
        equal(node.get("k").body, b"x", "the value")


def _listens_on_unix():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(scope().directory(), "socket"))
    listener.listen()
    return listener


_WRONG = {
    "a_file": lambda: open(os.devnull, "rb"),
    "an_unbound_socket": socket.socket,
    "a_unix_socket": _listens_on_unix,
    "two_sockets": lambda: socket.create_server(("127.0.0.1", 0)),
}


def _foreign_descriptor(kind):
    """What is handed over is no listening TCP socket, or not one alone: said in a sentence, no crash, and nobody waits for an answer."""
    with _WRONG[kind]() as wrong:
        node = Node(listen=None, port=1, pass_fds=[wrong.fileno()],
                    prefix=[sys.executable, "-c", _ACTIVATE, "2" if kind == "two_sockets" else "1", str(wrong.fileno()), ""])
        code = node.wait(5)
        check(code in (1, 2), f"the exit code is {code}")
        until(lambda: any("LISTEN_FDS" in line for line in node.lines), 5, "the sentence")
        node.kill()  # its exit code is as it should be


for _kind in _WRONG:
    register("systemd", f"socket_activation_with_{_kind}_is_refused", _foreign_descriptor, _kind)
