"""Clusters of real nodes: how they find each other, and what must not be one cluster."""

from client import chunked, curl, refusal, request
from cluster import (AGREE_SECONDS, UP_SECONDS, agree, cluster, everywhere, hold, is_ready, members, metric, number,
                     settle, status)
from harness import check, equal, test, until
from node import Node, free_port

# --- joining

@test
def a_write_is_on_all_nodes():
    nodes = cluster(3)
    for number, node in enumerate(nodes):
        node.put(f"k{number}", b"v%d" % number)
    for number in range(3):
        everywhere(nodes, f"k{number}", b"v%d" % number)
    nodes[1].delete("k0")
    for node in nodes:
        until(lambda node=node: node.get("k0").status == 204, AGREE_SECONDS, "the delete is everywhere")
    agree(nodes)


@test
def curl_is_told_the_same_everywhere():
    nodes = cluster(2)
    curl("-sf", "-d", "hello", nodes[0].url("/greeting"))
    until(lambda: curl("-s", nodes[1].url("/greeting")).stdout == b"hello", AGREE_SECONDS, "curl gets it")


@test
def a_newcomer_gathers_everything():
    first = Node()
    for number in range(300):
        first.put(f"key{number}", b"x" * number)
    first.put("short", b"lived", "Fog-TTL: 1000")
    first.delete("key7")
    second = Node("--join", first.address)
    until(lambda: is_ready(second), UP_SECONDS, "the newcomer is ready")
    equal(second.get("key299").body, b"x" * 299, "a gathered value")
    equal(second.get("key7").status, 204, "a deleted key")
    check(int(second.get("short").header("fog-ttl")) > 900, "the TTL came along")
    agree([first, second])


@test
def nodes_that_start_together_form_one_cluster():
    ports = [free_port() for _ in range(3)]
    joins = [option for port in ports for option in ("--join", f"127.0.0.1:{port}")]
    nodes = [Node(*joins, listen=f"127.0.0.1:{port}") for port in ports]
    settle(nodes)
    nodes[2].put("a", b"1")
    everywhere(nodes, "a", b"1")


@test
def dead_and_own_and_named_addresses_are_joined():
    first = Node()
    port = free_port()
    second = Node("--join", f"127.0.0.1:{free_port()}", "--join", f"127.0.0.1:{port}",
                  "--join", f"localhost:{first.port}", listen=f"127.0.0.1:{port}")
    settle([first, second])


@test
def who_finds_nobody_serves_alone():
    node = Node("--join", f"127.0.0.1:{free_port()}")
    until(lambda: is_ready(node), UP_SECONDS, "it is ready alone")
    equal(node.get("nothing").status, 204, "a missing key")


@test
def a_node_that_joins_nobody_there_yet_joins_later():
    port = free_port()
    first = Node("--join", f"127.0.0.1:{port}")
    until(lambda: is_ready(first), UP_SECONDS, "it is ready alone")
    first.put("a", b"early")
    second = Node(listen=f"127.0.0.1:{port}")
    second.put("b", b"other")
    everywhere([first, second], "a", b"early")
    everywhere([first, second], "b", b"other")
    agree([first, second])


@test
def many_that_start_at_once_in_a_ring_form_one_cluster():
    ports = [free_port() for _ in range(6)]
    order = [3, 0, 5, 1, 4, 2]
    nodes = [Node("--join", f"127.0.0.1:{ports[(at + 1) % 6]}", listen=f"127.0.0.1:{ports[at]}") for at in order]
    settle(nodes)
    for at, node in enumerate(nodes):
        node.put(f"ring{at}", b"%d" % at)
    hold(nodes, {f"ring{at}": b"%d" % at for at in range(6)})


# --- what must not be one cluster

@test
def other_clusters_and_partitions_are_refused():
    first = Node("--cluster-name", "one", "--partition", "0/2")
    for options in (("--cluster-name", "two", "--partition", "0/2"), ("--cluster-name", "one", "--partition", "1/2"),
                    ("--cluster-name", "one")):
        other = Node("--join", first.address, *options)
        other.wait_log("join-refused .*different", UP_SECONDS, "sentence of the refused one")
        until(lambda other=other: is_ready(other), UP_SECONDS, "it serves alone")
        other.put("greeting" if "1/2" in options else "mine", b"1")  # each in its partition
    first.wait_log("member-refused .*different", UP_SECONDS, "sentence of the refusing one")
    equal(len(members(first)), 1, "members")
    equal(first.get("mine").status, 204, "a key of a refused node")


@test
def of_two_nodes_with_one_address_one_gives_way():
    first = Node()
    second = Node("--join", first.address)
    settle([first, second])
    for target in (first, second):
        third = Node("--join", target.address, "--advertise", first.address)
        until(lambda third=third: third.call("GET", "/-/ready").status == 503, UP_SECONDS, "it is not ready")
        third.wait_log("event=refused .*--advertise", UP_SECONDS, "sentence of the one that gives way")
        third.kill()
    settle([first, second])
    refusals = sum("refused" in line for line in first.lines + second.lines)
    check(refusals <= 20, f"{refusals} lines about refusals")


@test
def another_protocol_is_refused_with_a_sentence_and_counted():
    node = Node()
    hello = node.call("GET", "/-/members").body.replace(b"protocol 1\n", b"protocol 2\n").replace(
        number(node).encode(), b"00000000000000aa")
    reply = node.call("POST", "/-/members", hello)
    equal(reply.status, 409, "a hello of another protocol")
    check(b"protocols (2 and 1)" in reply.body, reply.line())
    node.wait_log("member-refused .*different protocols", UP_SECONDS, "sentence of the refusing one")
    equal(metric(node, "velour_fog_members_refused_total"), 1, "refusals that were counted")
    equal(len(members(node)), 1, "members")


@test
def what_is_no_member_is_not_joined():
    other = Node()
    node = Node("--join", f"{other.address}")
    settle([node, other])
    stranger = Node("--cluster-name", "other", "--join", node.address)
    until(lambda: is_ready(stranger), UP_SECONDS, "it serves alone")
    stranger.put("a", b"1")
    for method, target, body in (("POST", "/-/merge", stranger.call("GET", "/-/records").body),
                                 ("GET", "/-/records", None), ("POST", "/-/digest", b"x" * 1024)):
        reply = node.call(method, target, body, (f"Fog-From: {number(stranger)}",))
        equal(reply.status, 409, f"{target} from a node of another cluster")
    check(metric(node, "velour_fog_members_refused_total") >= 4, "it was counted")
    equal(node.get("a").status, 204, "a key of another cluster")


@test
def nonsense_from_a_member_is_refused_whole_and_counted():
    nodes = cluster(2)
    donor = Node()
    for at in range(20):
        donor.put(f"n{at}", b"%d" % at)
    stream = donor.call("GET", "/-/records").body
    sender = (f"Fog-From: {number(nodes[1])}",)
    broken = {"a stream with a wrong byte near its end": stream[:-40] + bytes([stream[-40] ^ 1]) + stream[-39:],
              "a stream without an end": stream[:-36], "a stream that is cut": stream[:-50], "no stream": b"nonsense",
              "a stream with a damaged end": stream[:-1] + b"x", "text after a stream's end": stream[:-36] + b"x" * 36}
    for count, (what, body) in enumerate(broken.items(), 1):
        for headers, target in ((sender, "/-/merge"), ((*sender, "Transfer-Encoding: chunked"), "/-/merge")):
            with nodes[0].connect() as connection:
                if len(headers) > 1:
                    connection.send(request("POST", target, None, headers) + chunked(body[:100], body[100:]))
                else:
                    connection.send(request("POST", target, body, headers))
                refusal(connection.reply("POST"), 400)
        equal(status(nodes[0])["merges"]["refused"], 2 * count, "refusals that were counted")
        equal(status(nodes[0])["keys"], 0, f"keys after {what}")
    equal(metric(nodes[0], "velour_fog_merge_refused_total"), 2 * len(broken), "the same in the metrics")
    equal(nodes[0].call("POST", "/-/merge", stream, sender).status, 200, "the whole stream")
    equal(status(nodes[0])["keys"], 20, "keys")
    agree(nodes)


@test
def one_repair_at_a_time_and_none_is_waited_for_that_is_over():
    nodes = cluster(3)
    same, other = bytes(1024), b"x" * 1024
    first, second = ((f"Fog-From: {number(node)}",) for node in nodes[1:])
    equal(nodes[0].call("POST", "/-/digest", same, first).line(), nodes[0].call("POST", "/-/digest", same, second).line(),
          "the answer to the second one, after the first one found no difference")
    equal(len(nodes[0].call("POST", "/-/digest", other, first).body), 128, "groups that differ")
    equal(nodes[0].call("POST", "/-/digest", same, second).status, 503, "the answer while the first one has more to ask")


@test
def strangers_are_not_taken_for_members():
    node = Node()
    node.put("a", b"1")
    records = node.call("GET", "/-/records").body
    reply = node.call("POST", "/-/merge", records, ("Fog-From: 0123456789abcdef",))
    equal(reply.status, 409, "a merge from a stranger")
    equal(node.call("POST", "/-/digest", b"x" * 1024).status, 409, "a comparison from nobody")
    equal(node.call("POST", "/-/members", b"nonsense").status, 400, "a hello that is none")
    equal(node.call("POST", "/-/merge", b"nonsense").status, 400, "a merge that is none")
