#!/usr/bin/env python3
"""Copies the keys of a memcached to Velour Fog: from-memcached.py MEMCACHED_HOST:PORT FOG_HOST:PORT

Needs memcached 1.4.31 or later, whose `lru_crawler metadump all` lists all keys. Values go as they are, with what is left of their time to
live; flags, which client libraries use to note how they packed a value, are dropped. Nothing is changed in memcached. Exit code 1 when a
key could not be copied; it is named.
"""

import http.client
import socket
import sys
import time
import urllib.parse


def listed(stream):
    """(key, when it expires or -1) of all keys."""
    stream.write(b"lru_crawler metadump all\r\n")
    stream.flush()
    for line in stream:
        if line.startswith(b"END"):
            return
        if not line.startswith(b"key="):
            raise RuntimeError(line.decode().strip())
        fields = dict(part.split(b"=", 1) for part in line.split() if b"=" in part)
        yield urllib.parse.unquote_to_bytes(fields[b"key"].decode()), int(fields[b"exp"])


def value_of(stream, key):
    """None when it has gone."""
    stream.write(b"get " + key + b"\r\n")
    stream.flush()
    head = stream.readline().split()
    if head[0] != b"VALUE":
        return None
    value = stream.read(int(head[3]) + 2)[:-2]
    stream.readline()
    return value


def main(source, target):
    """Lists the keys, and copies one after the other."""
    host, port = source.rsplit(":", 1)
    stream = socket.create_connection((host, int(port)), 30).makefile("rwb")
    fog = http.client.HTTPConnection(target, timeout=30)
    done = failed = 0
    for key, expires in list(listed(stream)):
        value = value_of(stream, key)
        left = int(expires - time.time()) + 1
        if value is None or (expires > 0 and left <= 0):
            continue
        headers = {"Content-Type": "application/octet-stream"}
        if expires > 0:
            headers["Fog-TTL"] = str(left)
        fog.request("PUT", "/" + urllib.parse.quote(key), value, headers)
        answer = fog.getresponse()
        said = answer.read().decode().strip()
        done += answer.status == 200
        if answer.status != 200:
            failed += 1
            print(f"{key!r}: {answer.status} {said}", file=sys.stderr)
    print(f"{done} keys were copied, {failed} could not be.")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
