"""Requests that are malformed, ambiguous, too large or too slow; and nothing slips in behind them."""

import time

from client import MIB, chunked, curl, curl_code, refusal, request
from harness import SLOW, Background, check, equal, fresh, register, test
from served import common, serve



def _refused(statuses, data, keep=b"old"):
    """Sends the bytes (KEY stands for a key) with a complete request behind them: one refusal, then the end."""
    node, key = common(), fresh()
    node.put(key, keep)
    data = data.replace(b"KEY", key.encode())
    with node.connect() as connection:
        connection.send(data + request("DELETE", "/" + key) + request("GET", "/" + key))
        answer = refusal(connection.reply(), *statuses)
        check(answer.closes(), f"a {answer.status} after which the framing is in doubt has no Connection: close")
        connection.closed()
    read = node.get(key)
    equal((read.status, read.body), (200, keep), "the key afterwards")


def _table(prefix, statuses, cases):
    for name, data in cases.items():
        register("refusals", f"{prefix}_{name}_is_{'_or_'.join(map(str, statuses))}", _refused, statuses, data)


def _put(*lines, body=b"hello", version=b"1.1"):
    """A PUT of KEY with exactly these lines after its Host."""
    return b"\r\n".join([b"PUT /KEY HTTP/" + version, b"Host: x", *lines, b"", body])


def _get(*lines):
    return b"GET /KEY HTTP/1.1\r\nHost: x\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


# --- lengths and codings

_table("content_length", (400,), {
    "twice_different": _put(b"Content-Length: 5", b"Content-Length: 6"),
    "twice_equal": _put(b"Content-Length: 5", b"Content-Length: 5"),
    "list": _put(b"Content-Length: 5, 5"),
    "list_of_different": _put(b"Content-Length: 5, 6"),
    "negative": _put(b"Content-Length: -5"),
    "plus": _put(b"Content-Length: +5"),
    "hex": _put(b"Content-Length: 0x5"),
    "word": _put(b"Content-Length: five"),
    "empty": _put(b"Content-Length:"),
    "with_letter": _put(b"Content-Length: 5a"),
    "with_space": _put(b"Content-Length: 5 5"),
    "with_dot": _put(b"Content-Length: 5.0"),
    "with_semicolon": _put(b"Content-Length: 5;"),
    "octal": _put(b"Content-Length: 0o5"),
    "with_underscore": _put(b"Content-Length: 1_0", body=b"helloworld"),
    "minus_zero": _put(b"Content-Length: -0", body=b""),
    "and_chunked": _put(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=chunked(b"hello")),
    "after_chunked": _put(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=chunked(b"hello")),
    "zero_and_chunked": _put(b"Content-Length: 0", b"Transfer-Encoding: chunked", body=chunked(b"hello")),
    "twice_on_get": _get(b"Content-Length: 0", b"Content-Length: 0"),
    "and_chunked_on_get": _get(b"Content-Length: 0", b"Transfer-Encoding: chunked")})
_table("content_length", (400, 413), {
    "of_20_digits": _put(b"Content-Length: 99999999999999999999"),
    "of_2_to_the_64_plus_5": _put(b"Content-Length: 18446744073709551621"),
    "of_2_to_the_63": _put(b"Content-Length: 9223372036854775808"),
    "of_2_to_the_64_minus_1": _put(b"Content-Length: 18446744073709551615"),
    "of_60_digits": _put(b"Content-Length: " + b"1" * 60)})
_table("coding", (501,), {"gzip_chunked": _put(b"Transfer-Encoding: gzip, chunked", body=chunked(b"hello"))})
_table("coding", (400,), {  # chunked is not the last one, or it is no list
    "gzip": _put(b"Transfer-Encoding: gzip"),
    "unknown": _put(b"Transfer-Encoding: xchunked", body=chunked(b"hello")),
    "identity": _put(b"Transfer-Encoding: identity"),
    "chunked_gzip": _put(b"Transfer-Encoding: chunked, gzip", body=chunked(b"hello")),
    "chunked_identity": _put(b"Transfer-Encoding: chunked, identity", body=chunked(b"hello")),
    "empty_member": _put(b"Transfer-Encoding: , chunked", body=chunked(b"hello")),
    "empty_member_behind": _put(b"Transfer-Encoding: chunked,", body=chunked(b"hello")),
    "with_form_feed": _put(b"Transfer-Encoding: \x0cchunked", body=chunked(b"hello")),
    "with_nul": _put(b"Transfer-Encoding: chunked\0", body=chunked(b"hello")),
    "empty": _put(b"Transfer-Encoding:", body=chunked(b"hello")),
    "with_parameter": _put(b"Transfer-Encoding: chunked;q=1", body=chunked(b"hello")),
    "with_letter_behind": _put(b"Transfer-Encoding: chunkedx", body=chunked(b"hello")),
    "with_vertical_tab": _put(b"Transfer-Encoding: \x0bchunked", body=chunked(b"hello")),
    "quoted": _put(b'Transfer-Encoding: "chunked"', body=chunked(b"hello")),
    "gzip_and_length": _put(b"Transfer-Encoding: gzip", b"Content-Length: 5"),
    "gzip_on_get": _get(b"Transfer-Encoding: gzip")})
_table("coding", (400,), {
    "chunked_chunked": _put(b"Transfer-Encoding: chunked, chunked", body=chunked(b"hello")),
    "chunked_in_two_lines": _put(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=chunked(b"hello")),
    "chunked_with_http_1_0": _put(b"Transfer-Encoding: chunked", body=chunked(b"hello"), version=b"1.0"),
    "chunked_with_http_1_0_keep_alive": _put(b"Connection: keep-alive", b"Transfer-Encoding: chunked",
                                             body=chunked(b"hello"), version=b"1.0"),
    "with_space_before_colon": _put(b"Transfer-Encoding : chunked", body=chunked(b"hello")),
    "with_tab_before_colon": _put(b"Transfer-Encoding\t: chunked", body=chunked(b"hello")),
    "folded": _put(b"Transfer-Encoding:\r\n chunked", body=chunked(b"hello"))})

# --- the head's lines

_table("head_with", (400,), {
    "obs_fold": _put(b"X-A: a\r\n b", b"Content-Length: 5"),
    "obs_fold_by_tab": _put(b"X-A: a\r\n\tb", b"Content-Length: 5"),
    "obs_fold_in_the_first_line": b"GET /KEY HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n",
    "obs_fold_of_nothing": _get(b"X-A: a\r\n "),
    "bare_lf_everywhere": b"GET /KEY HTTP/1.1\nHost: x\n\n",
    "bare_lf_after_the_request_line": b"GET /KEY HTTP/1.1\nHost: x\r\n\r\n",
    "bare_lf_after_a_header": b"GET /KEY HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n",
    "bare_lf_at_the_end": b"GET /KEY HTTP/1.1\r\nHost: x\r\n\n",
    "bare_lf_before_the_end": b"GET /KEY HTTP/1.1\r\nHost: x\n\r\n",
    "bare_lf_hiding_a_length": _put(b"X-A: b\nContent-Length: 5"),
    "bare_cr_in_a_value": _get(b"X-A: a\rb"),
    "bare_cr_hiding_a_length": _put(b"X-A: b\rContent-Length: 5"),
    "bare_cr_after_a_name": _get(b"X-A\r: a"),
    "bare_cr_at_the_end": b"GET /KEY HTTP/1.1\r\nHost: x\r\n\rX",
    "bare_cr_after_the_request_line": b"GET /KEY HTTP/1.1\rHost: x\r\n\r\n",
    "two_crs": b"GET /KEY HTTP/1.1\r\r\nHost: x\r\n\r\n",
    "two_crs_after_a_header": _get(b"X-A: a\r"),
    "nul_in_a_value": _get(b"X-A: a\0b"),
    "nul_in_a_name": _get(b"X-\0A: a"),
    "nul_in_the_type": _put(b"Content-Type: a\0b", b"Content-Length: 5"),
    "nul_in_the_host": b"GET /KEY HTTP/1.1\r\nHost: x\0y\r\n\r\n",
    "space_before_a_colon": _get(b"X-A : a"),
    "tab_before_a_colon": _get(b"X-A\t: a"),
    "space_in_a_name": _get(b"X A: a"),
    "space_before_a_length": _put(b"Content-Length : 5"),
    "empty_name": _get(b": a"),
    "no_colon": _get(b"X-A"),
    "control_in_a_name": _get(b"X-\x01A: a"),
    "high_byte_in_a_name": _get(b"X-\xe4: a"),
    "bracket_in_a_name": _get(b"X(A): a"),
    "no_host": b"GET /KEY HTTP/1.1\r\n\r\n",
    "no_host_but_absolute_target": b"GET http://x/KEY HTTP/1.1\r\n\r\n",
    "two_hosts": b"GET /KEY HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "two_different_hosts": b"GET /KEY HTTP/1.1\r\nHost: x\r\nX-A: b\r\nhost: y\r\n\r\n",
    "two_hosts_and_http_1_0": b"GET /KEY HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n",
    "space_in_host": b"GET /KEY HTTP/1.1\r\nHost: x y\r\n\r\n",
    "tab_in_host": b"GET /KEY HTTP/1.1\r\nHost: x\ty\r\n\r\n",
    "user_in_host": b"GET /KEY HTTP/1.1\r\nHost: user@x\r\n\r\n",
    "list_in_host": b"GET /KEY HTTP/1.1\r\nHost: x, y\r\n\r\n",
    "url_in_host": b"GET /KEY HTTP/1.1\r\nHost: http://x\r\n\r\n",
    "letters_for_a_port_in_host": b"GET /KEY HTTP/1.1\r\nHost: x:y\r\n\r\n"})

_table("request_line_with", (400,), {
    "two_spaces": b"GET  /KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "two_spaces_before_the_version": b"GET /KEY  HTTP/1.1\r\nHost: x\r\n\r\n",
    "tab": b"GET\t/KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "space_behind": b"GET /KEY HTTP/1.1 \r\nHost: x\r\n\r\n",
    "space_in_front": b" GET /KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "word_behind": b"GET /KEY HTTP/1.1 x\r\nHost: x\r\n\r\n",
    "no_version": b"GET /KEY\r\nHost: x\r\n\r\n",
    "no_target": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "small_letters": b"GET /KEY http/1.1\r\nHost: x\r\n\r\n",
    "another_protocol": b"GET /KEY HTTPS/1.1\r\nHost: x\r\n\r\n",
    "half_a_version": b"GET /KEY HTTP/1\r\nHost: x\r\n\r\n",
    "letters_for_a_version": b"GET /KEY HTTP/a.b\r\nHost: x\r\n\r\n",
    "comma_in_the_version": b"GET /KEY HTTP/1,1\r\nHost: x\r\n\r\n",
    "nul_in_the_method": b"GE\0T /KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "https_target": b"GET https://x/KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "target_of_another_scheme": b"GET ftp://x/KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "target_without_a_host": b"GET http:///KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "target_with_a_port_for_a_host": b"GET http://:80/KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "target_with_a_user": b"GET http://user:secret@x/KEY HTTP/1.1\r\nHost: x\r\n\r\n",
    "target_with_a_fragment": b"GET /KEY#part HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk": b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "authority": b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect_without_a_port": b"CONNECT x HTTP/1.1\r\nHost: x\r\n\r\n",
    "connect_to_letters_for_a_port": b"CONNECT x:y HTTP/1.1\r\nHost: x\r\n\r\n"})
_table("request_line_with", (400, 505), {
    "http_0_9": b"GET /KEY HTTP/0.9\r\nHost: x\r\n\r\n",
    "http_1_10": b"GET /KEY HTTP/1.10\r\nHost: x\r\n\r\n",
    "http_01_1": b"GET /KEY HTTP/01.1\r\nHost: x\r\n\r\n"})
_table("request_line_with", (505,), {
    "http_2_0": b"GET /KEY HTTP/2.0\r\nHost: x\r\n\r\n",
    "http_3_0": b"GET /KEY HTTP/3.0\r\nHost: x\r\n\r\n",
    "http_9_9": b"GET /KEY HTTP/9.9\r\nHost: x\r\n\r\n"})
_table("garbage", (400,), {
    "text": b"hello, is this a server?\r\n\r\n",
    "http_0_9_request": b"GET /KEY\r\n",
    "bytes": bytes(range(128, 256)) + b"\r\n\r\n",
    "nuls": bytes(64) + b"\r\n\r\n",
    "tls_hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "redis_command": b"*1\r\n$4\r\nPING\r\n",
    "memcached_command": b"set KEY 0 0 1\r\nx\r\n"})


@test
def http_1_2_is_as_1_1_or_505():
    node, key = common(), fresh()
    node.put(key, b"x")
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, version="1.2"))
        answer = connection.reply()
        if answer.status == 200:
            equal(answer.body, b"x", "the value")
        else:
            refusal(answer, 505, 400)
            connection.closed()


@test
def http_2_preface_is_refused():
    with common().connect() as connection:
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
        refusal(connection.reply(), 505, 400, 405, 501)
        connection.closed()


# --- chunks

def _chunk(body, *lines):
    return _put(b"Transfer-Encoding: chunked", *lines, body=body)


_table("chunk", (400,), {
    "size_of_letters": _chunk(b"xyz\r\nhello\r\n0\r\n\r\n"),
    "size_missing": _chunk(b"\r\nhello\r\n0\r\n\r\n"),
    "size_negative": _chunk(b"-5\r\nhello\r\n0\r\n\r\n"),
    "size_with_plus": _chunk(b"+5\r\nhello\r\n0\r\n\r\n"),
    "size_with_0x": _chunk(b"0x5\r\nhello\r\n0\r\n\r\n"),
    "size_with_space_in_front": _chunk(b" 5\r\nhello\r\n0\r\n\r\n"),
    "size_with_underscore": _chunk(b"0_5\r\nhello\r\n0\r\n\r\n"),
    "size_with_space_behind": _chunk(b"5 \r\nhello\r\n0\r\n\r\n"),
    "extension_without_a_name": _chunk(b"5;\r\nhello\r\n0\r\n\r\n"),
    "extension_with_bracket": _chunk(b"5;a[=b\r\nhello\r\n0\r\n\r\n"),
    "size_with_nul": _chunk(b"5\0\r\nhello\r\n0\r\n\r\n"),
    "size_with_words": _chunk(b"5 hello\r\nhello\r\n0\r\n\r\n"),
    "second_size_bad": _chunk(b"5\r\nhello\r\ng\r\nx\r\n0\r\n\r\n"),
    "bare_lf_after_the_size": _chunk(b"5\nhello\r\n0\r\n\r\n"),
    "bare_lf_after_the_data": _chunk(b"5\r\nhello\n0\r\n\r\n"),
    "bare_lf_after_the_last_size": _chunk(b"5\r\nhello\r\n0\n\r\n"),
    "bare_lf_at_the_end": _chunk(b"5\r\nhello\r\n0\r\n\n"),
    "bare_lf_in_an_extension": _chunk(b"5;a=b\nc\r\nhello\r\n0\r\n\r\n"),
    "bare_lf_in_a_quoted_extension": _chunk(b'5;a="b\nc"\r\nhello\r\n0\r\n\r\n'),
    "bare_lf_after_an_extension": _chunk(b"5;a\nhello\r\n0\r\n\r\n"),
    "bare_cr_after_the_size": _chunk(b"5\rhello\r\n0\r\n\r\n"),
    "bare_cr_in_an_extension": _chunk(b"5;a=b\rc\r\nhello\r\n0\r\n\r\n"),
    "nul_in_an_extension": _chunk(b"5;a=\0\r\nhello\r\n0\r\n\r\n"),
    "nothing_after_the_data": _chunk(b"5\r\nhello0\r\n\r\n"),
    "longer_than_its_size": _chunk(b"4\r\nhello\r\n0\r\n\r\n"),
    "shorter_than_its_size": _chunk(b"6\r\nhello\r\n0\r\n\r\n"),
    "open_quote": _chunk(b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    "trailer_with_obs_fold": _chunk(b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n"),
    "trailer_with_bare_lf": _chunk(b"5\r\nhello\r\n0\r\nA: b\nC: d\r\n\r\n"),
    "trailer_with_nul": _chunk(b"5\r\nhello\r\n0\r\nA: \0\r\n\r\n"),
    "trailer_with_space_before_colon": _chunk(b"5\r\nhello\r\n0\r\nA : b\r\n\r\n"),
    "trailer_without_colon": _chunk(b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n")})
_table("chunk", (400, 413), {
    "size_of_17_digits": _chunk(b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "size_of_2_to_the_64_plus_5": _chunk(b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    "size_of_2_to_the_64_minus_1": _chunk(b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    "size_of_2_to_the_63": _chunk(b"8000000000000000\r\nhello\r\n0\r\n\r\n"),
    "sizes_that_overflow_together": _chunk(b"5\r\nhello\r\nfffffffffffffffb\r\nhello\r\n0\r\n\r\n")})
_table("chunk", (413,), {"size_of_4_gib": _chunk(b"100000000\r\nhello\r\n0\r\n\r\n")})


# --- too large

def _too_many_bytes(statuses, data, endless=b""):
    """Sends what is too much; the node must answer and close, and not read on for ever."""
    node, key = common(), fresh()
    node.put(key, b"old")
    with node.connect() as connection:
        sender = Background(connection.send_what_goes, data.replace(b"KEY", key.encode()), endless, 256 * MIB)
        answer = refusal(connection.reply(), *statuses)
        check(answer.closes(), f"a {answer.status} with bytes still to come has no Connection: close")
        connection.closed()
        check(sender.result() < 64 * MIB, f"the node has taken in {sender.result()} bytes")
    equal(node.get(key).body, b"old", "the value afterwards")


for _name, _lines in {"one_header_of_40_kib": [b"X-A: " + b"a" * 40960],
                      "one_name_of_40_kib": [b"a" * 40960 + b": x"],
                      "many_headers": [b"X-%d: y" % n for n in range(8000)],
                      "one_header_of_4_mib": [b"X-A: " + b"a" * (4 * MIB)]}.items():
    register("refusals", f"{_name}_is_431", _too_many_bytes, (431,), _get(*_lines) + request("DELETE", "/KEY"))
for _name, _statuses, _data, _endless in (
        ("headers_that_never_end", (431,), b"GET /KEY HTTP/1.1\r\nHost: x\r\n", b"X-A: aaaaaaaaaaaaaaaa\r\n"),
        ("header_that_never_ends", (431,), b"GET /KEY HTTP/1.1\r\nHost: x\r\nX-A: ", b"a"),
        ("target_that_never_ends", (414,), b"GET /KEY", b"a"),
        ("method_that_never_ends", (400, 414, 431, 501), b"", b"A"),
        ("empty_lines_that_never_end", (400, 431), b"", b"\r\n"),
        ("trailers_that_never_end", (400, 413, 431), _chunk(b"5\r\nhello\r\n0\r\n"), b"X-A: aaaaaaaaaaaa\r\n"),
        ("extension_that_never_ends", (400, 413, 431), _chunk(b"5;a="), b"a"),
        ("chunk_size_that_never_ends", (400, 413), _chunk(b""), b"0")):
    register("refusals", f"{_name}_refused", _too_many_bytes, _statuses, _data, _endless)


@test
def headers_below_the_limit_are_taken():
    node, key = common(), fresh()
    node.put(key, b"x")
    for lines in ([b"X-A: " + b"a" * 24000], [b"X-%d: y" % number for number in range(200)]):
        equal(node.call("GET", "/" + key, None, lines).body, b"x", "the value")


@test
def value_at_the_limit_and_one_byte_over():
    node = serve("--value-max", "1M")
    equal(node.call("PUT", "/k", bytes(MIB)).status, 200, "the status at the limit")
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, [f"Content-Length: {MIB + 1}"]))
        answer = refusal(connection.reply(), 413)  # though the body never came
        check(answer.closes(), "the 413 has no Connection: close")
        connection.closed()
    equal(node.call("HEAD", "/k").header("content-length"), str(MIB), "the length of the value afterwards")


@test
def value_at_the_limit_and_one_byte_over_chunked():
    node = serve("--value-max", "1M")
    head = request("PUT", "/k", None, ["Transfer-Encoding: chunked"])
    with node.connect() as connection:
        connection.send(head + chunked(*[b"x" * 65536] * 16))
        equal(connection.reply().status, 200, "the status at the limit")
    with node.connect() as connection:
        sender = Background(connection.send_what_goes, head + chunked(*[b"y" * 65536] * 16, b"y"))
        answer = refusal(connection.reply(), 413)
        check(answer.closes(), "the 413 has no Connection: close")
        connection.closed()
        sender.result()
    answer = node.get("k")
    check(answer.body == b"x" * MIB, "the value has changed")


@test
def value_over_the_default_limit_of_64_mib():
    node = serve()
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, [f"Content-Length: {64 * MIB + 1}"]))
        refusal(connection.reply(), 413)
        connection.closed()


@test
def body_over_the_limit_is_not_read():
    node = serve("--value-max", "1M")
    length = 8 << 30
    with node.connect() as connection:
        connection.send(request("PUT", "/k", None, [f"Content-Length: {length}"]))
        sender = Background(connection.send_what_goes, b"", bytes(MIB), 512 * MIB)
        refusal(connection.reply(), 413)
        connection.closed()
        sent = sender.result(40)
        check(sent < 256 * MIB, f"the node has taken in {sent} bytes of the body")
    check(node.memory("VmHWM") < 128 * MIB or SLOW > 1, f"the node's memory rose to {node.memory('VmHWM')} bytes")


@test
def endless_chunks_over_the_limit_are_not_read():
    node = serve("--value-max", "1M")
    with node.connect() as connection:
        sender = Background(connection.send_what_goes, request("PUT", "/k", None, ["Transfer-Encoding: chunked"]),
                            b"10000\r\n" + bytes(65536) + b"\r\n", 512 * MIB)
        refusal(connection.reply(), 413)
        connection.closed()
        sent = sender.result(40)
        check(sent < 256 * MIB, f"the node has taken in {sent} bytes of the body")


@test
def curl_without_expect_sees_the_413():
    node = serve("--value-max", "1M")
    for _ in range(5):
        equal(curl_code("-H", "Expect:", "--data-binary", "@-", node.url("/k"), data=bytes(8 * MIB)), 413, "the status")
    done = curl("-H", "Expect:", "--data-binary", "@-", node.url("/k"), data=bytes(MIB + 1))
    check(b" " in done.stdout and done.stdout.endswith(b"\n"), f"curl shows {done.stdout!r} for a 413")


# --- too slow

def _too_slow(data):
    node = serve("--request-timeout", "1")
    node.put("KEY", b"old")
    with node.connect() as connection:
        started = time.monotonic()
        connection.send(data)
        answer = refusal(connection.reply(), 408)
        passed = time.monotonic() - started
        check(answer.closes(), "the 408 has no Connection: close")
        connection.closed()
    check(0.9 <= passed <= 2.5 * SLOW, f"the 408 came after {passed:.2f} s")
    equal(node.get("KEY").body, b"old", "the value afterwards")


for _name, _data in {"request_line": b"GET /K", "head": b"GET /KEY HTTP/1.1\r\nHost: x\r\n",
                     "head_but_its_last_byte": _get()[:-1], "body": _put(b"Content-Length: 10"),
                     "body_that_never_begins": _put(b"Content-Length: 10", body=b""),
                     "chunked_body": _chunk(b"5\r\nhello\r\n"), "trailer": _chunk(b"5\r\nhello\r\n0\r\nA")}.items():
    register("refusals", f"slow_{_name}_is_408", _too_slow, _data)


@test
def trickled_head_is_408():
    node = serve("--request-timeout", "1")
    with node.connect() as connection:
        started = time.monotonic()
        connection.send(b"GET /k HTTP/1.1\r\nHost: x\r\nX-A: ")

        def trickle():
            try:
                while time.monotonic() - started < 15:
                    connection.send(b"a")
                    time.sleep(0.1)
            except OSError:
                pass

        sender = Background(trickle)
        refusal(connection.reply(), 408)
        passed = time.monotonic() - started
        connection.shutdown()
        sender.result()
        check(0.9 <= passed <= 2.5 * SLOW, f"the 408 came after {passed:.2f} s")


@test
def second_slow_request_is_408():
    node = serve("--request-timeout", "1")
    with node.connect() as connection:
        equal(connection.ask("PUT", "/k", b"x").status, 200, "the status of the first")
        connection.send(b"GET /k HTTP/1.1\r\nHo")
        refusal(connection.reply(), 408)
        connection.closed()


@test
def pipelined_answers_come_before_a_408():
    node = serve("--request-timeout", "1")
    with node.connect() as connection:
        connection.send(request("PUT", "/k", b"x") + request("GET", "/k") + b"GET /k HTT")
        equal(connection.reply().status, 200, "the first status")
        equal(connection.reply().body, b"x", "the value")
        refusal(connection.reply(), 408)
        connection.closed()


def _idle(first):
    node = serve("--idle-timeout", "1")
    with node.connect() as connection:
        if first:
            equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
        started = time.monotonic()
        connection.closed()
        passed = time.monotonic() - started
        check(0.9 <= passed <= 2.5 * SLOW, f"the idle connection was closed after {passed:.2f} s")


register("refusals", "idle_connection_is_closed", _idle, True)
register("refusals", "connection_that_never_speaks_is_closed", _idle, False)


@test
def idle_time_starts_again_with_each_request():
    node = serve("--idle-timeout", "1")
    with node.connect() as connection:
        for _ in range(8):
            equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
            time.sleep(0.25)


@test
def other_limits_do_not_cut_idle_connections():
    node = serve("--request-timeout", "1", "--idle-timeout", "30")
    with node.connect() as connection:
        equal(connection.ask("PUT", "/k", b"x").status, 200, "the status")
        connection.silent(2)
        equal(connection.ask("GET", "/k").body, b"x", "the value")


# --- nothing behind a refused request is a request

def _not_smuggled(head, statuses):
    """The body of a refused request looks like a request; at most what follows it may be answered."""
    node, key = common(), fresh()
    node.put(key, b"old")
    body = request("DELETE", "/" + key)
    data = head.replace(b"KEY", key.encode()) + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with node.connect() as connection:
        connection.send(data + request("GET", "/" + key, None, ["Connection: close"]))
        answer = refusal(connection.reply(), *statuses)
        if not answer.closes():
            equal(connection.reply().body, b"old", "the next answer")
        connection.closed()
    equal(node.get(key).body, b"old", "the value afterwards")


for _name, _head, _statuses in (
        ("behind_a_405", b"PATCH /KEY HTTP/1.1\r\nHost: x", (405,)),
        ("behind_a_403", b"PUT /-/KEY HTTP/1.1\r\nHost: x", (403,)),
        ("behind_a_404", b"GET /-/KEY HTTP/1.1\r\nHost: x", (404,)),
        ("behind_a_bad_escape", b"PUT /KEY%zz HTTP/1.1\r\nHost: x", (400,)),
        ("behind_a_414", b"PUT /" + b"k" * 5000 + b" HTTP/1.1\r\nHost: x", (414,)),
        ("behind_a_417", b"PUT /KEY HTTP/1.1\r\nHost: x\r\nExpect: wonders", (417,)),
        ("behind_a_bad_ttl", b"PUT /KEY HTTP/1.1\r\nHost: x\r\nFog-TTL: soon", (400,)),
        ("behind_an_unknown_method", b"BREW /KEY HTTP/1.1\r\nHost: x", (400, 405, 501)),
        ("behind_no_host", b"PUT /KEY HTTP/1.1", (400,)),
        ("behind_a_bad_merge", b"POST /-/merge HTTP/1.1\r\nHost: x", (400,))):
    register("refusals", f"nothing_smuggled_{_name}", _not_smuggled, _head, _statuses)


@test
def good_requests_before_a_bad_one_are_answered():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, b"x") + request("GET", "/" + key) + b"nonsense\r\n\r\n"
                        + request("DELETE", "/" + key))
        equal(connection.reply().status, 200, "the first status")
        equal(connection.reply().body, b"x", "the value")
        refusal(connection.reply(), 400)
        connection.closed()
    equal(node.get(key).body, b"x", "the value afterwards")


@test
def one_clients_error_does_not_reach_another():
    """The bytes of a refused request never come out on the next connection."""
    node, key = common(), fresh()
    node.put(key, b"x")
    for number in range(50):
        with node.connect() as bad, node.connect() as good:
            bad.send(b"GET /%s HTTP/1.1\r\nHost: x\r\n: secret-%d\r\n\r\n" % (key.encode(), number))
            answer = good.ask("GET", "/" + key)
            equal((answer.status, answer.body), (200, b"x"), "the good client's answer")
            refusal(bad.reply(), 400)
