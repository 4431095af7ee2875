#!/usr/bin/env python3
"""Copies the keys of one redis database to Velour Fog: from-redis.py REDIS_HOST:PORT FOG_HOST:PORT [PATTERN]

Strings go as they are; hashes, lists, sets and sorted sets as JSON. What is left of a key's time to live goes along. Run it again as often
as you like: it writes what redis has. Nothing is changed in redis. Exit code 1 when a key could not be copied; it is named.
"""

import http.client
import json
import socket
import sys
import urllib.parse


class Redis:
    """A connection that speaks RESP2."""

    def __init__(self, host, port):
        self.stream = socket.create_connection((host, int(port)), 10).makefile("rwb")

    def _reply(self):
        line = self.stream.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.stream.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        if kind == b"+":
            return rest
        raise RuntimeError("redis has closed the connection")

    def all(self, commands):
        """The replies of commands that are sent at once."""
        for words in commands:
            words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
            self.stream.write(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        self.stream.flush()
        return [self._reply() for _ in commands]


def text(value):
    """Bytes as JSON can have them; those that are no UTF-8 come out as \\xNN."""
    return value.decode("utf-8", "backslashreplace")


READERS = {
    b"string": (("GET",), None),
    b"hash": (("HGETALL",), lambda v: dict(zip(map(text, v[::2]), map(text, v[1::2])))),
    b"list": (("LRANGE", 0, -1), lambda v: list(map(text, v))),
    b"set": (("SMEMBERS",), lambda v: sorted(map(text, v))),
    b"zset": (("ZRANGE", 0, -1, "WITHSCORES"), lambda v: dict(zip(map(text, v[::2]), map(float, v[1::2])))),
}


def copy(redis, fog, keys):
    """Returns how many were copied, and what could not be."""
    kinds = redis.all([("TYPE", key) for key in keys])
    known = [(key, kind) for key, kind in zip(keys, kinds) if kind in READERS]
    wrong = [f"{key!r}: a {kind.decode()} has no counterpart" for key, kind in zip(keys, kinds) if kind not in READERS and kind != b"none"]
    values = redis.all([(READERS[kind][0][0], key, *READERS[kind][0][1:]) for key, kind in known])
    times = redis.all([("PTTL", key) for key, _ in known])
    done = 0
    for (key, kind), value, ms in zip(known, values, times):
        if value is None or ms == -2:
            continue  # it has gone meanwhile
        as_json = READERS[kind][1]
        headers = {"Content-Type": "application/json" if as_json else "application/octet-stream"}
        if ms >= 0:
            headers["Fog-TTL"] = str(ms // 1000 + 1)
        fog.request("PUT", "/" + urllib.parse.quote(key), json.dumps(as_json(value)) if as_json else value, headers)
        answer = fog.getresponse()
        said = answer.read().decode().strip()
        if answer.status == 200:
            done += 1
        else:
            wrong.append(f"{key!r}: {answer.status} {said}")
    return done, wrong


def main(source, target, pattern="*"):
    """Scans the database and copies what there is."""
    redis = Redis(*source.rsplit(":", 1))
    fog = http.client.HTTPConnection(target, timeout=30)
    cursor, done, failed = b"0", 0, 0
    while True:
        cursor, keys = redis.all([("SCAN", cursor, "MATCH", pattern, "COUNT", 500)])[0]
        some, wrong = copy(redis, fog, keys)
        done, failed = done + some, failed + len(wrong)
        for reason in wrong:
            print(reason, file=sys.stderr)
        if cursor == b"0":
            break
    print(f"{done} keys were copied, {failed} could not be.")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
