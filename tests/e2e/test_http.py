"""Expect, HTTP/1.0, targets with scheme and host, and other things that HTTP lets a client do."""

import os
import time
from email.utils import parsedate_to_datetime

from client import chunked, curl, curl_code, curl_reply, refusal, request
from harness import SLOW, check, equal, fresh, register, scope, test
from served import common, serve

# --- Expect

@test
def expect_gets_100_then_200():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, ["Expect: 100-continue", "Content-Length: 5"]))
        equal(connection.reply().status, 100, "the first status")
        connection.silent(0.05)
        connection.send(b"hello")
        equal(connection.reply().status, 200, "the second status")
        equal(connection.ask("GET", "/" + key).body, b"hello", "the value")


@test
def expect_in_capitals():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, ["EXPECT: 100-Continue", "Content-Length: 5"]))
        equal(connection.reply().status, 100, "the first status")
        connection.send(b"hello")
        equal(connection.reply().status, 200, "the second status")


@test
def expect_with_chunks():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, ["Expect: 100-continue", "Transfer-Encoding: chunked"]))
        equal(connection.reply().status, 100, "the first status")
        connection.send(chunked(b"hello"))
        equal(connection.reply().status, 200, "the second status")
        equal(connection.ask("GET", "/" + key).body, b"hello", "the value")


@test
def expect_with_the_body_at_once():
    node, key = common(), fresh()
    with node.connect() as connection:
        for number in range(20):
            connection.send(request("PUT", "/" + key, b"%d" % number, ["Expect: 100-continue"])
                            + request("GET", "/" + key))
            answer = connection.reply()
            if answer.status == 100:  # may be left out when the body is there already
                answer = connection.reply()
            equal(answer.status, 200, "the status")
            equal(connection.reply().body, b"%d" % number, "the value")


@test
def expect_without_a_body():
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, None, ["Expect: 100-continue"]))
        answer = connection.reply()
        if answer.status == 100:
            answer = connection.reply()
        equal(answer.body, b"x", "the value")
        equal(connection.ask("GET", "/" + key).body, b"x", "the next value")


@test
def expect_of_http_1_0_is_ignored():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, b"hello", ["Expect: 100-continue"], version="1.0"))
        equal(connection.reply().status, 200, "the status")


@test
def expect_something_else_is_417():
    node, key = common(), fresh()
    for value in ("a-miracle", "100-continue-please", "200-ok"):
        with node.connect() as connection:
            connection.send(request("PUT", "/" + key, b"hello", ["Expect: " + value]))
            answer = refusal(connection.reply(), 417)
            if answer.closes():
                connection.closed()
            else:
                equal(connection.ask("GET", "/" + key).status, 204, "the status of the next request")
        refusal(curl_reply("-H", "Expect: " + value, "--data-binary", "x", node.url("/" + key)), 417)
    equal(node.get(key).status, 204, "the status of GET")


@test
def expect_in_a_list_or_twice():
    node, key = common(), fresh()
    for lines in (["Expect: , 100-continue,"], ["Expect: 100-continue", "Expect: 100-continue"]):
        with node.connect() as connection:
            connection.send(request("PUT", "/" + key, None, [*lines, "Content-Length: 5"]))
            equal(connection.reply().status, 100, f"the first status with {lines}")
            connection.send(b"hello")
            equal(connection.reply().status, 200, "the second status")
    for lines in (["Expect: 100-continue, a-miracle"], ["Expect: 100-continue", "Expect: a-miracle"]):
        with node.connect() as connection:
            connection.send(request("PUT", "/" + key, None, [*lines, "Content-Length: 5"]))
            refusal(connection.reply(), 417)
            connection.closed()


@test
def expect_of_what_is_refused_gets_no_100():
    """The answer comes at once, by the head alone."""
    for method, target, line, status in (("PUT", "/%zz", "X: y", 400), ("PUT", "/-/mine", "X: y", 403),
                                         ("PUT", "/" + fresh(), "If-Match: *", 501),
                                         ("PUT", "/" + fresh(), "Content-Range: bytes 0-4/9", 400)):
        with common().connect() as connection:
            connection.send(request(method, target, None, ["Expect: 100-continue", "Content-Length: 5", line]))
            answer = refusal(connection.reply(), status)
            check(answer.closes(), f"a {status} in place of a 100 has no Connection: close")
            connection.closed()


@test
def expect_over_the_limit_is_413_in_place_of_100():
    node = serve("--value-max", "1M")
    for length in ("Content-Length: 1048577", "Content-Length: 99999999999999"):
        with node.connect() as connection:
            connection.send(request("PUT", "/k", None, ["Expect: 100-continue", length]))
            refusal(connection.reply(), 413)
            connection.closed()
    equal(node.get("k").status, 204, "the status of GET")


@test
def expect_over_the_limit_with_curl():
    node = serve("--value-max", "1M")
    path = os.path.join(scope().directory(), "big")
    with open(path, "wb") as file:
        file.write(bytes(2 << 20))
    done = curl("-v", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", "--data-binary", "@" + path,
                node.url("/k"))
    equal(done.stdout, b"413 0", "the status and the bytes uploaded")
    equal(node.get("k").status, 204, "the status of GET")


@test
def curl_sends_expect_with_2_mib_by_itself():
    node, key = common(), fresh()
    value = os.urandom(2 << 20)
    done = curl("-v", "--data-binary", "@-", node.url("/" + key), data=value)
    check(b"Expect: 100-continue" in done.stderr, "curl sends no Expect any more")
    check(b"HTTP/1.1 100 Continue" in done.stderr, "curl sees no 100 Continue")
    check(b"HTTP/1.1 200 OK" in done.stderr, "curl sees no 200 OK")
    check(curl(node.url("/" + key)).stdout == value, "the value comes back changed")


# --- HTTP/1.0

@test
def http_1_0_closes():
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, version="1.0", host=None))  # Host may be left out
        answer = connection.reply()
        equal((answer.version, answer.body), ("1.1", b"x"), "the version that the server speaks, and the value")
        connection.closed()


@test
def http_1_0_keeps_the_connection_when_asked():
    node, key = common(), fresh()
    with node.connect() as connection:
        for number in range(3):
            connection.send(request("PUT", "/" + key, b"%d" % number, ["Connection: keep-alive"], version="1.0"))
            answer = connection.reply()
            equal(answer.status, 200, "the status")
            equal((answer.header("connection") or "").lower(), "keep-alive", "Connection")
            connection.send(request("GET", "/" + key, None, ["Connection: Keep-Alive"], version="1.0"))
            equal(connection.reply().body, b"%d" % number, "the value")
        connection.send(request("GET", "/" + key, version="1.0"))
        equal(connection.reply().body, b"2", "the value")
        connection.closed()


@test
def http_1_0_keeps_the_connection_behind_a_long_value():
    """A front-end passes it on as it comes, and says beforehand how long it is."""
    node, key = common(), fresh()
    equal(node.put(key, b"x" * 300000).status, 200, "the status of the PUT")
    with node.connect() as connection:
        for _ in range(2):
            connection.send(request("GET", "/" + key, None, ["Connection: keep-alive"], version="1.0"))
            answer = connection.reply()
            equal(len(answer.body), 300000, "the length of the value")
            equal((answer.header("connection") or "").lower(), "keep-alive", "Connection")


@test
def http_1_0_with_curl():
    node, key = common(), fresh()
    equal(curl_code("--http1.0", "--data-binary", "x", node.url("/" + key)), 200, "the status of the POST")
    equal(curl("--http1.0", node.url("/" + key)).stdout, b"x", "the value")


def _no_chunks(target):
    node = serve()
    for number in range(200):
        node.put(f"k{number}", b"v" * 100)
    wanted = node.call("GET", target).body
    for headers in ([], ["Connection: keep-alive"]):
        with node.connect() as connection:
            connection.send(request("GET", target, None, headers, version="1.0"))
            answer = connection.reply()
            equal(answer.header("transfer-encoding"), None, "Transfer-Encoding of an answer to HTTP/1.0")
            equal(sorted(answer.body.split(b"\n")), sorted(wanted.split(b"\n")), "the body")
            if answer.header("content-length") is None:
                connection.closed()


register("http", "http_1_0_gets_no_chunks_of_keys", _no_chunks, "/-/keys?prefix=")


@test
def http_1_0_gets_no_chunks_of_records():
    node, other = serve(), serve()
    for number in range(200):
        node.put(f"k{number}", b"v" * 100)
    done = curl("--http1.0", "-i", node.url("/-/records"))
    head, _, records = done.stdout.partition(b"\r\n\r\n")
    check(b"transfer-encoding" not in head.lower(), "an answer to HTTP/1.0 has Transfer-Encoding")
    equal(other.call("POST", "/-/merge", records).status, 200, "the status of the merge")
    equal(other.call("GET", "/-/digest").body, node.call("GET", "/-/digest").body, "the digest")


# --- targets with scheme and host

def _absolute(prefix):
    node, key = common(), fresh()
    with node.connect() as connection:
        equal(connection.ask("PUT", f"{prefix}/{key}%2Fx?y", b"abs").status, 200, "the status of the PUT")
        equal(connection.ask("GET", f"/{key}/x?y").body, b"abs", "the value")
        equal(connection.ask("GET", f"{prefix}/{key}/x?y").body, b"abs", "the value by the absolute form")
        equal(connection.ask("GET", f"{prefix}/-/healthy").status, 200, "the status of /-/healthy")


for _name, _prefix in {"with_port": "http://localhost:8000", "without_port": "http://fog.example",
                       "with_address": "http://127.0.0.1:8000", "with_ipv6": "http://[::1]:8000",
                       "in_capitals": "HTTP://LOCALHOST"}.items():
    register("http", f"absolute_target_{_name}", _absolute, _prefix)


@test
def absolute_target_without_path_is_the_root():
    node = common()
    with node.connect() as connection:
        root = connection.ask("GET", "/")
        for target in ("http://localhost:8000", "http://localhost:8000/"):
            answer = connection.ask("GET", target)
            equal((answer.status, answer.header("content-type")), (root.status, root.header("content-type")),
                  f"the status and type of {target}")
            check(answer.status == 200, f"GET {target} gives {answer.line()}")


@test
def absolute_target_goes_before_the_host():
    node, key = common(), fresh()
    node.put(key, b"x")
    answer = node.call("GET", f"http://elsewhere.example:1/{key}", None, ["X-A: b"])
    equal((answer.status, answer.body), (200, b"x"), "the answer with another Host")


@test
def curl_as_to_a_proxy():
    node, key = common(), fresh()
    node.put(key, b"x")
    done = curl("-v", "--proxy", node.url("/"), "--noproxy", "", f"http://fog.example/{key}")
    check(b"GET http://fog.example/" in done.stderr, "curl sends no absolute target")
    equal(done.stdout, b"x", "the value")


@test
def host_may_be_anything_sane():
    node, key = common(), fresh()
    node.put(key, b"x")
    for host in ("localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "a.b-c.example", "FOG", "under_score"):
        with node.connect() as connection:
            connection.send(request("GET", "/" + key, host=host))
            equal(connection.reply().body, b"x", f"the value with Host: {host}")


@test
def unknown_headers_are_ignored():
    node, key = common(), fresh()
    node.put(key, b"x")
    answer = node.call("GET", "/" + key, None, [
        "User-Agent: test", "Accept: */*", "Accept-Encoding: gzip, br", "Cookie: a=b", "Range: bytes=0-0",
        "X-Empty:", "X-Tab:\t\tx\t", b"X-High: \xe4\xff", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABk", "If-Match: *", "TE: trailers"])
    check(answer.status in (200, 206), f"the answer is {answer.line()}")
    if answer.status == 200:
        equal(answer.body, b"x", "the value")


# --- answers

@test
def every_answer_has_one_date_and_one_length():
    """That it is an IMF-fixdate, about now, and that no answer has two lengths is checked wherever tests read one."""
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    for method, target, lines, status in (
            ("GET", "/" + key, [], 200), ("HEAD", "/" + key, [], 200), ("GET", "/" + fresh(), [], 204),
            ("GET", "/" + key, ["If-None-Match: " + tag], 304), ("GET", "/%zz", [], 400), ("PUT", "/-/x", [], 403),
            ("GET", "/-/x", [], 404), ("PATCH", "/" + key, [], 405), ("GET", "/" + key, ['If-Match: "x"'], 412),
            ("GET", "/" + key, ["Expect: x"], 417), ("PUT", "/" + key, ["If-Match: *"], 501), ("FOO", "/" + key, [], 501),
            ("GET", "/", [], 200), ("HEAD", "/", [], 200), ("GET", "/-/metrics", [], 200), ("GET", "/-/status", [], 200),
            ("GET", "/-/keys?limit=1", [], 200), ("HEAD", "/-/keys?limit=1", [], 200)):
        with node.connect() as connection:
            answer = connection.ask(method, target, None, lines)
            equal((answer.version, answer.status), ("1.1", status), f"the version and status of {method} {target}")
            seconds = parsedate_to_datetime(answer.header("date")).timestamp()
            check(abs(seconds - time.time()) < 5 * SLOW, f"Date is {answer.header('date')}")
            if not answer.closes():
                equal(connection.ask("GET", "/" + key).body, b"x", "the next answer's body")  # still in step


@test
def operations_name_their_methods():
    node = common()
    for target in ("/", "/-/healthy", "/-/ready", "/-/status", "/-/metrics", "/-/history"):
        for method in ("PUT", "POST", "DELETE", "OPTIONS", "TRACE"):
            answer = node.call(method, target)
            refusal(answer, 405)
            equal(answer.header("allow"), "GET, HEAD", f"Allow of {method} {target}")


@test
def trace_gives_nothing_back():
    node, key = common(), fresh()
    for method in ("TRACE", "OPTIONS"):
        answer = refusal(node.call(method, "/" + key, None, ["Max-Forwards: 0", "Cookie: secret"]), 405)
        check(b"secret" not in answer.body, f"{method} gives back {answer.body!r}")
        refusal(node.call(method, "/" + key, None, ["Max-Forwards: 5"]), 405)


@test
def upgrade_is_ignored():
    node, key = common(), fresh()
    node.put(key, b"x")
    lines = ["Connection: Upgrade", "Upgrade: websocket, h2c, TLS/1.0"]
    for version in ("1.1", "1.0"):
        with node.connect() as connection:
            connection.send(request("GET", "/" + key, None, lines, version=version))
            answer = connection.reply()
            equal((answer.status, answer.body, answer.header("upgrade")), (200, b"x", None), f"the answer to HTTP/{version}")
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, [*lines, "Expect: 100-continue", "Content-Length: 1"]))
        equal(connection.reply().status, 100, "the first status")
        connection.send(b"y")
        equal(connection.reply().status, 200, "the second status")


# --- what may be passed over, and what may not

@test
def names_with_underscores_are_others():
    node, key = common(), fresh()
    with node.connect() as connection:
        equal(connection.ask("PUT", "/" + key, b"hello", ["Content_Length: 99", "Transfer_Encoding: chunked"]).status, 200,
              "the status of the PUT")
        equal(connection.ask("GET", "/" + key, None, ["If_None_Match: *"]).body, b"hello", "the value")


@test
def ranges_are_ignored():
    node, key = common(), fresh()
    tag = node.put(key, b"0123456789").etag()
    for lines in (["Range: bytes=0-3"], ["Range: bytes=-2"], ["Range: bytes=20-"], ["Range: lines=1-2"], ["Range: x"],
                  ["Range: bytes=0-3", "If-Range: " + tag], ["If-Range: " + tag], ['Range: bytes=0-3', 'If-Range: "x"'],
                  ["Range: bytes=0-99999999999999999999"]):
        for method in ("GET", "HEAD"):
            with node.connect() as connection:
                answer = connection.ask(method, "/" + key, None, lines)
                equal((answer.status, answer.header("content-length")), (200, "10"), f"the answer to {method} with {lines}")
                equal(answer.header("content-range"), None, "Content-Range")
                equal(answer.body, b"0123456789" if method == "GET" else b"", "the body")


@test
def content_range_on_put_is_400():
    """Else the part would take the place of the whole."""
    node, key = common(), fresh()
    node.put(key, b"0123456789")
    for value in ("bytes 4-5/10", "bytes 4-5/*", "bytes */10", "lines 1-2/3", "x"):
        refusal(node.call("PUT", "/" + key, b"45", ["Content-Range: " + value]), 400)
    path = os.path.join(scope().directory(), "file")
    with open(path, "wb") as file:
        file.write(b"abcdefghij")
    equal(curl_code("-C", "4", "-T", path, node.url("/" + key)), 400, "the status of an upload that is resumed")
    equal(node.get(key).body, b"0123456789", "the value afterwards")


@test
def content_range_of_other_methods_is_ignored():
    node, key = common(), fresh()
    line = ["Content-Range: bytes 4-5/10"]
    equal(node.call("POST", "/" + key, b"45", line).status, 200, "the status of POST")
    equal(node.call("GET", "/" + key, None, line).body, b"45", "the value")
    equal(node.call("DELETE", "/" + key, None, line).status, 200, "the status of DELETE")


@test
def fields_about_a_value_are_not_kept():
    """Save for its type: Content-Location is about the request (RFC 9110, 8.7), and changes nothing of it."""
    node, key, other = common(), fresh(), fresh()
    node.put(key, b"x", f"Content-Location: /{other}", "Content-Language: en", "Content-Type: a/b")
    answer = node.get(key)
    equal((answer.body, answer.kind()), (b"x", "a/b"), "the value and its type")
    for name in ("content-location", "content-language"):
        equal(answer.header(name), None, name)
    equal(node.get(other).status, 204, "the status of the key that Content-Location names")


@test
def curl_asking_for_http2_gets_http1():
    node, key = common(), fresh()
    node.put(key, b"x")
    equal(curl("--http2", node.url("/" + key)).stdout, b"x", "the value")
