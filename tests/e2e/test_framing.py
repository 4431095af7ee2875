"""How requests are cut out of the bytes: pipelining, splitting, half-closed clients, chunks."""

import os
import signal
import socket
import time

from client import chunked, curl, curl_code, refusal, request
from harness import Background, check, equal, fresh, register, test
from served import common, serve

PACE = 0.001  # seconds between parts that shall arrive one by one


# --- pipelining and splitting

@test
def thousand_pipelined_requests():
    node, key = common(), fresh()
    requests = []
    wanted = []
    for number in range(1000):
        name = f"/{key}-{number % 7}"
        value = b"v%d" % number
        kind = number % 5
        if kind in (0, 3):
            requests.append(request("PUT", name, value))
            wanted.append(("PUT", 200, b""))
        elif kind == 1:
            requests.append(request("GET", f"/{key}-{(number - 1) % 7}"))
            wanted.append(("GET", 200, b"v%d" % (number - 1)))
        elif kind == 2:
            requests.append(request("GET", f"/{key}-absent"))
            wanted.append(("GET", 204, b""))
        else:
            requests.append(request("DELETE", name))
            wanted.append(("DELETE", 200, b""))
    with node.connect() as connection:
        sender = Background(connection.send, b"".join(requests))
        for number, (method, status, body) in enumerate(wanted):
            answer = connection.reply(method)
            equal((answer.status, answer.body), (status, body), f"answer {number} of 1000")
        sender.result()
        equal(connection.ask("GET", f"/{key}-absent").status, 204, "the status of a request after them")


@test
def thousand_small_gets_in_one_packet():
    node, key = common(), fresh()[-8:]
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(f"GET /{key} HTTP/1.1\r\nHost:a\r\n\r\n".encode() * 1000)
        for number in range(1000):
            equal(connection.reply().body, b"x", f"answer {number} of 1000")


@test
def pipelined_requests_behind_a_large_value():
    node, key = serve(), fresh()
    value = os.urandom(8 << 20)
    node.put(key, value)
    node.put("small", b"s")
    with node.connect() as connection:
        connection.send((request("GET", "/" + key) + request("GET", "/small")) * 3)
        for _ in range(3):
            check(connection.reply().body == value, "the large value comes back changed")
            equal(connection.reply().body, b"s", "the small value")


@test
def byte_by_byte():
    node, key = common(), fresh()
    with node.connect() as connection:
        for byte in request("PUT", "/" + key, b"slow value", ["Content-Type: text/x-slow"]):
            connection.send(bytes([byte]))
            time.sleep(PACE)
        equal(connection.reply().status, 200, "the status")
        for byte in request("GET", "/" + key):
            connection.send(bytes([byte]))
            time.sleep(PACE)
        answer = connection.reply()
        equal((answer.body, answer.header("content-type")), (b"slow value", "text/x-slow"), "the value and its type")


@test
def byte_by_byte_chunked():
    node, key = common(), fresh()
    head = request("PUT", "/" + key, None, ["Transfer-Encoding: chunked"])
    with node.connect() as connection:
        for byte in head + b"3;a=b\r\nabc\r\n00\r\nX-Trailer: y\r\n\r\n":
            connection.send(bytes([byte]))
            time.sleep(PACE)
        equal(connection.reply().status, 200, "the status")
        equal(connection.ask("GET", "/" + key).body, b"abc", "the value")


def _split(first, second, wanted, step=1):
    """Both requests, cut once at every place, on one connection that must stay in step."""
    node = common()
    data = first + second
    with node.connect() as connection:
        for place in range(1, len(data), step):
            connection.send(data[:place])
            time.sleep(PACE)
            connection.send(data[place:])
            equal(connection.reply().status, 200, f"the first status when cut at {place}")
            equal(connection.reply().body, wanted, f"the second body when cut at {place}")


def _register_splits():
    key = "split-%s"
    register("framing", "two_requests_split_at_every_byte", _split, request("PUT", "/" + key % 1, b"value\r\n\r\n"),
             request("GET", "/" + key % 1), b"value\r\n\r\n")
    body = b"4;x=\"y\"\r\nva\r\n\r\n3\r\nlue\r\n0\r\nT: u\r\n\r\n"
    register("framing", "chunked_request_split_at_every_byte", _split,
             request("PUT", "/" + key % 2, None, ["Transfer-Encoding: chunked"]) + body, request("GET", "/" + key % 2),
             b"va\r\nlue")
    register("framing", "escapes_split_at_every_byte", _split, request("POST", "/" + key % "%33", b"x"),
             request("GET", "/" + key % 3), b"x")


_register_splits()


@test
def empty_lines_before_a_request():
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(b"\r\n" + request("GET", "/" + key))
        equal(connection.reply().body, b"x", "the answer after an empty line")
        connection.send(b"\r\n" + request("GET", "/" + key))
        equal(connection.reply().body, b"x", "the answer after an empty line between requests")


@test
def keep_alive_over_many_requests():
    node, key = common(), fresh()
    with node.connect() as connection:
        for number in range(300):
            connection.ask("PUT", "/" + key, b"%d" % number)
            equal(connection.ask("GET", "/" + key).body, b"%d" % number, "the value")


@test
def curl_reuses_its_connection():
    node, key = common(), fresh()
    done = curl("-w", "%{num_connects}\n", "--data-binary", "x", node.url("/" + key), "--next", "-w",
                "%{num_connects}\n", "-sS", node.url("/" + key), "--next", "-sS", "-w", "%{num_connects}\n", "-X",
                "DELETE", node.url("/" + key), "--next", "-sS", "-w", "%{num_connects}\n", node.url("/" + key))
    equal(done.stdout, b"1\nx0\n0\n0\n", "the values and numbers of new connections")


def _close(value):
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, None, ["Connection: " + value]) + request("GET", "/" + key))
        answer = connection.reply()
        equal(answer.body, b"x", "the answer")
        check(answer.closes(), "the answer does not say Connection: close")
        connection.closed()


for _name, _value in {"plain": "close", "in_capitals": "Close", "in_a_list": "foo, close",
                      "with_keep_alive": "keep-alive, close", "among_empty_members": ",, close ,"}.items():
    register("framing", f"connection_close_{_name}", _close, _value)


@test
def request_with_an_urgent_byte_in_it():
    """The kernel leaves the byte out, and ends a read before it."""
    node = serve()
    with node.connect() as connection:
        equal(connection.ask("GET", "/k").status, 204, "the status before it")
        node.signal(signal.SIGSTOP)
        connection.send(b"GET /k HTTP/1.1\r\nHost: a\r\nX-Part: ")
        connection.socket.send(b"!", socket.MSG_OOB)
        connection.send(b"b\r\n\r\n")
        node.signal(signal.SIGCONT)
        equal(connection.reply().status, 204, "the status")


# --- half-closed clients

@test
def half_closed_client_gets_its_answer():
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(request("GET", "/" + key))
        connection.finish_sending()
        equal(connection.reply().body, b"x", "the answer")
        connection.closed()


@test
def half_closed_client_gets_all_pipelined_answers():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(b"".join(request("PUT", "/" + key, b"%d" % number) + request("GET", "/" + key)
                                 for number in range(500)))
        connection.finish_sending()
        for number in range(500):
            equal(connection.reply().status, 200, "the status")
            equal(connection.reply().body, b"%d" % number, "the value")
        connection.closed()


@test
def half_closed_client_gets_a_large_value():
    node = serve()
    value = os.urandom(16 << 20)
    node.put("k", value)
    with node.connect() as connection:
        connection.send(request("GET", "/k"))
        connection.finish_sending()
        check(connection.reply().body == value, "the value comes back changed")
        connection.closed()


@test
def half_closed_client_may_leave_a_part_behind():
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(request("GET", "/" + key) + request("GET", "/" + key)[:20])
        connection.finish_sending()
        equal(connection.reply().body, b"x", "the answer")
        left = connection.rest()
        check(not left or left.startswith(b"HTTP/1.1 400 "), f"for half a request comes {left[:100]!r}")


@test
def client_that_says_nothing_and_leaves():
    with common().connect() as connection:
        connection.finish_sending()
        connection.closed()


# --- a body that never ends changes nothing

def _leaves(head, part):
    """The client half-closes, then another one resets, in the middle of a body."""
    node, key = common(), fresh()
    node.put(key, b"old")
    data = request("PUT", "/" + key, None, [head]) + part
    with node.connect() as connection:
        connection.send(data)
        connection.finish_sending()
        left = connection.rest()
        check(not left or left.startswith(b"HTTP/1.1 400 "), f"for half a body comes {left[:100]!r}")
    equal(node.get(key).body, b"old", "the value after a client that half-closed")
    alone = serve()
    alone.put(key, b"old")
    before = alone.descriptors()
    connection = alone.connect()
    connection.send(data)
    equal(alone.get(key).body, b"old", "the value while the body comes")
    connection.reset()
    deadline = time.monotonic() + 10
    while alone.descriptors() > before:
        check(time.monotonic() < deadline, "the connection of a client that left stays open")
        time.sleep(0.01)
    equal(alone.get(key).body, b"old", "the value after a client that reset")


for _name, _head, _part in (
        ("fixed_body_left_in_the_middle", "Content-Length: 100", b"n" * 50),
        ("fixed_body_left_at_its_start", "Content-Length: 100", b""),
        ("fixed_body_left_before_its_last_byte", "Content-Length: 100", b"n" * 99),
        ("large_body_left_in_the_middle", "Content-Length: 8000000", b"n" * 4000000),
        ("chunked_body_left_at_its_start", "Transfer-Encoding: chunked", b""),
        ("chunked_body_left_in_a_size", "Transfer-Encoding: chunked", b"5\r\nnnnnn\r\n1"),
        ("chunked_body_left_in_the_middle", "Transfer-Encoding: chunked", b"64\r\n" + b"n" * 50),
        ("chunked_body_left_between_chunks", "Transfer-Encoding: chunked", b"3\r\nnew\r\n"),
        ("chunked_body_left_in_its_last_chunk", "Transfer-Encoding: chunked", b"3\r\nnew\r\n0\r\n"),
        ("chunked_body_left_in_a_trailer", "Transfer-Encoding: chunked", b"3\r\nnew\r\n0\r\nA: b\r\n")):
    register("framing", _name, _leaves, _head, _part)


# --- chunks

def _chunks(data, wanted):
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, ["Transfer-Encoding: chunked"]) + data)
        answer = connection.reply()
        check(answer.status == 200, f"the PUT gives {answer.line()}")
        answer = connection.ask("GET", "/" + key)
        equal((answer.status, answer.body), (200, wanted), "the answer")
        equal(answer.header("content-length"), str(len(wanted)), "Content-Length")
        equal(answer.header("content-type"), "application/octet-stream", "Content-Type")


for _name, _data, _wanted in (
        ("one", chunked(b"hello"), b"hello"),
        ("none", chunked(), b""),
        ("many", chunked(*[bytes([n]) * (n + 1) for n in range(256)]),
         b"".join(bytes([n]) * (n + 1) for n in range(256))),
        ("of_one_byte", chunked(*[b"x"] * 3000), b"x" * 3000),
        ("with_capital_hex", b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        ("with_leading_zeros", b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        ("with_token_extension", b"5;name=value\r\nhello\r\n0;last\r\n\r\n", b"hello"),
        ("with_quoted_extension", b'5;name="a;b\\"\x09 c"\r\nhello\r\n0;x="0"\r\n\r\n', b"hello"),
        ("with_several_extensions", b'5;a;b=c;d="e"\r\nhello\r\n0\r\n\r\n', b"hello"),
        ("with_blanks_in_extensions", b'5 ; a\t=\tb ;c = "d" ; e\r\nhello\r\n0;x\r\n\r\n', b"hello"),
        ("with_trailers", chunked(b"hello", last=b"0\r\nX-Sum: 5\r\nX-Other: y\r\n\r\n"), b"hello"),
        ("with_trailers_that_mean_nothing", chunked(b"hello", last=b"0\r\nContent-Type: text/html\r\nFog-TTL: 1\r\n"
                                                                   b"Content-Length: 3\r\nHost: z\r\n\r\n"), b"hello")):
    register("framing", f"chunks_{_name}", _chunks, _data, _wanted)


@test
def chunked_coding_in_capitals():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, ["Transfer-Encoding: CHUNKED"]) + chunked(b"x"))
        equal(connection.reply().status, 200, "the status")
        equal(connection.ask("GET", "/" + key).body, b"x", "the value")


@test
def nothing_is_done_before_the_head_is_whole():
    """What comes last in a head can still change what it means."""
    node, key = common(), fresh()
    node.put(key, b"old")
    with node.connect() as connection:
        connection.send(f"DELETE /{key} HTTP/1.1\r\nHost: x\r\n".encode())
        connection.silent(0.05)
        equal(node.get(key).body, b"old", "the value meanwhile")
        connection.send(b"If-Match: *\r\n\r\n")
        refusal(connection.reply(), 501)
    equal(node.get(key).body, b"old", "the value afterwards")


@test
def chunked_with_curl():
    node, key = common(), fresh()
    value = os.urandom(300000)
    equal(curl_code("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", node.url("/" + key), data=value), 200,
          "the status")
    check(curl(node.url("/" + key)).stdout == value, "the value comes back changed")


@test
def chunked_pipelined_with_others():
    node, key = common(), fresh()
    put = request("PUT", "/" + key, None, ["Transfer-Encoding: chunked"])
    with node.connect() as connection:
        connection.send(b"".join(put + chunked(b"%d" % n, b"!") + request("GET", "/" + key) for n in range(100)))
        for number in range(100):
            equal(connection.reply().status, 200, "the status")
            equal(connection.reply().body, b"%d!" % number, "the value")


@test
def slow_body_holds_up_nobody():
    """A connection that is inside a body does not hold up another one."""
    node, key = common(), fresh()
    with node.connect() as slow, node.connect() as quick:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        slow.send(request("PUT", "/" + key, None, ["Content-Length: 100000"]) + b"a" * 50000)
        for number in range(50):
            quick.ask("PUT", f"/{key}-q", b"%d" % number, seconds=5)
        slow.send(b"b" * 50000)
        equal(slow.reply().status, 200, "the status")
    equal(node.get(key).body, b"a" * 50000 + b"b" * 50000, "the value")
