"""--partition: keys of another partition are refused."""

import hashlib

from client import chunked, refusal, request
from harness import check, equal, test, until
from node import Node, free_port

KEYS = ["a", "greeting", "lamp/7", "caf%C3%A9", "a%00b", "size?w=2", "a//b", "%2Fa", "../b", "100%25"]


def _partition(target, partitions):
    """The partition of a key that stands in a URL, by another way than the node's."""
    raw, key, at = target.encode(), bytearray(), 0
    while at < len(raw):
        if raw[at:at + 1] == b"%":
            key.append(int(raw[at + 1:at + 3], 16))
            at += 3
        else:
            key.append(raw[at])
            at += 1
    return int.from_bytes(hashlib.sha1(key).digest(), "big") % partitions


def _key_of(partition, partitions):
    return next(f"key-{i}" for i in range(1000) if _partition(f"key-{i}", partitions) == partition)


def _sentence(answer, theirs, partitions, ours):
    refusal(answer, 421)
    equal(answer.body.strip().decode(),
          f"This key belongs to partition {theirs} of {partitions}; this node holds partition {ours}.", "the sentence")


@test
def each_key_is_taken_by_one_node_of_three():
    nodes = [Node("--partition", f"{i}/3") for i in range(3)]
    for key in [*KEYS, "x" * 4096, "%78" * 4096]:
        for i, node in enumerate(nodes):
            answer = node.call("PUT", "/" + key, b"v")
            if _partition(key, 3) == i:
                equal(answer.status, 200, f"the status of {key[:40]} at {i}")
                equal(node.get(key).body, b"v", f"the value of {key[:40]}")
            else:
                _sentence(answer, _partition(key, 3), 3, i)


@test
def every_method_is_refused():
    node, key = Node("--partition", "0/2"), _key_of(1, 2)
    for method in ("GET", "PUT", "POST", "DELETE"):
        _sentence(node.call(method, "/" + key, b"v" if method in ("PUT", "POST") else None), 1, 2, 0)
    answer = node.call("HEAD", "/" + key)
    equal((answer.status, answer.body), (421, b""), "the answer to HEAD")


@test
def records_of_another_partition_are_not_merged():
    whole = Node()
    for i in range(40):
        whole.put(f"key-{i}", b"v")
    node, other = Node("--partition", "0/2"), Node("--partition", "1/2")
    records = whole.call("GET", "/-/records").body
    answer = node.call("POST", "/-/merge", records)
    equal(answer.status, 421, "the status")
    check(b"belongs to another partition than this node's" in answer.body, f"the sentence: {answer.body}")
    kept = node.call("GET", "/-/keys").body.decode().split()
    equal([key for key in kept if _partition(key, 2) != 0], [], "keys of the other partition")
    for key in (f"key-{i}" for i in range(40)):
        if _partition(key, 2) == 1:
            other.put(key, b"v")
    answer = other.call("POST", "/-/merge", other.call("GET", "/-/records").body)
    equal(answer.status, 200, "the status of what is its own")


@test
def the_connection_goes_on():
    node, mine, other = Node("--partition", "1/2"), _key_of(1, 2), _key_of(0, 2)
    with node.connect() as connection:
        connection.send(request("PUT", "/" + other, b"v") + request("PUT", "/" + mine, b"v") +
                        request("GET", "/" + other) + request("GET", "/" + mine))
        _sentence(connection.reply(), 0, 2, 1)
        equal(connection.reply().status, 200, "the status of a write of its own")
        _sentence(connection.reply(), 0, 2, 1)
        equal(connection.reply().body, b"v", "the value")


@test
def sentences_of_one_batch_are_each_their_own():
    node = Node("--partition", "65535/65536")
    keys = [f"key-{i}" for i in range(300)]
    with node.connect() as connection:
        connection.send(b"".join(request("GET", "/" + key) for key in keys))
        for key in keys:
            _sentence(connection.reply(), _partition(key, 65536), 65536, 65535)


@test
def bodies_of_others_change_nothing():
    node, other = Node("--partition", "0/2"), _key_of(1, 2)
    for data in (request("PUT", "/" + other, bytes(1 << 20)),
                 request("PUT", "/" + other, None, ["Transfer-Encoding: chunked"]) + chunked(b"val", b"ue")):
        with node.connect() as connection:
            connection.send_what_goes(data)
            _sentence(connection.reply(), 1, 2, 0)
    equal(node.call("GET", "/-/keys").body, b"", "the keys")


@test
def other_refusals_come_first():
    node = Node("--partition", "0/2")
    refusal(node.call("PUT", "/%2D/" + _key_of(1, 2), b"v"), 403)
    refusal(node.call("GET", "/%zz"), 400)
    refusal(node.call("GET", "/" + "x" * 4097), 414)


@test
def what_is_no_key_is_answered():
    node = Node("--partition", "0/65536")
    for target in ("/", "/-/healthy", "/-/status", "/-/members", "/-/keys"):
        equal(node.call("GET", target).status, 200, f"the status of {target}")


@test
def one_partition_is_all_keys():
    node = Node("--partition", "0/1")
    for key in KEYS:
        node.put(key, b"v")


@test
def nodes_of_different_partitions_refuse_each_other():
    port = free_port()
    one = Node("--partition", "0/2", listen=f"127.0.0.1:{port}")
    other = Node("--partition", "1/2", "--join", f"127.0.0.1:{port}")
    other.wait_log("event=join-refused", 10, "refusal")
    until(lambda: other.call("GET", "/-/ready").status == 200, 20, "it serves alone")
    for node in (one, other):
        lines = node.call("GET", "/-/members").body.decode().splitlines()
        check(len([line for line in lines if line.startswith("member ")]) == 1, f"its members: {lines}")
