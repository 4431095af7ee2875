"""Backups that are cut short or changed: refused, with the place, and without harm."""

import os
import re

from backup import digest_of, keys_of, merge, records_of
from client import curl_reply, refusal
from harness import check, equal, register, scope, test
from node import Node


def _small():
    """A backup of a few small records, and how each of its keys may be read."""
    node = Node()
    allowed = {}
    for number in range(6):
        value = b"value-%d-" % number * number
        node.put(f"key-{number}", value, f"Content-Type: text/x-{number}")
        allowed[f"key-{number}"] = value
    node.put("key-ttl", b"t", "Fog-TTL: 1000")
    allowed["key-ttl"] = b"t"
    node.put("key-gone", b"g")
    node.delete("key-gone")
    allowed["key-gone"] = None
    return node, records_of(node), allowed


def _place_and_count(answer):
    """What a refused merge says: the byte where it broke, and how many records are in."""
    text = refusal(answer, 400).body.decode()
    place = re.search(r"(?:byte|offset|position)\D{0,12}(\d+)", text, re.I)
    count = re.search(r"(\d+) (?:\w+ )?records?\b|records?\D{0,24}(\d+)", text, re.I)
    check(place and count, f"not clear where it broke and how many records are in: {text!r}")
    return int(place.group(1)), int(count.group(1) or count.group(2))


def _check_allowed(node, allowed, what):
    present = 0
    for key, value in allowed.items():
        answer = node.get(key)
        check(answer.status == 204 or answer.body == value, f"{what}, {key} holds {answer.line()}")
        present += answer.status == 200
    return present


@test
def truncated_backup_is_refused_at_every_place():
    source, records, allowed = _small()
    other = Node()
    counts = []
    with other.connect() as connection:
        for length in range(1, len(records)):
            answer = connection.ask("POST", "/-/merge", records[:length])
            check(answer.status == 400, f"the first {length} of {len(records)} bytes give {answer.line()}")
            place, count = _place_and_count(answer)
            check(place <= length, f"for a file of {length} bytes the place is {place}")
            counts.append(count)
            if answer.closes():
                connection.closed()
                connection = other.connect()
    check(counts == sorted(counts), f"longer files have fewer records before their end: {counts}")
    check(counts[0] == 0 and len(allowed) - 1 <= counts[-1] <= len(allowed), f"the counts go to {counts[-1]}")
    _check_allowed(other, allowed, "after all truncated files")
    merge(other, records)
    equal(digest_of(other), digest_of(source), "the digest in the end")


@test
def truncated_backup_counts_what_is_in():
    _, records, allowed = _small()
    for length in range(len(records) // 7, len(records), len(records) // 7):
        other = Node()
        _, count = _place_and_count(other.call("POST", "/-/merge", records[:length]))
        listed = len(keys_of(other))
        check(listed in (count, count - 1), f"it says {count} records, but {listed} keys and one delete at most are in")
        _check_allowed(other, allowed, f"after {length} bytes")


@test
def corrupt_backup_is_refused_at_every_place():
    source, records, allowed = _small()
    other = Node()
    connection = other.connect()
    wrong = []
    for place in range(len(records)):
        broken = bytearray(records)
        broken[place] ^= 1 << (place % 8)
        answer = connection.ask("POST", "/-/merge", bytes(broken))
        if answer.status != 400:
            wrong.append(f"{place}: {answer.line()}")
        else:
            said, count = _place_and_count(answer)
            check(said <= len(records), f"the place is {said} in a file of {len(records)} bytes")
            check(count <= len(allowed), f"it counts {count} of {len(allowed)} records")
        if answer.closes():
            connection.closed()
            connection = other.connect()
    check(not wrong, f"a flipped bit gives no 400 at {len(wrong)} of {len(records)} places; {'; '.join(wrong[:4])}")
    _check_allowed(other, allowed, "after all corrupt files")
    merge(other, records)
    equal(digest_of(other), digest_of(source), "the digest in the end")


@test
def corrupt_byte_is_said_to_be_near_its_place():
    """The place lies in the record that broke: not before the record that the flipped byte is in."""
    _, records, _ = _small()
    other = Node()
    for place in range(len(records) // 2, len(records), 23):
        broken = bytearray(records)
        broken[place] ^= 0xFF
        said, _ = _place_and_count(other.call("POST", "/-/merge", bytes(broken)))
        check(place - 200 <= said <= place + 200, f"byte {place} is flipped, and the place said is {said}")


def _nonsense(data):
    node = Node()
    node.put("k", b"x")
    before = digest_of(node)
    _place_and_count(node.call("POST", "/-/merge", data))
    equal(digest_of(node), before, "the digest afterwards")


for _name, _data in {"text": b"this is no backup\n", "html": b"<!doctype html><title>oops</title>",
                     "zeros": bytes(4096), "ones": b"\xff" * 4096, "random": os.urandom(100000),
                     "one_byte": b"\x01"}.items():
    register("broken", f"merge_of_{_name}_is_refused", _nonsense, _data)


@test
def bytes_behind_the_end_are_refused_or_merged():
    """What follows a whole backup is another backup, or it is refused; never passed over."""
    node, records, allowed = _small()
    other = Node()
    answer = other.call("POST", "/-/merge", records + b"garbage behind the end")
    refusal(answer, 400)
    _check_allowed(other, allowed, "after garbage behind the end")
    third = Node()
    third.put("third", b"x")
    fourth = Node()
    answer = fourth.call("POST", "/-/merge", records + records_of(third))
    check(answer.status in (200, 400), f"two backups in a row give {answer.line()}")
    if answer.status == 200:
        equal(fourth.get("third").body, b"x", "a value of the second backup")
        equal(fourth.get("key-3").body, node.get("key-3").body, "a value of the first backup")


@test
def curl_shows_where_a_file_broke():
    _, records, _ = _small()
    path = os.path.join(scope().directory(), "broken")
    with open(path, "wb") as file:
        file.write(records[:len(records) // 2])
    answer = curl_reply("--data-binary", "@" + path, Node().url("/-/merge"))
    _place_and_count(answer)
