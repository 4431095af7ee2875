"""What the tests of backups and lists share."""

import re
import urllib.parse

from harness import check

ODD_KEYS = ["plain", "with%20space", "a%2Fb", "a//b", "..", "%00", "%00%01%ff", "%0D%0A", "%25", "?q=1&r", "%C3%A4",
            "-", "-x", "+", "%22quoted%22", "%7F", "tail/", "%5B1%5D", "k" * 4096]


def records_of(node):
    answer = node.call("GET", "/-/records")
    check(answer.status == 200, f"GET /-/records gives {answer.line()}")
    return answer.body


def merge(node, records):
    answer = node.call("POST", "/-/merge", records)
    check(answer.status == 200, f"POST /-/merge gives {answer.line()}")
    return answer


def digest_of(node):
    answer = node.call("GET", "/-/digest")
    check(answer.status == 200 and answer.body, f"GET /-/digest gives {answer.line()}")
    return answer.body


def keys_of(node, query="?prefix="):
    """The listed keys, as bytes."""
    answer = node.call("GET", "/-/keys" + query)
    check(answer.status == 200, f"GET /-/keys gives {answer.line()}")
    check(not answer.body or answer.body.endswith(b"\n"), "the last line of /-/keys has no end")
    lines = answer.body.split(b"\n")[:-1]
    encoded = re.compile(rb"([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})+")
    for line in lines:
        check(encoded.fullmatch(line), f"a line of /-/keys is {line!r}")
    return [urllib.parse.unquote_to_bytes(line.decode()) for line in lines]
