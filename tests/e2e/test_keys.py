"""Keys: any bytes, decoded once, never normalised; and what is reserved."""

import urllib.parse

from client import curl, curl_code, curl_reply, refusal, request
from harness import check, equal, fresh, register, test
from served import common

KEY_BYTES_MAX = 4096


def _round_trip(suffix):
    """curl sets and reads back a key with this suffix; the plain key is another one."""
    node, plain = common(), fresh()
    target = f"/{plain}{suffix}"
    equal(curl_code("--data-binary", suffix, node.url(target)), 200, "the status of the POST")
    equal(curl(node.url(target)).stdout.decode(), suffix, "the value")
    equal(curl_code(node.url("/" + plain)), 204, "the status of GET of the key without the suffix")
    equal(curl_code("-X", "DELETE", node.url(target)), 200, "the status of DELETE")
    equal(curl_code(node.url(target)), 204, "the status of GET after DELETE")


for _name, _suffix in {
        "question_mark": "?", "query": "?a=1&b=2", "two_question_marks": "??x", "slash": "/", "path": "/a/b/c",
        "double_slash": "//", "slashes_around": "/a//b/", "dots": "/..", "dots_between": "/../x/./y", "dot": "/.",
        "escaped_nul": "%00", "nul_between": "%00a%00", "escaped_slash": "%2F", "escaped_question": "%3F",
        "escaped_space": "%20", "plus": "+", "escaped_utf8": "/%C3%A4%E2%82%AC%F0%9F%98%80", "bad_utf8": "%FF%FE%80",
        "newline": "%0D%0A", "percent": "%25", "colon": ":8000", "semicolon": ";a=b", "punctuation": "!$&'()*,;=:@~_-.",
        "brackets": "[1]{2}|^`", "star": "*", "like_a_url": "/http://x/y", "dash_slash_inside": "/-/x"}.items():
    register("keys", f"{_name}_is_part_of_the_key", _round_trip, _suffix)


@test
def utf8_raw_equals_escaped():
    node, key = common(), fresh("/\u00e4\u20ac\U0001f600")
    escaped = urllib.parse.quote(key)
    with node.connect() as connection:
        equal(connection.ask("PUT", ("/" + key).encode(), b"raw").status, 200, "the status of the PUT")
        equal(connection.ask("GET", "/" + escaped).body, b"raw", "the value by the escaped key")
        equal(connection.ask("PUT", "/" + escaped, b"escaped").status, 200, "the status of the PUT")
        equal(connection.ask("GET", ("/" + key).encode()).body, b"escaped", "the value by the raw key")
    equal(curl(node.url("/" + key)).stdout, b"escaped", "what curl gets with the raw key")


@test
def escaped_slash_equals_slash():
    node, key = common(), fresh()
    node.put(f"{key}/a%2Fb", b"x")
    for target in (f"{key}/a/b", f"{key}%2Fa%2fb", f"{key}%2fa/b"):
        equal(curl(node.url("/" + target)).stdout, b"x", f"the value by {target}")


@test
def escaped_question_mark_equals_question_mark():
    node, key = common(), fresh()
    node.put(f"{key}%3Fa", b"x")
    equal(curl(node.url(f"/{key}?a")).stdout, b"x", "the value")


@test
def hex_digits_in_either_case():
    node, key = common(), fresh()
    node.put(f"{key}%c3%aA", b"x")
    equal(node.get(f"{key}%C3%AA").body, b"x", "the value")


@test
def unreserved_letters_may_be_escaped():
    node, key = common(), fresh("abc")
    node.put(key, b"x")
    equal(node.get("".join(f"%{byte:02X}" for byte in key.encode())).body, b"x", "the value")


@test
def escapes_are_decoded_once():
    node, key = common(), fresh()
    node.put(f"{key}%2541", b"percent")
    node.put(f"{key}A", b"letter")
    equal(node.get(f"{key}%2541").body, b"percent", "the value of the key that ends in '%41'")
    equal(node.get(f"{key}%41").body, b"letter", "the value of the key that ends in 'A'")


@test
def plus_is_not_a_space():
    node, key = common(), fresh()
    node.put(f"{key}+", b"plus")
    equal(node.get(f"{key}%20").status, 204, "the status of the key with a space")
    equal(node.get(f"{key}%2B").body, b"plus", "the value by the escaped plus")


@test
def nothing_is_normalised():
    node, key = common(), fresh()
    forms = [f"{key}/a/b", f"{key}//a/b", f"{key}/./a/b", f"{key}/x/../a/b", f"{key}/a/b/", f"{key}/a/b?",
             f"/{key}/a/b"]
    for number, form in enumerate(forms):
        node.put(form, str(number).encode())
    for number, form in enumerate(forms):
        equal(curl(node.url("/" + form)).stdout, str(number).encode(), f"the value of /{form}")


@test
def keys_are_case_sensitive():
    node, key = common(), fresh()
    node.put(f"{key}Aa", b"1")
    equal(node.get(f"{key}aA").status, 204, "the status of the key in another case")


@test
def key_that_is_only_a_question_mark():
    node = common()
    node.put("?", b"q")
    equal(curl(node.url("/?")).stdout, b"q", "the value of '?'")
    node.put("?x=" + fresh(), b"q2")
    node.delete("?")
    equal(node.get("?").status, 204, "the status after the delete")


@test
def key_that_is_only_a_slash():
    node = common()
    node.put("/", b"s")
    equal(node.get("/").body, b"s", "the value of '/'")
    equal(node.get("%2F").body, b"s", "the value by %2F")
    node.delete("/")


@test
def key_that_is_one_nul():
    node = common()
    node.put("%00", b"nul")
    node.put("%00%00", b"two")
    equal((node.get("%00").body, node.get("%00%00").body), (b"nul", b"two"), "the values")
    node.delete("%00")
    equal(node.get("%00%00").body, b"two", "the value of the other")
    node.delete("%00%00")


@test
def all_256_bytes_in_one_key():
    node, key = common(), fresh()
    target = key + "".join(f"%{byte:02X}" for byte in range(256))
    node.put(target, b"all")
    equal(node.get(target).body, b"all", "the value")
    equal(node.get(target[:-3]).status, 204, "the status of the key without its last byte")


@test
def each_byte_in_a_key_of_its_own():
    node, key = common(), fresh()
    with node.connect() as connection:
        for byte in range(256):
            equal(connection.ask("PUT", f"/{key}%{byte:02X}", b"%d" % byte).status, 200, f"PUT with byte {byte}")
        for byte in range(256):
            equal(connection.ask("GET", f"/{key}%{byte:02x}").body, b"%d" % byte, f"the value with byte {byte}")


# --- lengths

@test
def key_of_4_kib():
    node, key = common(), fresh()
    key += "k" * (KEY_BYTES_MAX - len(key))
    equal(curl_code("--data-binary", "long", node.url("/" + key)), 200, "the status of the POST")
    equal(curl(node.url("/" + key)).stdout, b"long", "the value")
    equal(node.get(key[:-1]).status, 204, "the status of the key without its last byte")


@test
def key_of_4_kib_all_escaped():
    node, key = common(), fresh()
    rest = KEY_BYTES_MAX - len(key)
    node.put(key + "%ff" * rest, b"x")
    equal(node.get(key + "%FF" * rest).body, b"x", "the value")


def _too_long(target):
    node = common()
    for arguments in ((), ("--data-binary", "x"), ("-X", "DELETE")):
        refusal(curl_reply(*arguments, node.url(target)), 414)
    refusal(node.call("GET", target), 414)


register("keys", "key_of_4097_bytes_is_414", _too_long, "/" + "k" * (KEY_BYTES_MAX + 1))
register("keys", "key_of_4097_escaped_bytes_is_414", _too_long, "/" + "%6b" * (KEY_BYTES_MAX + 1))


def _target_too_long(length):
    with common().connect() as connection:
        connection.send_what_goes(b"GET /" + b"k" * length + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = refusal(connection.reply(), 414)
        if answer.closes():
            connection.closed()


for _length in (5000, 33000, 70000, 1 << 20):
    register("keys", f"target_of_{_length}_bytes_is_414", _target_too_long, _length)


# --- bad escapes and targets

def _bad_escape(suffix):
    node, key = common(), fresh()
    target = f"/{key}{suffix}"
    refusal(curl_reply(node.url(target)), 400)
    refusal(curl_reply("-X", "PUT", "--data-binary", "x", node.url(target)), 400)
    refusal(curl_reply("-X", "DELETE", node.url(target)), 400)


for _name, _suffix in {"zz": "%zz", "trailing_percent": "%", "one_digit": "%4", "one_digit_inside": "%4/x",
                       "second_digit": "%4g", "first_digit": "%g4", "minus": "%-1", "space": "%+1", "double": "%%41",
                       "after_query": "?a=%zz", "x": "%0x"}.items():
    register("keys", f"bad_escape_{_name}_is_400", _bad_escape, _suffix)


@test
def bad_escape_keeps_the_connection_in_step():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", f"/{key}%zz", b"lost"))
        answer = refusal(connection.reply(), 400)
        if answer.closes():
            connection.closed()
        else:
            equal(connection.ask("GET", "/" + key).status, 204, "the status of the next request")


def _bad_target(target):
    node = common()
    with node.connect() as connection:
        connection.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        refusal(connection.reply(), 400)
        connection.closed()


for _name, _target in {"without_slash": b"key", "with_space": b"/a b", "with_tab": b"/a\tb", "with_nul": b"/a\0b",
                       "with_control": b"/a\x01b", "with_delete": b"/a\x7fb", "empty": b"",
                       "with_cr": b"/a\rb"}.items():
    register("keys", f"target_{_name}_is_400", _bad_target, _target)


# --- the reserved part

def _reserved(target):
    node = common()
    for arguments in (("--data-binary", "x"), ("-X", "PUT", "--data-binary", "x"), ("-X", "DELETE")):
        refusal(curl_reply(*arguments, node.url(target)), 403)


register("keys", "write_under_the_reserved_prefix_is_403", _reserved, "/-/my-key")
register("keys", "write_to_the_bare_reserved_prefix_is_403", _reserved, "/-/")
register("keys", "write_to_a_reserved_key_with_query_is_403", _reserved, "/-/x?y")


@test
def get_of_an_unknown_operation_is_404():
    reply = refusal(curl_reply(common().url("/-/nothing-here")), 404)
    check(b"GET / lists what stands under /-/." in reply.body, "where to look is not said")
    refusal(curl_reply(common().url("/-/")), 404)


def _escaped_reserved(target):
    node = common()
    for arguments in ((), ("--data-binary", "x"), ("-X", "PUT", "--data-binary", "x"), ("-X", "DELETE")):
        refusal(curl_reply(*arguments, node.url(target)), 403)
    equal(curl_reply("-I", node.url(target)).status, 403, "the status of HEAD")


for _name, _target in {"both": "/%2D%2Fhealthy", "slash": "/-%2Fhealthy", "small": "/%2d%2fx",
                       "unknown": "/-%2Fx"}.items():
    register("keys", f"escaped_reserved_{_name}_is_403", _escaped_reserved, _target)


@test
def write_with_an_escaped_dash_is_403():
    refusal(curl_reply("--data-binary", "x", common().url("/%2D/x")), 403)


@test
def dash_alone_is_an_ordinary_key():
    node = common()
    for key in ("-", "-x", "--/", "/-/x"):
        node.put(key, key.encode())
        equal(curl(node.url("/" + key)).stdout, key.encode(), f"the value of '{key}'")
        node.delete(key)
        equal(curl_code(node.url("/" + key)), 204, f"the status of '{key}' after its delete")
