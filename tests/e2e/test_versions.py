"""ETag, Fog-Version, If-None-Match and Fog-TTL."""

import time

from client import curl, curl_reply, refusal, request
from harness import SLOW, Background, check, equal, fresh, register, test, until
from served import common, serve

# --- ETag and Fog-Version

@test
def every_200_carries_etag_and_version():
    node, key = common(), fresh()
    for arguments in (("--data-binary", "x"), ("-X", "PUT", "--data-binary", "y"), (), ("-I",), ("-X", "DELETE"),
                      ("-X", "DELETE")):
        answer = curl_reply(*arguments, node.url("/" + key))
        equal(answer.status, 200, f"the status of {arguments}")
        answer.etag()
        answer.fog_version()


@test
def write_and_read_show_the_same_etag_and_version():
    node, key = common(), fresh()
    written = node.put(key, b"x")
    for method in ("GET", "HEAD"):
        read = node.call(method, "/" + key)
        equal(read.etag(), written.etag(), f"{method}'s ETag")
        equal(read.fog_version(), written.fog_version(), f"{method}'s version")


@test
def nothing_is_written_that_could_not_be_written_over():
    """A delete of the largest version there is would win over every later write, which would be answered 200 and be gone."""
    node, key = common(), fresh()
    largest = 2**63 - 1
    for version in (largest + 1, 2**64 - 1):
        refusal(node.call("PUT", "/" + key, b"x", [f"Fog-Version: {version}"]), 400)
    equal(node.get(key).status, 204, "the status of the key")
    equal(node.call("PUT", "/" + key, b"x", [f"Fog-Version: {largest}"]).fog_version(), largest, "the version")
    equal(node.delete(key).status, 200, "the status of its DELETE")
    equal(node.put(key, b"later").status, 200, "the status of a later write")
    check(node.get(key).body == b"later", "the later write has not won")


@test
def version_is_microseconds_since_1970():
    node, key = common(), fresh()
    before = time.time_ns() // 1000
    version = node.put(key, b"x").fog_version()
    after = time.time_ns() // 1000
    check(before - 2000 <= version <= after + 2000, f"the version {version} is not between {before} and {after}")


@test
def versions_grow_strictly():
    node, key = common(), fresh()
    count = 500
    writes = b"".join(request("PUT", "/" + key, b"%d" % number) + request("DELETE", "/" + key)
                      for number in range(count))
    with node.connect() as connection:
        sender = Background(connection.send, writes)
        versions = [connection.reply().fog_version() for _ in range(2 * count)]
        sender.result()
    for earlier, later in zip(versions, versions[1:]):
        check(earlier < later, f"version {later} follows {earlier}")


@test
def a_write_after_a_version_has_a_larger_one():
    node, key = common(), fresh()
    ahead = time.time_ns() // 1000 + 3600 * 1000000
    for method in ("PUT", "POST", "DELETE"):
        ahead += 10 ** 6
        written = node.call(method, "/" + key, b"x", (f"Fog-After: {ahead}",))
        version = written.fog_version()
        # A front-end counts on from what it has seen of others.
        check(ahead < version < ahead + 10 ** 6, f"the version of {method} is {version}, after {ahead}")
    early = node.call("PUT", "/" + key, b"x", ("Fog-After: 1",))
    check(early.fog_version() > ahead + 1, "a version that is past says nothing")
    equal(node.call("PUT", "/" + key, b"x", ("Fog-After: -1",)).status, 400, "a version that is none")
    last = "Fog-After: 18446744073709551614"
    equal(node.call("PUT", "/" + key, b"x", (last,)).status, 400, "a version over which nothing can be written")
    equal(node.call("PUT", "/" + key, b"x", ("Fog-After: 9223372036854775807",)).status, 200, "the largest one")
    equal(node.call("DELETE", "/" + key).status, 200, "a delete over it")
    equal(node.call("PUT", "/" + key, b"y").status, 200, "a write over that")
    equal(node.call("GET", "/" + key).body, b"y", "what was written")


@test
def a_version_that_was_seen_can_be_written_after():
    """A write over the largest version that a client can give has a larger one."""
    node, key = common(), fresh()
    node.put(key, b"x", f"Fog-Version: {2**63 - 1}")
    for value in (b"y", b"z"):
        seen = node.get(key).fog_version()
        written = node.put(key, value, f"Fog-After: {seen}")
        check(written.fog_version() > seen, f"{written.fog_version()} is written after {seen}")
        equal(node.get(key).body, value, "the value")
    last = 2**64 - 2**32 - 1
    equal(node.call("PUT", "/" + key, b"x", (f"Fog-After: {last + 2}",)).status, 400, "a version that is too large")


@test
def a_write_that_is_tried_again_is_not_said_to_be_done_under_a_version_of_the_future():
    """The value may have been there before the first try, which had to win over it then; or it is that, or was written since."""
    node, key, now = common(), fresh(), time.time_ns() // 1000
    node.put(key, b"old", f"Fog-Version: {now + 3600 * 1000000}")
    for method in ("PUT", "DELETE"):
        refusal(node.call(method, "/" + key, b"new", (f"Fog-Version: {now}",)), 409)
    equal(node.get(key).body, b"old", "the value")
    again = node.call("PUT", "/" + key, b"old", (f"Fog-Version: {now}",))
    equal((again.status, again.fog_version()), (200, now + 3600 * 1000000), "a write that would change nothing")
    refusal(node.call("PUT", "/" + key, b"old", (f"Fog-Version: {now}", "Fog-TTL: 9")), 409)
    node.put(key, b"new")
    equal(node.get(key).body, b"new", "the value that was written anew")


@test
def no_version_is_before_all_or_after_all():
    node, key = common(), fresh()
    node.put(key, b"old")
    for method in ("PUT", "POST", "DELETE"):
        for wrong in ("0", "-1", "soon", "9223372036854775808"):
            refusal(node.call(method, "/" + key, b"wrong", (f"Fog-Version: {wrong}",)), 400)
    equal(node.get(key).body, b"old", "the value afterwards")


@test
def a_write_that_comes_after_fog_before_is_not_carried_out():
    node, key = common(), fresh()
    node.put(key, b"old")
    now = int(time.time() * 1e6) - 1  # not a version: these may be ahead of the clock
    for method in ("PUT", "POST", "DELETE"):
        refusal(node.call(method, "/" + key, b"late", (f"Fog-Before: {now}",)), 412)
        for wrong in ("0", "-1", "soon", f"{now}x"):
            refusal(node.call(method, "/" + key, b"wrong", (f"Fog-Before: {wrong}",)), 400)
    equal(node.get(key).body, b"old", "the value afterwards")
    equal(node.call("GET", "/" + key, None, (f"Fog-Before: {now}",)).body, b"old", "the answer to a GET, which is no write")
    equal(node.put(key, b"in time", f"Fog-Before: {now + 3600 * 10**6}").status, 200, "the status of one in time")
    equal(node.get(key).body, b"in time", "the value of one in time")


@test
def a_deleted_key_is_told_from_one_that_never_was():
    node, key = common(), fresh()
    equal(node.get(key).header("fog-version"), None, "the version of nothing")
    node.put(key, b"x")
    deleted = node.delete(key).fog_version()
    answer = node.get(key)
    equal((answer.status, answer.etag(), answer.fog_version()), (204, '"absent"', deleted), "a deleted key")
    for condition, status in (('If-None-Match: "absent"', 304), ('If-Match: "x"', 412)):
        answer = node.get(key, condition)
        equal((answer.status, answer.fog_version()), (status, deleted), f"the same with {condition}")
    node.put(key, b"x", "Fog-TTL: 1")
    until(lambda: node.get(key).status == 204, 3, "the value expires")
    check(node.get(key).fog_version() > deleted, "the version of what has expired")


@test
def versions_of_two_writers_differ():
    node, key = common(), fresh()

    def write(value):
        with node.connect() as connection:
            return [connection.ask("PUT", "/" + key, value).fog_version() for _ in range(300)]

    writers = [Background(write, value) for value in (b"a", b"b", b"c")]
    runs = [writer.result() for writer in writers]
    together = [version for run in runs for version in run]
    equal(len(set(together)), len(together), "the number of different versions")
    for run in runs:
        check(run == sorted(run), "one writer's versions do not grow")
    equal(node.get(key).fog_version(), max(together), "the version in the end")


@test
def version_grows_over_an_expired_value():
    node, key = common(), fresh()
    first = node.put(key, b"x", "Fog-TTL: 1").fog_version()
    until(lambda: node.get(key).status == 204, 5, "the key is gone")
    second = node.put(key, b"y").fog_version()
    check(second > first, f"version {second} follows {first}")
    equal(node.get(key).body, b"y", "the value")


@test
def different_values_never_share_an_etag():
    node, key = common(), fresh()
    values = [b"", b"\0", b"\0\0", b"a", b"b", b"ab", b"a" * 1000, b"a" * 999 + b"b"]
    seen = {}
    with node.connect() as connection:
        for turn in range(50):
            value = values[turn % len(values)]
            connection.ask("PUT", "/" + key, value)
            tag = connection.ask("GET", "/" + key).etag()
            check(seen.setdefault(tag, value) == value, f"{tag} stands for {seen[tag]!r} and for {value!r}")


@test
def reads_do_not_change_the_version():
    node, key = common(), fresh()
    first = node.put(key, b"x")
    for _ in range(10):
        answer = node.get(key)
        equal((answer.etag(), answer.fog_version()), (first.etag(), first.fog_version()), "ETag and version")


# --- If-None-Match

def _not_modified(form, method):
    node, key = common(), fresh()
    tag = node.put(key, b"value").etag()
    with node.connect() as connection:
        connection.send(request(method, "/" + key, None, ["If-None-Match: " + form.replace("TAG", tag)]))
        answer = connection.reply(method)
        equal((answer.status, answer.body), (304, b""), "the answer")
        equal(answer.etag(), tag, "the ETag of the 304")
        equal(connection.ask("GET", "/" + key).body, b"value", "the next answer's body")  # still in step


for _name, _form in {"equal": "TAG", "weak": "W/TAG", "star": "*", "list": '"x", TAG', "list_first": 'TAG,"x"',
                     "list_tight": '"x",W/"y",TAG', "list_with_commas": '"a,b", "c,d" , TAG',
                     "list_with_empty": ',, TAG ,', "with_blanks": "\t TAG \t", "many": ", ".join(f'"{n}"' for n in range(200)) + ", TAG"}.items():
    register("versions", f"if_none_match_{_name}_is_304", _not_modified, _form, "GET")
register("versions", "if_none_match_on_head_is_304", _not_modified, "TAG", "HEAD")


def _modified(form):
    node, key = common(), fresh()
    old = node.put(key, b"old").etag()
    new = node.put(key, b"new").etag()
    check(old != new, f"two values share the ETag {new}")
    answer = node.get(key, "If-None-Match: " + form.replace("OLD", old).replace("NEW", new))
    equal((answer.status, answer.body), (200, b"new"), "the answer")


for _name, _form in {"old": "OLD", "other": '"x"', "old_list": 'OLD, "y"', "with_a_comma": '"x,y"',
                     "weak_other": 'W/"x"'}.items():
    register("versions", f"if_none_match_{_name}_is_200", _modified, _form)


@test
def if_none_match_with_curl():
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    answer = curl_reply("-H", "If-None-Match: " + tag, node.url("/" + key))
    equal((answer.status, answer.body), (304, b""), "the answer")
    node.put(key, b"y")
    equal(curl("-H", "If-None-Match: " + tag, node.url("/" + key)).stdout, b"y", "what curl prints")


@test
def if_none_match_of_an_absent_key_is_204():
    node = common()
    for form in ('"x"', "*"):
        equal(node.get(fresh(), "If-None-Match: " + form).status, 204, f"the status with {form}")


@test
def if_none_match_after_delete_is_204():
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    node.delete(key)
    equal(node.get(key, "If-None-Match: " + tag).status, 204, "the status")


@test
def if_none_match_in_two_lines():
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    equal(node.get(key, 'If-None-Match: "x"', "If-None-Match: " + tag).status, 304, "the status")


@test
def conditions_of_a_refused_request_are_not_looked_at():
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    for lines in (['If-Match: "x"'], ["If-None-Match: *"], ["If-None-Match: " + tag]):
        refusal(node.call("GET", f"/{key}%zz", None, lines), 400)
        refusal(node.call("OPTIONS", "/" + key, None, lines), 405)
        refusal(node.call("TRACE", "/" + key, None, lines), 405)
        refusal(node.call("GET", "/-/nothing", None, lines), 404)


# --- If-Match

def _match(status, *forms):
    node, key = common(), fresh()
    node.put(key, b"old")
    tag = node.put(key, b"value").etag()
    for method in ("GET", "HEAD"):
        lines = ["If-Match: " + form.replace("TAG", tag) for form in forms]
        with node.connect() as connection:
            answer = connection.ask(method, "/" + key, None, lines)
            equal(answer.status, status, f"the status of {method}")
            if method == "GET" and status == 200:
                equal(answer.body, b"value", "the value")
            elif method == "GET":
                refusal(answer, 412)
            equal(connection.ask("GET", "/" + key).body, b"value", "the next answer's body")


for _name, _status, _forms in (
        ("equal", 200, ["TAG"]), ("star", 200, ["*"]), ("list", 200, ['"x", TAG']), ("list_with_empty", 200, [", TAG,,"]),
        ("two_lines", 200, ['"x"', "TAG"]), ("blanks", 200, ["\t TAG \t"]), ("weak_and_strong", 200, ["W/TAG, TAG"]),
        ("other", 412, ['"x"']), ("weak", 412, ["W/TAG"]), ("weak_list", 412, ['"x", W/TAG']),
        ("weak_lines", 412, ["W/TAG", "W/TAG"]), ("nothing", 412, [""])):
    register("versions", f"if_match_{_name}_is_{_status}", _match, _status, *_forms)


@test
def if_match_of_an_absent_key():
    node = common()
    for form, status in (("*", 412), ('"x"', 412), ('"absent"', 204)):
        equal(node.get(fresh(), "If-Match: " + form).status, status, f"the status with {form}")


@test
def if_match_comes_before_if_none_match():
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    refusal(node.get(key, 'If-Match: "x"', "If-None-Match: " + tag), 412)
    equal(node.get(key, "If-Match: " + tag, "If-None-Match: " + tag).status, 304, "the status when both have the tag")
    equal(node.get(key, "If-Match: " + tag, 'If-None-Match: "x"').status, 200, "the status when If-Match has it")


@test
def if_match_does_not_wait():
    node, key = common(), fresh()
    tag = node.put(key, b"x").etag()
    answer = node.get(key, "Prefer: wait=30", "If-Match: " + tag, "If-None-Match: " + tag)
    equal(answer.status, 304, "the status, at once")


@test
def writes_on_conditions_are_501():
    node, key = common(), fresh()
    tag = node.put(key, b"old").etag()
    for line in ("If-Match: *", "If-Match: " + tag, 'If-Match: "x"', "If-None-Match: *", "If-None-Match: " + tag,
                 'If-None-Match: "x"'):
        for method in ("PUT", "POST", "DELETE"):
            refusal(node.call(method, "/" + key, b"new", [line]), 501)
    equal(node.get(key).body, b"old", "the value afterwards")


@test
def conditions_of_time_mean_nothing():
    """There is no modification date here (RFC 9110, 13.1.3 and 13.1.4), whatever date they name, and none that is one."""
    node, key = common(), fresh()
    for line in ("If-Modified-Since: Fri, 31 Dec 9999 23:59:59 GMT", "If-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT",
                 "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT", "If-Modified-Since: soon",
                 "If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT", "If-Unmodified-Since: soon",
                 "If-Unmodified-Since: Fri, 31 Dec 9999 23:59:59 GMT"):
        node.put(key, line.encode(), line)
        answer = node.get(key, line)
        equal((answer.status, answer.body), (200, line.encode()), f"the answer with {line}")
        equal(answer.header("last-modified"), None, "Last-Modified")


# --- Fog-TTL

@test
def ttl_is_the_end_of_the_key():
    node, key = common(), fresh()
    before = time.monotonic()
    answer = curl_reply("-H", "Fog-TTL: 1", "--data-binary", "x", node.url("/" + key))
    after = time.monotonic()
    equal(answer.status, 200, "the status of the write")
    read = node.get(key)
    if time.monotonic() - before < 0.9:
        equal(read.body, b"x", "the value before its end")
        equal(read.header("fog-ttl"), "1", "the seconds that are left, rounded up")
    until(lambda: node.get(key).status == 204, 5, "the key is gone")
    gone = time.monotonic()
    check(gone - before >= 0.9, f"a key with Fog-TTL: 1 is gone after {gone - before:.2f} s")
    check(gone - after <= 1 + 0.5 * SLOW, f"a key with Fog-TTL: 1 lives for {gone - after:.2f} s")
    equal(node.call("HEAD", "/" + key).status, 204, "the status of HEAD")
    equal(node.delete(key).status, 200, "the status of DELETE")


@test
def ttl_of_a_value_that_comes_slowly_begins_at_its_end():
    node, key = common(), fresh()
    with node.connect() as connection:
        connection.send(request("PUT", "/" + key, None, ["Fog-TTL: 2", "Content-Length: 2"]) + b"x")
        time.sleep(1.2)
        connection.send(b"y")
        equal(connection.reply().status, 200, "the status of the write")
    equal(node.get(key).header("fog-ttl"), "2", "the seconds that are left")


@test
def ttl_without_anyone_asking():
    node = serve()
    node.put("short", b"x", "Fog-TTL: 1")
    node.put("long", b"y", "Fog-TTL: 1000")
    until(lambda: node.call("GET", "/-/keys?prefix=").body == b"long\n", 5, "the key is gone from the list")


@test
def ttl_overwritten_without_one_lives_on():
    node, key, other = common(), fresh(), fresh()
    node.put(other, b"clock", "Fog-TTL: 1")
    node.put(key, b"1", "Fog-TTL: 1")
    node.put(key, b"2")
    until(lambda: node.get(other).status == 204, 5, "the other key is gone")
    equal(node.get(key).body, b"2", "the value")


@test
def ttl_overwritten_with_a_longer_one():
    node, key, other = common(), fresh(), fresh()
    node.put(other, b"clock", "Fog-TTL: 1")
    node.put(key, b"1", "Fog-TTL: 1")
    node.put(key, b"2", "Fog-TTL: 1000")
    until(lambda: node.get(other).status == 204, 5, "the other key is gone")
    equal(node.get(key).body, b"2", "the value")


@test
def ttl_overwritten_with_a_shorter_one():
    node, key = common(), fresh()
    node.put(key, b"1", "Fog-TTL: 1000")
    node.put(key, b"2", "Fog-TTL: 1")
    until(lambda: node.get(key).status == 204, 5, "the key is gone")


@test
def ttl_on_delete_does_not_bring_it_back():
    node, key = common(), fresh()
    node.put(key, b"1")
    answer = node.call("DELETE", "/" + key, None, ["Fog-TTL: 1"])
    check(answer.status in (200, 400), f"DELETE with Fog-TTL gives {answer.line()}")
    if answer.status == 200:
        equal(node.get(key).status, 204, "the status of GET")


@test
def ttl_of_a_year():
    node, key = common(), fresh()
    node.put(key, b"x", "Fog-TTL: 31536000")
    equal(node.get(key).body, b"x", "the value")


@test
def ttl_with_put_from_a_pipe():
    node, key = common(), fresh()
    curl("-T", "-", "-H", "Fog-TTL: 1", node.url("/" + key), data=b"x")
    until(lambda: node.get(key).status == 204, 5, "the key is gone")


def _bad_ttl(value):
    node, key = common(), fresh()
    node.put(key, b"old")
    refusal(node.call("PUT", "/" + key, b"new", ["Fog-TTL: " + value]), 400)
    equal(node.get(key).body, b"old", "the value afterwards")
    refusal(node.call("POST", f"/{key}-new", b"new", ["Fog-TTL: " + value]), 400)
    equal(node.get(f"{key}-new").status, 204, "the status of a key that was never set")


for _name, _value in {"zero": "0", "word": "soon", "negative": "-1", "plus": "+1", "empty": "", "unit": "1s",
                      "hex": "0x10", "two": "1 2", "list": "1, 2", "huge": "99999999999999999999",
                      "overflow": "18446744073709551617", "too_long": "2147483648"}.items():
    register("versions", f"ttl_{_name}_is_400", _bad_ttl, _value)


@test
def ttl_twice_is_refused_or_equal():
    node, key = common(), fresh()
    answer = node.call("PUT", "/" + key, b"x", ["Fog-TTL: 1", "Fog-TTL: 1000"])
    refusal(answer, 400)
