"""Values, methods, HEAD and content types: what the table of the API promises."""

import hashlib
import os
import re

from client import MIB, curl, curl_code, curl_reply, refusal, request
from harness import check, equal, fresh, register, scope, test
from served import common, serve

METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE"}
ALL_BYTES = bytes(range(256))


def _file(name, data):
    path = os.path.join(scope().directory(), name)
    with open(path, "wb") as file:
        file.write(data)
    return path


# --- values

@test
def set_and_get_with_curl():
    node, key = common(), fresh()
    answer = curl_reply(node.url("/" + key), "--data-binary", "hello")
    equal((answer.status, answer.body), (200, b""), "the answer to curl --data-binary")
    equal(answer.header("content-length"), "0", "Content-Length of the answer to a write")
    answer = curl_reply(node.url("/" + key))
    equal((answer.status, answer.body), (200, b"hello"), "the answer to curl's GET")
    equal(answer.header("content-length"), "5", "Content-Length")
    equal(curl(node.url("/" + key)).stdout, b"hello", "what curl prints")


@test
def empty_value_is_200_with_length_0():
    node, key = common(), fresh()
    equal(curl_code("-X", "PUT", "--data-binary", "", node.url("/" + key)), 200, "the status of an empty PUT")
    answer = curl_reply(node.url("/" + key))
    equal((answer.status, answer.body), (200, b""), "the answer")
    equal(answer.header("content-length"), "0", "Content-Length of an empty value")
    answer.etag()


@test
def absent_key_is_204_without_body():
    node, key = common(), fresh()
    answer = curl_reply(node.url("/" + key))
    equal((answer.status, answer.body), (204, b""), "the answer")
    equal(answer.header("content-length"), None, "Content-Length of a 204")
    equal(answer.header("transfer-encoding"), None, "Transfer-Encoding of a 204")
    with node.connect() as connection:
        for _ in range(2):  # no body at all, so the second answer starts where the first ends
            equal(connection.ask("GET", "/" + key).status, 204, "the status")


@test
def put_without_a_length_sets_an_empty_value():
    node, key = common(), fresh()
    node.put(key, b"old")
    with node.connect() as connection:
        equal(connection.ask("PUT", "/" + key).status, 200, "the status of a PUT without Content-Length")
    answer = node.get(key)
    equal((answer.status, answer.body), (200, b""), "the answer")


@test
def value_of_all_256_bytes():
    node, key = common(), fresh()
    value = ALL_BYTES * 3
    path = _file("value", value)
    equal(curl_code("--data-binary", "@" + path, node.url("/" + key)), 200, "the status of the POST")
    equal(curl(node.url("/" + key)).stdout, value, "the value")


@test
def value_that_looks_like_http():
    node, key = common(), fresh()
    value = b"\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n0\r\n\r\n"
    node.put(key, value)
    equal(node.get(key).body, value, "the value")


@test
def value_of_64_mib():
    node = serve()
    value = os.urandom(MIB) * 64
    path = _file("value", value)
    equal(curl_code("-T", path, node.url("/big")), 200, "the status of the PUT")
    out = os.path.join(scope().directory(), "out")
    equal(curl_code("-o", out, node.url("/big")), 200, "the status of the GET")
    equal(os.path.getsize(out), len(value), "the length of the value")
    with open(out, "rb") as file:
        equal(hashlib.file_digest(file, "sha256").digest(), hashlib.sha256(value).digest(), "the hash of the value")


@test
def value_of_64_mib_chunked():
    node = serve()
    value = bytes(64 * MIB)
    path = _file("value", value)
    equal(curl_code("-T", path, "-H", "Transfer-Encoding: chunked", node.url("/big")), 200, "the status of the PUT")
    answer = curl_reply("-I", node.url("/big"))
    equal(answer.header("content-length"), str(len(value)), "the length of the value")


@test
def values_of_many_lengths():
    node, key = common(), fresh()
    seed = os.urandom(70000)
    lengths = [*range(0, 40), 100, 1000, 1023, 1024, 1025, 1460, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536,
               65537, 70000]
    with node.connect() as connection:
        for length in lengths:
            equal(connection.ask("PUT", "/" + key, seed[:length]).status, 200, f"the status of a PUT of {length} B")
            check(connection.ask("GET", "/" + key).body == seed[:length], f"a value of {length} B comes back changed")


@test
def last_write_wins():
    node, key = common(), fresh()
    for value in (b"one", b"two", b"a longer third one", b""):
        node.put(key, value)
        equal(node.get(key).body, value, "the value")


# --- methods

@test
def put_with_curl_upload():
    node, key = common(), fresh()
    path = _file("upload", b"from a file")
    equal(curl_code("-T", path, node.url("/" + key)), 200, "the status of curl -T")
    equal(curl(node.url("/" + key)).stdout, b"from a file", "the value")


@test
def put_with_curl_upload_from_standard_input():
    node, key = common(), fresh()
    equal(curl_code("-T", "-", node.url("/" + key), data=b"from a pipe"), 200, "the status of curl -T -")
    equal(curl(node.url("/" + key)).stdout, b"from a pipe", "the value")


@test
def post_and_put_are_the_same():
    node, key = common(), fresh()
    for method, value in (("POST", b"1"), ("PUT", b"2"), ("POST", b"3")):
        answer = node.call(method, "/" + key, value)
        equal((answer.status, answer.body), (200, b""), f"the answer to {method}")
        equal(node.get(key).body, value, "the value")


@test
def delete_then_204():
    node, key = common(), fresh()
    node.put(key, b"x")
    answer = curl_reply("-X", "DELETE", node.url("/" + key))
    equal((answer.status, answer.body), (200, b""), "the answer to DELETE")
    equal(curl_code(node.url("/" + key)), 204, "the status of GET after it")
    equal(curl_reply("-I", node.url("/" + key)).status, 204, "the status of HEAD after it")


@test
def delete_of_an_absent_key_is_200():
    node, key = common(), fresh()
    for _ in range(3):
        answer = curl_reply("-X", "DELETE", node.url("/" + key))
        equal((answer.status, answer.body), (200, b""), "the answer to DELETE")
        equal(curl_code(node.url("/" + key)), 204, "the status of GET")


@test
def set_after_delete():
    node, key = common(), fresh()
    for turn in (b"1", b"2", b"3"):
        node.put(key, turn)
        node.delete(key)
        equal(node.get(key).status, 204, "the status after the delete")
    node.put(key, b"back")
    equal(node.get(key).body, b"back", "the value")


@test
def head_is_get_without_body():
    node, key = common(), fresh()
    node.put(key, b"0123456789", "Content-Type: text/x-ten")
    got = node.get(key)
    head = curl_reply("-I", node.url("/" + key))
    equal((head.status, head.body), (200, b""), "the answer to HEAD")
    for name in ("content-length", "content-type", "etag", "fog-version"):
        equal(head.header(name), got.header(name), f"HEAD's {name}")
    with node.connect() as connection:  # no body, so the next answer starts at once
        for _ in range(2):
            connection.send(request("HEAD", "/" + key))
            equal(connection.reply("HEAD").header("content-length"), "10", "Content-Length")
        equal(connection.ask("GET", "/" + key).body, b"0123456789", "the value")


@test
def head_of_an_absent_key():
    node = common()
    with node.connect() as connection:
        connection.send(request("HEAD", "/" + fresh()))
        equal(connection.reply("HEAD").status, 204, "the status")


@test
def head_of_an_error_has_no_body():
    with common().connect() as connection:
        connection.send(request("HEAD", "/%zz"))
        equal(connection.reply("HEAD").status, 400, "the status")
        check(connection.buffer == b"", f"a HEAD's answer has a body: {connection.buffer!r}")


def _other_method(method):
    node, key = common(), fresh()
    answer = curl_reply("-X", method, node.url("/" + key))
    refusal(answer, 405)
    allowed = {token.strip() for token in (answer.header("allow") or "").split(",")}
    equal(allowed, METHODS, "Allow")
    equal(node.get(key).status, 204, "GET of the key afterwards")


for _method in ("PATCH", "OPTIONS", "TRACE", "PROPFIND", "MKCOL", "LOCK", "SEARCH"):
    register("api", f"method_{_method.lower()}_is_405", _other_method, _method)


def _unknown_method(method):
    with common().connect() as connection:
        connection.send(request(method, "/" + fresh()))
        answer = connection.reply()
        refusal(answer, 405, 501, 400)
        if answer.closes():
            connection.closed()


for _method in ("FOO", "GETT", "PUTTER", "X"):
    register("api", f"method_{_method.lower()}_is_refused", _unknown_method, _method)


@test
def methods_are_case_sensitive():
    node, key = common(), fresh()
    node.put(key, b"x")
    refusal(node.call("get", "/" + key), 400, 405, 501)
    refusal(node.call("delete", "/" + key), 400, 405, 501)
    equal(node.get(key).body, b"x", "the value")


@test
def connect_is_refused():
    with common().connect() as connection:
        connection.send(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n")
        refusal(connection.reply(), 400, 405, 501)


@test
def options_asterisk_harms_nothing():
    with common().connect() as connection:
        connection.send(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = connection.reply()
        check(answer.status in (200, 204, 400, 405), f"OPTIONS * gives {answer.line()}")


@test
def writes_to_the_root_are_refused():
    node = common()
    for method in ("PUT", "POST", "DELETE"):
        answer = refusal(node.call(method, "/", b"x"), 405)
        equal(answer.body, b"There is no key in this URL: it stands behind the slash, as in /KEY.\n", f"what {method} / is told")
    equal(node.call("GET", "/").status, 200, "the status of GET /")


@test
def get_and_delete_with_a_body():
    node, key = common(), fresh()
    node.put(key, b"kept")
    smuggled = request("PUT", "/" + key, b"bad")
    for method in ("GET", "DELETE"):
        with node.connect() as connection:
            connection.send(request(method, f"/{key}-other", smuggled))
            answer = connection.reply(method)
            check(answer.status in (200, 204, 400, 413), f"{method} with a body gives {answer.line()}")
            if answer.status < 400 and not answer.closes():
                equal(connection.ask("GET", "/" + key).body, b"kept", "the next answer's body")
    equal(node.get(key).body, b"kept", "the value")


# --- content types

def _type(kind):
    node, key = common(), fresh()
    equal(curl_code("-X", "PUT", "-H", "Content-Type: " + kind, "--data-binary", "x", node.url("/" + key)), 200,
          "the status of the PUT")
    equal(curl_reply(node.url("/" + key)).header("content-type"), kind, "Content-Type")
    equal(curl_reply("-I", node.url("/" + key)).header("content-type"), kind, "HEAD's Content-Type")


for _name, _kind in {"html": "text/html; charset=utf-8", "json": "application/json",
                     "quoted": 'multipart/mixed; boundary="a b; c"', "long": "text/plain; x=" + "y" * 200}.items():
    register("api", f"content_type_{_name}_is_kept", _type, _kind)


@test
def content_type_none_is_octet_stream():
    node, key = common(), fresh()
    path = _file("upload", b"x")
    equal(curl_code("-T", path, node.url("/" + key)), 200, "the status of the PUT")  # -T sends none
    equal(curl_reply(node.url("/" + key)).header("content-type"), "application/octet-stream", "Content-Type")


@test
def content_type_empty_is_octet_stream():
    node, key = common(), fresh()
    node.put(key, b"x", "Content-Type:")
    equal(node.get(key).header("content-type"), "application/octet-stream", "Content-Type")


@test
def content_type_of_curl_forms_is_not_kept():
    node, key = common(), fresh()
    done = curl("-v", "--data-binary", "x", node.url("/" + key))
    check(b"Content-Type: application/x-www-form-urlencoded" in done.stderr, "curl sends another default type now")
    equal(curl_reply(node.url("/" + key)).header("content-type"), "application/octet-stream", "Content-Type")


@test
def content_type_goes_with_its_value():
    node, key = common(), fresh()
    node.put(key, b"x", "Content-Type: text/css")
    node.put(key, b"y")
    equal(node.get(key).header("content-type"), "application/octet-stream", "Content-Type of the second value")


@test
def content_type_of_255_bytes_is_kept_and_no_longer_one():
    node, key = common(), fresh()
    longest = "text/plain; x=" + "y" * 241
    node.put(key, b"x", "Content-Type: " + longest)
    refusal(node.call("PUT", "/" + key, b"y", ["Content-Type: " + longest + "y"]), 400)
    equal(node.get(key).header("content-type"), longest, "Content-Type")


@test
def content_type_too_long_is_kept_or_refused():
    node, key = common(), fresh()
    kind = "text/plain; x=" + "y" * 5000
    answer = node.call("PUT", "/" + key, b"x", ["Content-Type: " + kind])
    if answer.status == 200:
        equal(node.get(key).header("content-type"), kind, "Content-Type")
    else:
        refusal(answer, 400, 413, 415, 431)
        equal(node.get(key).status, 204, "the status of GET after the refused PUT")


@test
def answers_to_writes_have_no_body_or_type():
    node, key = common(), fresh()
    for method in ("POST", "PUT", "DELETE"):
        answer = node.call(method, "/" + key, b"x" if method != "DELETE" else None)
        equal((answer.status, answer.body), (200, b""), f"the answer to {method}")
        check(re.fullmatch("0", answer.header("content-length") or ""), f"{method}'s Content-Length is not 0")
