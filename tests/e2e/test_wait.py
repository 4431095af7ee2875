"""`Prefer: wait=N`: a GET that is held until its key differs."""

import json
import time

from client import curl_reply, request
from harness import SLOW, Background, Failure, check, equal, fresh, register, test, until
from served import common, serve

HELD = 0.25  # seconds without an answer that show that a request is held


def _waiter(node, key, tag, wait="30", **options):
    connection = node.connect(**options)
    connection.send(request("GET", "/" + key, None, [f"Prefer: wait={wait}", f"If-None-Match: {tag}"]))
    return connection


@test
def answers_at_once_when_different():
    node, key = common(), fresh()
    old = node.put(key, b"1").etag()
    node.put(key, b"2")
    started = time.monotonic()
    answer = _waiter(node, key, old).reply()
    equal((answer.status, answer.body), (200, b"2"), "the answer")
    check(time.monotonic() - started < 2 * SLOW, "the answer came late")


@test
def is_held_until_a_write_changes_it():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    waiter = _waiter(node, key, tag)
    waiter.silent(HELD)
    written = node.put(key, b"2", "Content-Type: text/x-new")
    started = time.monotonic()
    answer = waiter.reply()
    equal((answer.status, answer.body), (200, b"2"), "the answer")
    equal((answer.etag(), answer.fog_version()), (written.etag(), written.fog_version()), "its ETag and version")
    equal(answer.header("content-type"), "text/x-new", "its Content-Type")
    check(time.monotonic() - started < 0.5 * SLOW, "the answer came late")
    equal(waiter.ask("GET", "/" + key).body, b"2", "the next answer on that connection")


@test
def with_curl():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    waiter = Background(curl_reply, "-H", "Prefer: wait=20", "-H", "If-None-Match: " + tag, node.url("/" + key))
    time.sleep(0.1)  # only so that it is mostly the held case
    node.put(key, b"2")
    answer = waiter.result()
    equal((answer.status, answer.body), (200, b"2"), "the answer")


@test
def gives_304_after_n_seconds():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    started = time.monotonic()
    waiter = _waiter(node, key, tag, "1")
    answer = waiter.reply()
    passed = time.monotonic() - started
    equal((answer.status, answer.body), (304, b""), "the answer")
    equal(answer.etag(), tag, "its ETag")
    check(0.95 <= passed <= 1 + 0.5 * SLOW, f"wait=1 took {passed:.2f} s")
    equal(waiter.ask("GET", "/" + key).body, b"1", "the next answer on that connection")


@test
def wakes_on_delete():
    node, key = common(), fresh()
    waiter = _waiter(node, key, node.put(key, b"1").etag())
    waiter.silent(HELD)
    node.delete(key)
    equal(waiter.reply(seconds=5).status, 204, "the status")


@test
def goes_on_when_what_was_deleted_had_no_value():
    node, key = common(), fresh()
    waiter = _waiter(node, key, '"absent"')
    waiter.silent(HELD)
    for _ in range(2):
        node.delete(key)
        waiter.silent(HELD)
    node.put(key, b"1")
    equal(waiter.reply(seconds=5).body, b"1", "the answer")


@test
def wakes_when_the_key_expires():
    node, key = common(), fresh()
    waiter = _waiter(node, key, node.put(key, b"1", "Fog-TTL: 1").etag())
    started = time.monotonic()
    equal(waiter.reply(seconds=10).status, 204, "the status")
    check(time.monotonic() - started < 1 + 1 * SLOW, "the answer came late")


@test
def wakes_on_a_merge():
    node, other, key = serve(), serve(), "k"
    node.put(key, b"1")
    merged = node.call("GET", "/-/records").body
    other.call("POST", "/-/merge", merged)
    tag = other.get(key).etag()
    node.put(key, b"2")
    waiter = _waiter(other, key, tag)
    waiter.silent(HELD)
    equal(other.call("POST", "/-/merge", node.call("GET", "/-/records").body).status, 200, "the status of the merge")
    equal(waiter.reply(seconds=5).body, b"2", "the waiter's value")


@test
def many_waiters_on_one_key_all_wake():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    waiters = [_waiter(node, key, tag) for _ in range(50)]
    waiters[-1].silent(HELD)
    new = node.put(key, b"2").etag()
    for waiter in waiters:
        answer = waiter.reply(seconds=5)
        equal((answer.status, answer.body, answer.etag()), (200, b"2", new), "a waiter's answer")


@test
def only_waiters_on_that_key_wake():
    node, one, two = common(), fresh(), fresh()
    waiter = _waiter(node, one, node.put(one, b"1").etag())
    node.put(two, b"x")
    node.delete(two)
    waiter.silent(HELD)
    node.put(one, b"2")
    equal(waiter.reply(seconds=5).body, b"2", "the answer")


@test
def waiters_with_different_tags():
    node, key = common(), fresh()
    old = node.put(key, b"1").etag()
    new = node.put(key, b"2").etag()
    equal(_waiter(node, key, old).reply(seconds=5).body, b"2", "the answer to the one that is behind")
    waiter = _waiter(node, key, f"{old}, {new}")
    waiter.silent(HELD)
    node.put(key, b"3")
    equal(waiter.reply(seconds=5).body, b"3", "the answer to the one with both tags")


def _with_fields(bytes_of_each, *tags):
    """A waiter for one second, with a field for each of these tags, filled up to that length with others."""
    fields = [f'"{"x" * (bytes_of_each - len(tag) - 4)}", {tag}' for tag in tags]
    return ["Prefer: wait=1", *(f"If-None-Match: {field}" for field in fields)]


@test
def conditions_of_several_fields_are_one_list():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    for tags in ((tag,), (tag, '"x"'), ('"x"', tag), ('"x"', tag, '"y"')):
        started = time.monotonic()
        answer = node.call("GET", "/" + key, None, _with_fields((2049 - len(tags)) // len(tags), *tags), seconds=5)
        equal(answer.status, 304, "the status")
        check(time.monotonic() - started > 0.9, "it was not held")


@test
def conditions_that_are_too_long_are_answered_at_once():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    for lines in (_with_fields(2049, tag), _with_fields(683, tag, '"x"', '"y"')):
        started = time.monotonic()
        equal(node.call("GET", "/" + key, None, lines, seconds=5).status, 304, "the status")
        check(time.monotonic() - started < 0.9, "it was held")


@test
def absent_key_differs_from_any_etag():
    node = common()
    started = time.monotonic()
    equal(_waiter(node, fresh(), '"x"').reply(seconds=5).status, 204, "the status")
    check(time.monotonic() - started < 2 * SLOW, "the answer came late")


def _at_once(status, headers):
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    started = time.monotonic()
    answer = node.call("GET", "/" + key, None, [line.replace("TAG", tag) for line in headers], seconds=5)
    equal(answer.status, status, "the status")
    check(time.monotonic() - started < 2 * SLOW, "the answer came late")


for _name, _status, _headers in (
        ("without_if_none_match_is_200_at_once", 200, ["Prefer: wait=30"]),
        ("of_zero_is_304_at_once", 304, ["Prefer: wait=0", "If-None-Match: TAG"]),
        ("that_is_no_number_is_ignored", 304, ["Prefer: wait=soon", "If-None-Match: TAG"]),
        ("negative_is_ignored", 304, ["Prefer: wait=-5", "If-None-Match: TAG"]),
        ("without_value_is_ignored", 304, ["Prefer: wait", "If-None-Match: TAG"]),
        ("of_nothing_is_ignored", 304, ["Prefer: ,", "Prefer: ;wait=30", "If-None-Match: TAG"]),
        ("with_many_escapes_is_ignored", 304, ['Prefer: wait="' + 999 * "\\3" + '"', "If-None-Match: TAG"]),
        ("longer_name_is_ignored", 304, ["Prefer: waiting=30", "If-None-Match: TAG"]),
        ("in_a_parameter_is_ignored", 304, ["Prefer: foo; wait=30", "If-None-Match: TAG"]),
        ("in_a_quoted_value_with_escapes_is_ignored", 304, ['Prefer: foo="a\\", wait=30"', "If-None-Match: TAG"]),
        ("in_a_quoted_value_is_ignored", 304, ['Prefer: foo="a, wait=30"', "If-None-Match: TAG"])):
    register("wait", _name, _at_once, _status, _headers)


def _held(lines):
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    with node.connect() as waiter:
        waiter.send(request("GET", "/" + key, None, [*lines, f"If-None-Match: {tag}"]))
        waiter.silent(HELD)
        node.put(key, b"2")
        equal(waiter.reply(seconds=5).body, b"2", "the answer")


for _name, _lines in {"in_capitals": ["PREFER: WAIT=30"], "in_a_list": ["Prefer: respond-async, wait=30, x=y"],
                      "in_two_lines": ["Prefer: respond-async", "Prefer: wait=30"],
                      "with_names_missing": ["Prefer: , ;, wait=30"],
                      "quoted": ['Prefer: wait="30"'], "with_escapes": ['Prefer: wait="\\3\\0"'],
                      "with_spaces": ["Prefer: wait = 30"], "with_parameter": ["Prefer: wait=30; foo=bar"]}.items():
    register("wait", f"written_{_name}", _held, _lines)


@test
def first_of_two_counts():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    answer = node.call("GET", "/" + key, None, ["Prefer: wait=0, wait=30", f"If-None-Match: {tag}"], seconds=5)
    equal(answer.status, 304, "the status")


@test
def endless_number_harms_nothing():
    node, key = common(), fresh()
    waiter = _waiter(node, key, node.put(key, b"1").etag(), "9" * 30)
    node.put(key, b"2")
    answer = waiter.reply(seconds=5)
    check(answer.status in (200, 304), f"the waiter gets {answer.line()}")


@test
def answers_stay_in_order_behind_a_waiter():
    node, key, other = common(), fresh(), fresh()
    node.put(other, b"other")
    tag = node.put(key, b"1").etag()
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, None, ["Prefer: wait=30", f"If-None-Match: {tag}"])
                        + request("GET", "/" + other) + request("GET", "/" + key))
        connection.silent(HELD)
        node.put(key, b"2")
        equal([connection.reply().body for _ in range(3)], [b"2", b"other", b"2"], "the answers")


@test
def own_write_behind_a_waiter_comes_after_it():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, None, ["Prefer: wait=1", f"If-None-Match: {tag}"])
                        + request("PUT", "/" + key, b"2") + request("GET", "/" + key))
        equal([connection.reply().status for _ in range(3)], [304, 200, 200], "the statuses")


@test
def waiter_that_sends_no_more_gets_its_answer_at_once():
    """Most of those who send no more have left, and nobody is to be held for them; who only half-closed learns that
    nothing has changed yet."""
    node, key = common(), fresh()
    waiter = _waiter(node, key, node.put(key, b"1").etag())
    waiter.finish_sending()
    equal(waiter.reply(seconds=5).status, 304, "the status")
    waiter.closed()


@test
def waiter_that_left_is_not_held():
    node, key = serve(), fresh()
    waiter = _waiter(node, key, node.put(key, b"1").etag())
    held = lambda: json.loads(curl_reply(node.url("/-/status")).body)["connections"]["held"]
    until(lambda: held() == 1, 5, "the waiter is held")
    waiter.close()
    until(lambda: held() == 0, 5, "the waiter that left is held no more")


@test
def request_with_a_body_nobody_wants_keeps_its_key():
    """The body comes in many parts, over the memory where the head stood."""
    node, key = common(), fresh()
    node.put(key, b"kept")
    with node.connect() as connection:
        equal(connection.ask("GET", "/" + key, b"z" * 50000).body, b"kept", "the value")
        equal(connection.ask("DELETE", "/" + key, b"z" * 50000).status, 200, "DELETE's status")
        equal(connection.ask("GET", "/" + key, b"z" * 50000).status, 204, "the status after DELETE")
        operation = "/-/digest/02" if node.holds_values else "/-/ready"
        equal(connection.ask("GET", operation, b"z" * 50000).status, 200, "the status of an operation")


@test
def http_1_0_may_wait_too():
    node, key = common(), fresh()
    tag = node.put(key, b"1").etag()
    with node.connect() as connection:
        connection.send(request("GET", "/" + key, None, ["Prefer: wait=30", f"If-None-Match: {tag}"], version="1.0"))
        connection.silent(HELD)
        node.put(key, b"2")
        equal(connection.reply().body, b"2", "the answer")
        connection.closed()


@test
def no_change_is_missed_between_two_waits():
    node, key, last = common(), fresh(), 200
    tag = node.put(key, b"0").etag()

    def write():
        with node.connect() as connection:
            for number in range(1, last + 1):
                connection.ask("PUT", "/" + key, b"%d" % number)

    writer = Background(write)
    seen = [0]
    with node.connect() as connection:
        while seen[-1] != last:
            answer = connection.ask("GET", "/" + key, None, ["Prefer: wait=5", f"If-None-Match: {tag}"])
            if answer.status != 200:
                raise Failure(f"after {seen[-1]} of {last} writes: {answer.line()}")
            seen.append(int(answer.body))
            tag = answer.etag()
    check(seen == sorted(seen), "the values seen do not grow")
    writer.result()


@test
def client_that_resets_is_forgotten_at_once():
    node = serve()
    tag = node.put("k", b"1").etag()
    before = node.descriptors()
    waiters = [_waiter(node, "k", tag, "60") for _ in range(20)]
    waiters[-1].silent(HELD)
    for waiter in waiters:
        waiter.reset()
    until(lambda: node.descriptors() <= before, 5, "the connections of clients that left are closed")
    node.put("k", b"2")
    equal(node.get("k").body, b"2", "the value")


@test
def client_that_leaves_is_forgotten_in_the_end():
    node = serve()
    tag = node.put("k", b"1").etag()
    before = node.descriptors()
    for waiter in [_waiter(node, "k", tag, "1") for _ in range(20)]:
        waiter.close()
    until(lambda: node.descriptors() <= before, 5, "the connections of clients that left are closed")
    node.put("k", b"2")
    equal(node.get("k").body, b"2", "the value")


@test
def waiters_leave_while_others_wake():
    node = serve()
    tag = node.put("k", b"1").etag()
    waiters = [_waiter(node, "k", tag) for _ in range(40)]
    waiters[-1].silent(HELD)
    for waiter in waiters[::2]:
        waiter.reset()
    node.put("k", b"2")
    for waiter in waiters[1::2]:
        equal(waiter.reply(seconds=5).body, b"2", "a waiter's answer")


@test
def limits_of_time_do_not_cut_a_wait():
    node = serve("--request-timeout", "1", "--idle-timeout", "1")
    tag = node.put("k", b"1").etag()
    started = time.monotonic()
    answer = _waiter(node, "k", tag, "3").reply()
    equal(answer.status, 304, "the status")
    check(time.monotonic() - started >= 2.9, f"wait=3 ended after {time.monotonic() - started:.2f} s")
