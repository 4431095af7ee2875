"""/-/digest and /-/keys."""

import urllib.parse

from backup import ODD_KEYS, digest_of, keys_of, merge, records_of
from client import curl, curl_code, curl_reply, refusal, request
from harness import Background, check, equal, test, until
from node import Node

# --- the digest

@test
def digest_changes_with_every_write():
    node = Node()
    seen = [digest_of(node)]
    for number in range(50):
        if number % 3 == 2:
            node.delete(f"k{number % 5}")
        else:
            node.put(f"k{number % 5}", b"same")
        digest = digest_of(node)
        check(digest not in seen, f"the digest after step {number} has been there before")
        seen.append(digest)
    equal(digest_of(node), seen[-1], "the digest asked again")


@test
def digest_does_not_depend_on_the_order():
    node = Node()
    for number in range(100):
        node.put(f"k{number}", b"%d" % number)
    one, two = Node(), Node()
    first = records_of(node)
    node.put("k5", b"changed")
    node.delete("k6")
    second = records_of(node)
    merge(one, first)
    merge(one, second)
    merge(two, second)
    merge(two, first)
    equal((digest_of(one), digest_of(two)), (digest_of(node), digest_of(node)), "the digests")


@test
def digest_is_text():
    answer = curl_reply(Node().url("/-/digest"))
    check(answer.kind().startswith("text/plain"), f"the type is {answer.kind()}")
    check(answer.body.endswith(b"\n") and answer.body.isascii(), f"the digest is {answer.body[:100]!r}")


# --- the list of keys

@test
def parts_of_the_digest_are_two_digits():
    node = Node()
    for part in ("00", "7f", "7F", "0a/00", "7f/7f", "00?x"):
        equal(curl_code(node.url(f"/-/digest/{part}")), 200, part)
    for part in ("", "0", "80", "ff", "000", "+1", "-0", "0x", "0g", "00/", "00/0", "00/80", "00/+1", "+1/00", "00/0x", "00x00",
                 "00/000", "00/00/", "%31%31", "/0"):
        equal(curl_code("-g", node.url(f"/-/digest/{part}")), 404, repr(part))


@test
def keys_lists_each_key_once_and_encoded():
    node = Node()
    for key in ODD_KEYS:
        node.put(key, b"x")
    answer = curl_reply(node.url("/-/keys?prefix="))
    check(answer.kind().startswith("text/plain"), f"the type is {answer.kind()}")
    equal(sorted(keys_of(node)), sorted(urllib.parse.unquote_to_bytes(key) for key in ODD_KEYS), "the keys")


@test
def each_line_of_keys_is_a_target():
    node = Node()
    for number, key in enumerate(ODD_KEYS):
        node.put(key, b"%d" % number)
    lines = node.call("GET", "/-/keys?prefix=").body.decode().splitlines()
    values = sorted(int(curl(node.url("/" + line)).stdout) for line in lines)
    equal(values, list(range(len(ODD_KEYS))), "the values by the lines")


@test
def keys_without_a_query_lists_all():
    node = Node()
    node.put("a", b"")
    node.put("b", b"")
    equal(sorted(keys_of(node, "")), [b"a", b"b"], "the keys")
    equal(sorted(keys_of(node, "?prefix=")), [b"a", b"b"], "the keys")


@test
def keys_with_a_prefix():
    node = Node()
    for key in ("a", "ab", "abc", "b", "a%2Fb", "a%00", "a%00b", "a%C3%A4", "%25", "a%26b", "a+b", "a=b", "?"):
        node.put(key, b"")
    for prefix, wanted in {"a": [b"a", b"ab", b"abc", b"a/b", b"a\0", b"a\0b", b"a\xc3\xa4", b"a&b", b"a+b", b"a=b"],
                           "ab": [b"ab", b"abc"], "abcd": [], "a%2Fb": [b"a/b"], "a/": [b"a/b"],
                           "a%00": [b"a\0", b"a\0b"], "a%C3": [b"a\xc3\xa4"], "%61b": [b"ab", b"abc"], "%25": [b"%"],
                           "a%26": [b"a&b"], "a%2B": [b"a+b"], "a=": [b"a=b"], "?": [b"?"]}.items():
        equal(sorted(keys_of(node, "?prefix=" + prefix)), sorted(wanted), f"the keys with prefix {prefix}")


@test
def keys_up_to_a_limit():
    node = Node()
    for number in range(50):
        node.put(f"k{number}", b"x")
    node.put("other", b"x")
    for query, count in {"?limit=1": 1, "?limit=50": 50, "?limit=51": 51, "?limit=52": 51, "?limit=20&prefix=k": 20,
                         "?limit=99999999999&prefix=k": 50, "?limit=3&prefix=none": 0}.items():
        equal(len(set(keys_of(node, query))), count, f"how many keys of {query}")
    for query in ("?prefix=k&limit=5", "?prefix=&limit=5", "?limit=", "?limit=0", "?limit=-1", "?limit=x", "?limit=5&", "?limit=5&x=", "?prefix", "?limit=99999999999999999999"):
        refusal(node.call("GET", "/-/keys" + query), 400)


@test
def keys_with_a_bad_prefix_is_400():
    node = Node()
    for prefix in ("%zz", "%", "a%4"):
        refusal(node.call("GET", "/-/keys?prefix=" + prefix), 400)


@test
def keys_does_not_list_what_is_gone():
    node = Node()
    for key in ("kept", "deleted", "expired"):
        node.put(key, b"x", *(["Fog-TTL: 1"] if key == "expired" else []))
    node.delete("deleted")
    node.delete("never-there")
    until(lambda: node.get("expired").status == 204, 5, "the key is gone")
    equal(keys_of(node), [b"kept"], "the keys")


@test
def keys_of_an_empty_node():
    answer = Node().call("GET", "/-/keys?prefix=")
    equal((answer.status, answer.body), (200, b""), "the answer")


@test
def keys_while_writes_go_on():
    node = Node()
    count = 5000
    with node.connect() as connection:
        sender = Background(connection.send, b"".join(request("PUT", f"/fixed/{number}", b"x")
                                                      for number in range(count)))
        for _ in range(count):
            connection.reply()
        sender.result()
    stop = []

    def write():
        with node.connect() as connection:
            turn = 0
            while not stop:
                turn += 1
                connection.ask("PUT", f"/moving/{turn % 300}", b"x")
                connection.ask("PUT", f"/fixed/{turn * 7 % count}", b"y")
                connection.ask("DELETE", f"/moving/{turn * 3 % 300}")

    writer = Background(write)
    try:
        for _ in range(10):
            listed = [key for key in keys_of(node) if key.startswith(b"fixed/")]
            equal(len(set(listed)), count, "the number of fixed keys listed")
    finally:
        stop.append(True)
    writer.result()


@test
def keys_and_records_by_head():
    node = Node()
    node.put("k", b"x")
    for target in ("/-/keys?prefix=", "/-/records", "/-/digest"):
        with node.connect() as connection:
            connection.send(request("HEAD", target) + request("GET", "/k"))
            equal(connection.reply("HEAD").status, 200, f"the status of HEAD {target}")
            equal(connection.reply().body, b"x", "the next answer")
