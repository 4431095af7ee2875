"""docs/from-redis.py and docs/from-memcached.py, from a real redis and a real memcached; and the command line that needs neither."""

import json
import os
import re
import socket
import subprocess
import sys

from client import curl_code
from foreign import Daemon, program, run
from harness import check, equal, scope, test, until
from node import Node, free_port

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs")


def _answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def _redis():
    port = free_port()
    daemon = Daemon(program("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir",
                    scope().directory())
    cli = program("redis-cli", "redis-tools")
    until(lambda: _answers(port), 10, f"redis is up ({daemon.said()})")
    return port, lambda *words: run(cli, "-p", str(port), *words)


@test
def from_redis():
    port, redis = _redis()
    node = Node()
    redis("SET", "plain", "value")
    redis("SET", "with blank/ü?x=1", "größe")
    redis("SET", "short", "lived", "EX", "500")
    redis("SET", "empty", "")
    redis("SET", "-/reserved", "x")
    redis("HSET", "user:1", "name", "Ann", "age", "40")
    redis("RPUSH", "list", "a", "b")
    redis("SADD", "set", "y", "x")
    redis("ZADD", "scores", "1.5", "ann", "2", "bob")
    redis("EVAL", "for i = 1, 3000 do redis.call('SET', 'many:' .. i, string.rep('v', i % 50)) end", "0")
    script = os.path.join(DOCS, "from-redis.py")
    done = subprocess.run([sys.executable, script, f"127.0.0.1:{port}", node.address], capture_output=True, text=True, check=False, timeout=60)
    equal(done.returncode, 1, f"the exit code ({done.stderr})")
    equal(done.stdout, "3008 keys were copied, 1 could not be.\n", "what it prints")
    check(re.fullmatch(r"b'-/reserved': 403 .*\n", done.stderr), done.stderr)
    equal(node.get("plain").body, b"value", "a string")
    equal(node.get("with%20blank/%C3%BC%3Fx=1").body, "größe".encode(), "a string with an odd key")
    check(490 <= int(node.get("short").header("fog-ttl")) <= 501, node.get("short").headers)
    equal((node.get("empty").status, node.get("empty").body), (200, b""), "an empty string")
    reply = node.get("user:1")
    equal((reply.kind(), json.loads(reply.body)), ("application/json", {"name": "Ann", "age": "40"}), "a hash")
    equal(json.loads(node.get("list").body), ["a", "b"], "a list")
    equal(json.loads(node.get("set").body), ["x", "y"], "a set")
    equal(json.loads(node.get("scores").body), {"ann": 1.5, "bob": 2.0}, "a sorted set")
    for number in (1, 49, 50, 2999):
        equal(node.get(f"many:{number}").body, b"v" * (number % 50), f"many:{number}")


@test
def from_redis_with_a_command_line():
    port, redis = _redis()
    node = Node()
    for number in range(20):
        redis("SET", f"colour/{number}", f"value {number}")
    with open(os.path.join(DOCS, "operating.md"), encoding="utf-8") as file:
        line = re.search(r"^\$ (redis-cli .*--scan .*)$", file.read(), re.M).group(1)
    line = line.replace("redis-cli ", f"redis-cli -p {port} ").replace("10.0.0.1:8000", node.address)
    run("bash", "-c", line)
    for number in range(20):
        equal(node.get(f"colour/{number}").body, f"value {number}".encode(), f"colour/{number}")


@test
def from_memcached():
    port = free_port()
    user = ("-u", "root") if os.getuid() == 0 else ()
    daemon = Daemon(program("memcached", "memcached"), *user, "-p", str(port), "-l", "127.0.0.1", "-U", "0")
    until(lambda: _answers(port), 10, f"memcached is up ({daemon.said()})")
    node = Node()
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        stream = connection.makefile("rwb")
        wanted = {f"key/{number}": b"%d\r\n" % number * 3 for number in range(200)} | {"a%25b": b"", "c?d=e": b"x"}
        for key, value in wanted.items():
            expires = 600 if key == "key/7" else 0
            stream.write(b"set %s 0 %d %d\r\n%s\r\n" % (key.replace("%25", "%").encode(), expires, len(value), value))
            stream.flush()
            equal(stream.readline(), b"STORED\r\n", "what memcached says")
    said = run(sys.executable, os.path.join(DOCS, "from-memcached.py"), f"127.0.0.1:{port}", node.address)
    equal(said, f"{len(wanted)} keys were copied, 0 could not be.\n", "what it prints")
    for key, value in wanted.items():
        equal((node.get(key).status, node.get(key).body), (200, value), key)
    check(590 <= int(node.get("key/7").header("fog-ttl")) <= 601, "the time to live")
    equal(node.get("key/8").header("fog-ttl"), None, "the time to live of what has none")
    equal(curl_code(node.url("/key/9")), 200, "the status")
