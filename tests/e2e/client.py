"""Two clients: real curl, and a raw connection for what must be right to the byte."""

import re
import select
import socket
import subprocess
import time

from harness import SLOW, Failure, brief, check, equal, scope

SECONDS = 20
MIB = 1 << 20
DATE = (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} "
        r"[0-2]\d:[0-5]\d:[0-6]\d GMT")


def is_ready(file, seconds, events=select.POLLIN):
    """Whether it can be read, or written, within so long. (With select it must not be one of more than 1,024 files.)"""
    poll = select.poll()
    poll.register(file, events)
    return bool(poll.poll(seconds * 1000))


class Reply:
    """One answer, parsed strictly."""

    def __init__(self, head, body=b""):
        lines = head.split(b"\r\n")
        found = re.fullmatch(rb"HTTP/(1\.[01]) ([1-5]\d\d) ([\x20-\x7e]*)", lines[0])
        check(found, f"a status line {brief(lines[0])}")
        self.version = found.group(1).decode()
        self.status = int(found.group(2))
        self.reason = found.group(3).decode()
        self.headers = []
        self.body = body
        for line in lines[1:]:
            part = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*?)[ \t]*", line)
            check(part, f"a header line {brief(line)} in an answer")
            self.headers.append((part.group(1).decode().lower(), part.group(2).decode("latin-1")))

    def header(self, name):
        """The value, or None; there must not be two."""
        values = [value for key, value in self.headers if key == name.lower()]
        check(len(values) <= 1, f"{name} stands {len(values)} times in an answer")
        return values[0] if values else None

    def line(self):
        """The answer in a line, for messages."""
        return f"{self.status} {self.reason} {brief(self.body, 160)}"

    def kind(self):
        """The Content-Type, or nothing."""
        return self.header("content-type") or ""

    def closes(self):
        """Whether it says that the connection ends."""
        return "close" in [token.strip().lower() for token in (self.header("connection") or "").split(",")]

    def etag(self):
        """The ETag, which must be there and be a strong one."""
        value = self.header("etag")
        check(value and re.fullmatch(r'"[\x21\x23-\x7e]+"', value), f"ETag is {value!r} in {self.line()}")
        return value

    def fog_version(self):
        """Fog-Version, which must be there and decimal."""
        value = self.header("fog-version")
        check(value and re.fullmatch(r"[1-9]\d{0,19}", value), f"Fog-Version is {value!r} in {self.line()}")
        return int(value)


def refusal(reply, *statuses):
    """Fails unless the answer has one of the statuses and says why in one plain sentence."""
    check(reply.status in statuses, f"{reply.line()}, wanted {' or '.join(map(str, statuses))}")
    check(re.match(r"text/plain\s*(;|$)", reply.kind()), f"Content-Type of a {reply.status} is {reply.kind()!r}")
    text = reply.body.decode("utf-8", "backslashreplace")
    check(re.fullmatch(r"[^\n\r\t]{10,400}\n", text) and " " in text.strip(),
          f"the body of a {reply.status} is not one sentence in a line: {brief(reply.body)}")
    return reply


# --- raw

def request(method, target, body=None, headers=(), version="1.1", host="localhost"):
    """A request as bytes; a body gets its Content-Length."""
    target = target if isinstance(target, bytes) else target.encode()
    lines = [method.encode() + b" " + target + b" HTTP/" + version.encode()]
    if host is not None:
        lines.append(b"Host: " + host.encode())
    lines += [line if isinstance(line, bytes) else line.encode() for line in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


def chunked(*parts, last=b"0\r\n\r\n"):
    """The parts as chunks, and the end."""
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + last


class Connection:
    """A TCP connection that reads answers one by one."""

    def __init__(self, port, host="127.0.0.1", source=None, receive_buffer=None, seconds=SECONDS):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.buffer = b""
        self.ended = False
        scope().connections.append(self)
        self.socket.settimeout(seconds * SLOW)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((host, port))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Sends all of it."""
        self.socket.sendall(data)

    def send_what_goes(self, data, endless=b"", limit=0, seconds=SECONDS):
        """Sends data, then `endless` again and again up to the limit, until the other side closes; bytes that went."""
        unit = endless * max(1, MIB // len(endless)) if endless else b""
        sent = 0
        end = time.monotonic() + seconds * SLOW
        self.socket.settimeout(0.2)
        try:
            view = memoryview(data)
            while time.monotonic() < end:
                if not view:
                    if not unit or sent >= limit:
                        break
                    view = memoryview(unit)
                try:
                    count = self.socket.send(view[:MIB])
                    sent += count
                    view = view[count:]
                except TimeoutError:
                    if self.peek_end():
                        break
        except OSError:
            pass  # the other side has closed
        return sent

    def peek_end(self):
        """Whether the other side has closed, with nothing more to read before that."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except (BlockingIOError, TimeoutError):  # the latter where the socket has a time limit, which it waits for
            return False
        except OSError:
            return True

    def finish_sending(self):
        """Half-closes."""
        self.socket.shutdown(socket.SHUT_WR)

    def shutdown(self):
        """Ends every wait on this connection, from any thread."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def reset(self):
        """Closes with RST, as a client that crashed."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def close(self):
        """Closes."""
        self.socket.close()

    def _more(self, end):
        """Takes in more bytes; false at the end of the stream."""
        if self.ended:
            return False
        left = end - time.monotonic()
        if left <= 0:
            raise Failure(f"no (full) answer in time; so far {brief(self.buffer)}")
        self.socket.settimeout(left)
        try:
            part = self.socket.recv(MIB)
        except TimeoutError as error:
            raise Failure(f"no (full) answer in time; so far {brief(self.buffer)}") from error
        except ConnectionResetError:
            part = b""
        if not part:
            self.ended = True
            return False
        self.buffer += part
        return True

    def has_more(self, seconds=SECONDS):
        """Waits until there are bytes of an answer; false when the other side closes before."""
        return bool(self.buffer) or self._more(time.monotonic() + seconds * SLOW)

    def _take(self, count, end):
        if len(self.buffer) < count and count > 32 * 1024:
            parts = [self.buffer]
            have = len(self.buffer)
            self.buffer = b""
            while have < count:
                check(self._more(end), f"the connection closes after {have} of {count} bytes of a body")
                parts.append(self.buffer)
                have += len(self.buffer)
                self.buffer = b""
            self.buffer = b"".join(parts)
        while len(self.buffer) < count:
            check(self._more(end), f"the connection closes inside an answer after {brief(self.buffer)}")
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def _line(self, end):
        while b"\r\n" not in self.buffer:
            check(self._more(end), f"the connection closes inside an answer after {brief(self.buffer)}")
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _chunks(self, end):
        parts = []
        while True:
            line = self._line(end)
            found = re.fullmatch(rb"([0-9A-Fa-f]{1,16})(;.*)?", line)
            check(found, f"a chunk begins with {brief(line)}")
            size = int(found.group(1), 16)
            if size == 0:
                while self._line(end):
                    pass
                return b"".join(parts)
            parts.append(self._take(size, end))
            equal(self._take(2, end), b"\r\n", "what follows a chunk's data")

    def reply(self, method="GET", seconds=SECONDS):
        """The next answer; 1xx ones count too."""
        end = time.monotonic() + seconds * SLOW
        while b"\r\n\r\n" not in self.buffer:
            check(self._more(end), "the connection closes without an answer" if not self.buffer else
                  f"the connection closes inside an answer's head: {brief(self.buffer)}")
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        reply = Reply(head)
        length = reply.header("content-length")
        coding = reply.header("transfer-encoding")
        date = reply.header("date")
        check(re.fullmatch(DATE, date or "") or reply.status < 200, f"Date of a {reply.status} is {date!r}")
        if length is not None:
            check(re.fullmatch(r"\d+", length), f"Content-Length is {length!r}")
            check(coding is None, "an answer has both Content-Length and Transfer-Encoding")
        if reply.status < 200 or reply.status in (204, 304):
            check(coding is None, f"a {reply.status} has Transfer-Encoding")
            check(reply.status == 304 or length is None, f"a {reply.status} has Content-Length: {length}")
        elif method == "HEAD":
            pass
        elif coding is not None:
            equal(coding.lower(), "chunked", "Transfer-Encoding")
            reply.body = self._chunks(end)
        elif length is not None:
            reply.body = self._take(int(length), end)
        else:
            reply.body = self.rest(seconds)
        return reply

    def statuses(self, count, seconds=SECONDS):
        """The statuses of so many answers, or of fewer if the other side closes; quicker than `reply`."""
        end = time.monotonic() + seconds * SLOW
        found = []
        at = 0
        while len(found) < count:
            head_end = self.buffer.find(b"\r\n\r\n", at)
            if head_end < 0:
                self.buffer = self.buffer[at:]
                at = 0
                if not self._more(end):
                    return found
                continue
            head = self.buffer[at:head_end]
            check(head.startswith(b"HTTP/1.1 "), f"an answer begins with {brief(head)}")
            length = head.find(b"\r\nContent-Length: ")
            body = int(head[length + 18:].split(b"\r\n", 1)[0]) if length >= 0 else 0
            self.buffer, at = (self.buffer, head_end + 4) if not body else (self.buffer[head_end + 4:], 0)
            if body:
                self._take(body, end)
            found.append(int(head[9:12]))
        self.buffer = self.buffer[at:]
        return found

    def rest(self, seconds=SECONDS):
        """All bytes until the other side closes, which it must."""
        end = time.monotonic() + seconds * SLOW
        parts = [self.buffer]
        self.buffer = b""
        while self._more(end):
            parts.append(self.buffer)
            self.buffer = b""
        return b"".join(parts)

    def closed(self, seconds=SECONDS):
        """Fails unless the other side closes, with nothing more said."""
        left = self.rest(seconds)
        check(not left, f"after the last answer come {len(left)} more bytes: {brief(left)}")

    def silent(self, seconds):
        """Fails if anything comes within this time (no answer is due yet)."""
        ready = is_ready(self.socket, seconds)
        if ready:
            self._more(time.monotonic() + 1)
        check(not ready and not self.buffer, f"an answer came too early: {brief(self.buffer) or 'the end'}")

    def ask(self, method, target, body=None, headers=(), seconds=SECONDS):
        """One request and its answer on this connection."""
        self.send(request(method, target, body, headers))
        return self.reply(method, seconds)


# --- curl

def curl(*arguments, data=None, seconds=SECONDS, prefix=(), pass_fds=()):
    """Runs curl as a person would (without a progress bar or a proxy)."""
    if arguments[-1].endswith("?"):  # which some versions leave out (curl's issue 21544; 8.14 of Debian 13 is one)
        arguments = (*arguments, "--request-target", "/" + arguments[-1].split("/", 3)[3])
    command = [*prefix, "curl", "-q", "-sS", "--noproxy", "*", "--path-as-is", "--globoff", "--max-time", str(seconds * SLOW),
               "--expect100-timeout", str(SLOW), *arguments]  # of 1 s by itself
    try:
        return subprocess.run(command, input=data if data is not None else b"", capture_output=True, check=False,
                              timeout=(seconds + 5) * SLOW, pass_fds=pass_fds)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"curl {brief(' '.join(arguments))} does not end") from error


def curl_code(*arguments, data=None, seconds=SECONDS):
    """The status that curl saw; 0 for none."""
    output = () if "-o" in arguments else ("-o", "/dev/null")
    done = curl(*output, "-w", "%{http_code}", *arguments, data=data, seconds=seconds)
    return int(done.stdout or b"0")


def curl_reply(*arguments, data=None, seconds=SECONDS):
    """The answer as `curl -i` shows it, after any 1xx; curl must be content."""
    done = curl("-i", *arguments, data=data, seconds=seconds)
    check(done.returncode == 0, f"curl ends with {done.returncode}: {brief(done.stderr)} {brief(done.stdout)}")
    left = done.stdout
    while True:
        head, _, left = left.partition(b"\r\n\r\n")
        reply = Reply(head, left)
        if reply.status >= 200:
            return reply
