"""Versions that do not know each other yet: what is new is passed over, and what cannot work together says so."""

import http.server
import re
import threading

from cluster import members, number, settle
from harness import check, equal, scope, test, until
from node import Node

SENTENCE = "The two nodes speak different protocols (2 and 1): run one version of Velour Fog."


def _hello(address, protocol, *more, phase="ready", words="", cluster="fog"):
    """Of a node with the number ab, as a later version might say it."""
    return "\n".join([f"protocol {protocol}", *more, f"cluster {cluster}", "partition -", "joined 0", "clock 1", "horizon 0",
                      "digest 0000000000000000", "records 0", f"member {address} {phase} 00000000000000ab 1 0 0{words}", ""]).encode()


class _Crafted:
    """Answers every request with one body, and keeps those that came."""

    def __init__(self, body_of):
        seen = self.seen = []

        class Handler(http.server.BaseHTTPRequestHandler):
            """One request."""

            protocol_version = "HTTP/1.1"

            def do_POST(self):
                """A hello, mostly."""
                seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                body = body_of()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format, *arguments):  # pylint: disable=redefined-builtin
                """Nobody reads it."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        scope().connections.append(self)

    def shutdown(self):
        """Takes no more."""
        self.server.shutdown()

    def close(self):
        """The end."""
        self.server.shutdown()
        self.server.server_close()


@test
def what_a_later_version_says_in_addition_is_passed_over():
    node = Node()
    body = _hello("127.0.0.1:1", 1, "speaks 1-2", "colour blue", words=" later 7")
    reply = node.call("POST", "/-/members", body)
    equal(reply.status, 200, reply.line())
    check("127.0.0.1:1" in members(node), members(node))
    crafted = _Crafted(lambda: _hello(crafted.address, 1, "speaks 1-2", words=" later 7"))
    joiner = Node("--join", crafted.address)
    until(lambda: crafted.address in members(joiner), 5, f"it is a member ({joiner.tail()})")
    check(crafted.seen[0][1].startswith(b"you ") and b"\nprotocol 1\n" in crafted.seen[0][1], crafted.seen[0])


@test
def a_later_protocol_is_told_so_when_it_asks():
    node = Node()
    bodies = [_hello("127.0.0.1:1", 2), _hello("127.0.0.1:1", 2, phase="dancing"), b"protocol 2\nbinary \xff\x00\n",
              _hello("127.0.0.1:1", 2, cluster="other")]
    for body in bodies:
        reply = node.call("POST", "/-/members", body)
        equal((reply.status, reply.body.decode()), (409, SENTENCE + "\n"), "the answer to a later protocol")
    equal(node.call("POST", "/-/members", _hello("127.0.0.1:1", 1, phase="dancing")).status, 400, "the status of what makes no sense")
    equal(list(members(node)), [node.address], "the members")
    node.wait_log("event=member-refused .*different protocols", 5, "line on the protocol")


@test
def a_later_protocol_that_answers_is_not_joined():
    for phase in ("ready", "dancing"):
        crafted = _Crafted(lambda phase=phase: _hello(crafted.address, 2, phase=phase))
        node = Node("--join", crafted.address)
        line = node.wait_log("event=join-refused", 5, "line on the protocol")
        check(SENTENCE in line and f"member={crafted.address}" in line, line)
        until(lambda node=node: node.call("GET", "/-/ready").status == 200, 10, "it serves alone")
        until(lambda crafted=crafted: len(crafted.seen) >= 2, 5, "it is asked again")
        equal(node.count_log("event=join-refused"), 1, "lines on it")


@test
def what_is_no_node_is_not_joined():
    crafted = _Crafted(lambda: b"<html>welcome")
    node = Node("--join", crafted.address)
    line = node.wait_log("event=join-refused", 5, "line on it")
    check("no node of Velour Fog" in line and 'do="correct the address' in line, line)


@test
def records_of_a_later_format_are_refused_as_a_whole():
    first = Node()
    second = Node("--join", first.address)
    settle([first, second])
    first.put("k", b"value")
    backup = bytearray(first.call("GET", "/-/records").body)
    backup[0] = 2
    for sender in ((), (f"Fog-From: {number(second)}",)):
        reply = first.call("POST", "/-/merge", bytes(backup), sender)
        equal(reply.status, 400, "the status")
        check(re.search(rb"byte 0: there is no record of a format that is known here", reply.body), reply.line())
    line = first.wait_log("event=merge-refused", 5, "line on it")
    check("another version" in line, line)
    equal(first.get("k").body, b"value", "the value")
