"""Backup and restore: /-/records and /-/merge; and which of two records wins."""

import os
import time

from backup import ODD_KEYS, digest_of, keys_of, merge, records_of
from client import MIB, chunked, curl, curl_code, refusal, request
from cluster import status
from harness import GUARDED, SLOW, Background, check, equal, scope, test, until
from node import Node

ALL_BYTES = bytes(range(256))


def _filled():
    """A node with all kinds of records, and what must be read of it."""
    node = Node()
    wanted = {}
    for number, key in enumerate(ODD_KEYS):
        value = ALL_BYTES[:number * 13]
        kind = f"text/x-{number}" if number % 2 else None
        node.put(key, value, *([f"Content-Type: {kind}"] if kind else []))
        wanted[key] = (200, value, kind or "application/octet-stream")
    node.put("large", ALL_BYTES * 4096, "Content-Type: image/x-large")
    wanted["large"] = (200, ALL_BYTES * 4096, "image/x-large")
    node.put("deleted", b"x")
    node.delete("deleted")
    node.delete("never-there")
    wanted["deleted"] = wanted["never-there"] = (204, b"", None)
    node.put("lasting", b"ttl", "Fog-TTL: 1000")
    wanted["lasting"] = (200, b"ttl", "application/octet-stream")
    return node, wanted


def _check_all(node, wanted):
    with node.connect() as connection:
        for key, (status, value, kind) in wanted.items():
            answer = connection.ask("GET", "/" + key)
            equal((answer.status, answer.header("content-type") if status == 200 else None), (status, kind),
                  f"status and type of {key[:40]}")
            check(answer.body == value, f"the value of {key[:40]} is changed")


# --- backup and restore

@test
def backup_and_restore_with_curl():
    node, wanted = _filled()
    other = Node()
    path = os.path.join(scope().directory(), "backup")
    equal(curl_code("-o", path, node.url("/-/records")), 200, "the status of /-/records")
    equal(curl_code("--data-binary", "@" + path, other.url("/-/merge")), 200, "the status of /-/merge")
    _check_all(other, wanted)
    equal(curl(other.url("/-/digest")).stdout, curl(node.url("/-/digest")).stdout, "the digest")
    equal(sorted(keys_of(other)), sorted(keys_of(node)), "the list of keys")


@test
def restore_keeps_versions_and_etags():
    node, wanted = _filled()
    other = Node()
    merge(other, records_of(node))
    for key, (status, _, _) in wanted.items():
        if status == 200:
            one, two = node.get(key), other.get(key)
            equal((two.fog_version(), two.etag()), (one.fog_version(), one.etag()), f"version and ETag of {key[:40]}")


@test
def restore_twice_changes_nothing():
    node, wanted = _filled()
    other = Node()
    records = records_of(node)
    for _ in range(3):
        merge(other, records)
        equal(digest_of(other), digest_of(node), "the digest")
    _check_all(other, wanted)


@test
def a_merge_says_how_many_records_it_read_and_how_many_were_new():
    node, other = Node(), Node()
    for number in range(5):
        node.put(f"k{number}", b"value")
    records = records_of(node)
    cut = other.call("POST", "/-/merge", records[:-1])
    check(b" The 5 records before it were read, 5 of them were new here." in cut.body, cut.line())
    cut = other.call("POST", "/-/merge", records[:-1])
    check(b" The 5 records before it were read, 0 of them were new here." in cut.body, cut.line())
    equal(merge(other, records).body, b"5 records were read, 0 of them were new here.\n", "the sentence of a whole one")
    equal(status(other)["merges"], {"records": 5, "stale_records": 10, "refused": 2}, "what was counted")


@test
def restore_into_itself_changes_nothing():
    node, wanted = _filled()
    before = digest_of(node)
    merge(node, records_of(node))
    equal(digest_of(node), before, "the digest")
    _check_all(node, wanted)


@test
def backup_of_a_restored_node_restores_too():
    node, wanted = _filled()
    second, third = Node(), Node()
    merge(second, records_of(node))
    merge(third, records_of(second))
    equal(digest_of(third), digest_of(node), "the digest")
    _check_all(third, wanted)


@test
def restore_of_an_empty_backup():
    node, other = Node(), Node()
    equal(digest_of(node), digest_of(other), "the digest of two empty nodes")
    other.put("k", b"x")
    before = digest_of(other)
    merge(other, records_of(node))
    equal(digest_of(other), before, "the digest")


@test
def restore_deletes_what_was_deleted_later():
    node, other = Node(), Node()
    node.put("gone", b"old")
    node.put("kept", b"old")
    merge(other, records_of(node))
    equal(other.get("gone").body, b"old", "the value before")
    node.delete("gone")
    merge(other, records_of(node))
    equal(other.get("gone").status, 204, "the status of the deleted key")
    equal(other.get("kept").body, b"old", "the other value")
    equal(digest_of(other), digest_of(node), "the digest")


@test
def restore_does_not_bring_back_what_was_deleted():
    node, other = Node(), Node()
    node.put("k", b"old")
    backup = records_of(node)
    merge(other, backup)
    other.delete("k")
    merge(other, backup)
    equal(other.get("k").status, 204, "the status")
    node.delete("k")
    merge(node, backup)
    equal(node.get("k").status, 204, "the status on the first node")


@test
def restored_delete_hides_an_older_value():
    node, other = Node(), Node()
    node.put("k", b"old")
    with_value = records_of(node)
    node.delete("k")
    merge(other, records_of(node))
    merge(other, with_value)
    equal(other.get("k").status, 204, "the status")
    equal(digest_of(other), digest_of(node), "the digest")


@test
def restore_keeps_the_absolute_end_of_a_ttl():
    node, other = Node(), Node()
    started = time.monotonic()
    node.put("k", b"x", "Fog-TTL: 2")
    backup = records_of(node)
    until(lambda: time.monotonic() - started > 1, 2, "a second has passed")
    merge(other, backup)
    if time.monotonic() - started < 1.9:
        equal(other.get("k").body, b"x", "the value before its end")
    until(lambda: other.get("k").status == 204, 5, "the key is gone on the other node")
    passed = time.monotonic() - started
    check(1.9 <= passed <= 2.9 or GUARDED, f"the key with Fog-TTL: 2 was gone after {passed:.2f} s")


@test
def restore_of_what_has_expired_since():
    node, other = Node(), Node()
    older = Node()
    older.put("k", b"older")
    before = records_of(older)
    merge(node, before)
    node.put("k", b"x", "Fog-TTL: 1")
    backup = records_of(node)
    until(lambda: node.get("k").status == 204, 5, "the key is gone")
    merge(other, backup)
    equal(other.get("k").status, 204, "the status of an expired key that was merged")
    for one in (node, other):
        merge(one, before)
        equal(one.get("k").status, 204, "the status after an older value was merged")


@test
def expired_keys_leave_equal_digests():
    node, other = Node(), Node()
    node.put("k", b"x", "Fog-TTL: 1")
    node.put("kept", b"y")
    merge(other, records_of(node))
    until(lambda: node.get("k").status == 204 and other.get("k").status == 204, 5, "the key is gone on both")
    until(lambda: digest_of(node) == digest_of(other), 5, "the digests are equal")


@test
def restore_chunked():
    node, wanted = _filled()
    other = Node()
    records = records_of(node)
    equal(curl_code("-H", "Transfer-Encoding: chunked", "--data-binary", "@-", other.url("/-/merge"), data=records),
          200, "the status of the merge")
    _check_all(other, wanted)
    third = Node()
    with third.connect() as connection:  # cut into chunks that have nothing to do with records
        connection.send(request("POST", "/-/merge", None, ["Transfer-Encoding: chunked"])
                        + chunked(*[records[at:at + 777] for at in range(0, len(records), 777)]))
        equal(connection.reply().status, 200, "the status of the merge")
    _check_all(third, wanted)


@test
def restore_in_small_pieces():
    node, other = Node(), Node()
    for number in range(5):
        node.put(f"k{number}", b"v" * number)
    records = records_of(node)
    with other.connect() as connection:
        connection.send(request("POST", "/-/merge", None, [f"Content-Length: {len(records)}"]))
        for byte in records:
            connection.send(bytes([byte]))
        equal(connection.reply().status, 200, "the status of the merge")
    equal(digest_of(other), digest_of(node), "the digest")


@test
def backup_larger_than_a_value_may_be():
    node, other = Node("--value-max", "1M"), Node("--value-max", "1M")
    for number in range(5):
        node.put(f"k{number}", os.urandom(MIB))
    records = records_of(node)
    check(len(records) > 5 * MIB, f"the backup has {len(records)} bytes")
    merge(other, records)
    equal(digest_of(other), digest_of(node), "the digest")


@test
def backup_of_many_records():
    node, other = Node(), Node()
    count = 20000
    with node.connect() as connection:
        sender = Background(connection.send, b"".join(request("PUT", f"/many/{number}", b"%d" % number)
                                                      for number in range(count)))
        for _ in range(count):
            equal(connection.reply().status, 200, "the status of a PUT")
        sender.result()
    merge(other, records_of(node))
    equal(digest_of(other), digest_of(node), "the digest")
    equal(len(keys_of(other, "?prefix=many/")), count, "the number of keys")
    for number in (0, 1, 777, count - 1):
        equal(other.get(f"many/{number}").body, b"%d" % number, "a value")


@test
def backup_while_writes_go_on():
    node, other = Node(), Node()
    for number in range(2000):
        if number % 200 == 0:
            node.put(f"fixed/{number}", b"f" * 50000)
        else:
            node.put(f"fixed/{number}", b"f%d" % number)
    stop = []

    def write():
        with node.connect() as connection:
            turn = 0
            while not stop:
                turn += 1
                connection.ask("PUT", f"/moving/{turn % 500}", b"m%d" % turn)
                connection.ask("DELETE", f"/moving/{(turn * 7) % 500}")
        return turn

    writers = [Background(write) for _ in range(3)]
    try:
        for _ in range(5):
            merge(other, records_of(node))
    finally:
        stop.append(True)
    check(min(writer.result() for writer in writers) > 10, "writes did not go on")
    for number in range(2000):
        value = b"f" * 50000 if number % 200 == 0 else b"f%d" % number
        check(other.get(f"fixed/{number}").body == value, f"fixed/{number} is not in the backup")
    merge(other, records_of(node))
    equal(digest_of(other), digest_of(node), "the digest in the end")


@test
def backup_read_slowly_holds_up_nobody():
    node = Node()
    for number in range(16):
        node.put(f"k{number}", bytes(MIB))
    with node.connect(receive_buffer=4096) as slow:
        slow.send(request("GET", "/-/records"))
        slow.socket.recv(100)
        before = node.memory()
        for number in range(200):
            started = time.monotonic()
            equal(node.put(f"other/{number}", b"x").status, 200, "the status of a PUT")
            check(time.monotonic() - started < 2 * SLOW, f"a PUT took more than {2 * SLOW} s")
        grown = node.memory() - before
        check(grown < 16 * MIB or GUARDED, f"the node's memory grew by {grown} bytes")


@test
def merge_left_in_the_middle_harms_nothing():
    node, other = Node(), Node()
    for number in range(50):
        node.put(f"k{number}", b"v%d" % number * 100)
    records = records_of(node)
    for place in range(1, len(records), len(records) // 20):
        with other.connect() as connection:
            connection.send(request("POST", "/-/merge", None, [f"Content-Length: {len(records)}"]) + records[:place])
            connection.finish_sending()
            connection.rest()
        for number in range(50):
            answer = other.get(f"k{number}")
            check(answer.status == 204 or answer.body == b"v%d" % number * 100, f"k{number} holds {answer.line()}")
    merge(other, records)
    equal(digest_of(other), digest_of(node), "the digest in the end")


@test
def records_and_merge_take_only_their_methods():
    node = Node()
    node.put("k", b"x")
    refusal(node.call("GET", "/-/merge"), 405, 404)
    for target in ("/-/records", "/-/digest", "/-/keys?prefix="):
        for method in ("POST", "PUT", "DELETE"):
            refusal(node.call(method, target, b"x"), 403, 405, 409)
    equal(node.get("k").body, b"x", "the value afterwards")


# --- which of two records wins

@test
def newer_record_wins_in_either_order():
    node = Node()
    backups = []
    for step in (b"one", b"two", None, b"", b"three", None, b"four"):
        if step is None:
            node.delete("k")
        else:
            node.put("k", step)
        backups.append(records_of(node))
    for order in ((6, 5, 4, 3, 2, 1, 0), (0, 1, 2, 3, 4, 5, 6), (3, 6, 0, 5, 1, 4, 2)):
        other = Node()
        best = -1
        for index in order:
            merge(other, backups[index])
            best = max(best, index)
            answer = other.get("k")
            wanted = [b"one", b"two", None, b"", b"three", None, b"four"][best]
            equal(answer.body if answer.status == 200 else None, wanted, f"the value after {index} of {order}")
        equal(digest_of(other), digest_of(node), "the digest in the end")


@test
def two_nodes_that_merge_each_other_agree():
    one, two = Node(), Node()
    for turn in range(30):
        (one if turn % 2 else two).put(f"k{turn % 4}", b"%d" % turn)
        if turn % 5 == 0:
            (two if turn % 2 else one).delete(f"k{(turn + 1) % 4}")
    first, second = records_of(one), records_of(two)
    merge(one, second)
    merge(two, first)
    equal(digest_of(one), digest_of(two), "the digest")
    for number in range(4):
        a, b = one.get(f"k{number}"), two.get(f"k{number}")
        equal((a.status, a.body, a.header("etag")), (b.status, b.body, b.header("etag")), f"k{number} on both")


@test
def write_wins_over_what_was_merged():
    one, two = Node(), Node()
    one.put("k", b"merged")
    merge(two, records_of(one))
    version = two.put("k", b"written").fog_version()
    check(version > one.get("k").fog_version(), "the version of the write is not above the merged one")
    merge(two, records_of(one))
    equal(two.get("k").body, b"written", "the value")
    merge(one, records_of(two))
    equal(one.get("k").body, b"written", "the value on the first node")


@test
def backup_pipelined_with_others():
    node = Node()
    node.put("k", b"x" * 300000)
    with node.connect() as connection:
        connection.send((request("GET", "/-/records") + request("GET", "/-/keys?prefix=") + request("HEAD", "/k")) * 5)
        for _ in range(5):
            check(len(connection.reply().body) > 300000, "the records are too short")
            equal(connection.reply().body, b"k\n", "the keys")
            equal(connection.reply("HEAD").header("content-length"), "300000", "the length")
