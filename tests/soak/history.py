"""What clients did and saw, key by key, and whether that can be.

Every value says which write it is of. Of every write it is known when it began, when it was answered and with which version; or that nobody
knows whether it was carried out. At the end of a round, when all nodes agree, each key's state is its *floor*: nothing older may be seen
of it any more, and all that was answered before can be forgotten.
"""

import collections
import dataclasses
import threading
import time

EXPIRY_SECONDS = 2.0  # a value may be seen for so much longer, and be gone by so much earlier, than its time to live says
# For so long after its beginning a large write of which nobody knows the outcome may still be carried out: who sent it may be gone, but
# the kernel goes on with what it had taken, and the node waits for the rest of it (--request-timeout, and a second for each 16 KiB).
LARGE_LATE_SECONDS = 60
_LEAST_BYTES = 80


def body_of(name, number, size):
    """The value of one write: it cannot be taken for another one's."""
    head = b"%s %d %d\n" % (name.encode(), number, size)
    unit = b"%020d" % (number * 7919)
    return (head + unit * (size // len(unit) + 1))[:max(size, len(head), _LEAST_BYTES)]


def number_of(name, body):
    """Which write a value is of; None when it is no value of this key."""
    head = body.split(b"\n", 1)[0].split()
    if len(head) != 3 or not (head[1].isdigit() and head[2].isdigit()):
        return None
    return int(head[1]) if body == body_of(name, int(head[1]), int(head[2])) else None


@dataclasses.dataclass(slots=True)
class Write:
    """One write. `ended` is when it was answered, or given up; `version` is None as long as it is not answered with success."""
    number: int
    name: str
    delete: bool
    ttl: int
    wanted: int  # copies
    via: str  # "frontend", or the node that was asked
    begun: float
    large: bool = False
    ended: float | None = None
    version: int | None = None
    held: int = 1  # copies that were promised
    state: str = "open"  # done, unknown, refused


@dataclasses.dataclass(slots=True)
class State:
    """What a key was seen to be: `number` is None where it has no value, `version` where nothing is known of it. Its time to live counts
    from `written` at the latest: when its write was over, which a front-end may have tried again for seconds."""
    version: int | None
    number: int | None
    ttl: int = 0
    written: float = 0.0


class _Key:
    __slots__ = ("writes", "floor", "seen")

    def __init__(self):
        self.writes = {}
        self.floor = None
        self.seen = {}  # version to number, of values that were read


class History:
    """All keys. `problem` is called with a kind and a sentence for what must not be, `loss` for each write that is gone."""

    def __init__(self, names, grace, problem):
        self.keys = {name: _Key() for name in names}
        self.counts = collections.Counter()
        self._lock = threading.Lock()
        self._grace = grace
        self._problem = problem
        self._last = 0
        self._agreed = 0.0

    # --- writes

    def begin(self, name, via, delete=False, ttl=0, wanted=1, large=False):
        """A write that is about to be sent."""
        with self._lock:
            self._last += 1
            write = Write(self._last, name, delete, ttl, wanted, via, time.time(), large)
            self.keys[name].writes[write.number] = write
            self.counts["writes"] += 1
            return write

    def done(self, write, version, held):
        """It was answered with success, and this version."""
        with self._lock:
            write.ended, write.version, write.held, write.state = time.time(), version, held, "done"
            self.counts["acknowledged"] += 1
            self.counts["acknowledged with 2 copies"] += held > 1
            seen = self.keys[write.name].seen.get(version)
            if seen is not None and seen != write.number:
                self._problem("two-of-one-version", f"{write.name}: {write} has the version of write {seen}")

    def failed(self, write, definite):
        """It was refused for certain, or nobody knows."""
        with self._lock:
            write.ended, write.state = time.time(), "refused" if definite else "unknown"
            self.counts["refused" if definite else "of unknown outcome"] += 1

    # --- reads

    def floor(self, name):
        """To be asked for before a read is sent."""
        return self.keys[name].floor

    def read(self, name, floor, answer, who, least=0):
        """Checks what a read has given: (status, version, body); `least` is a version that this reader has seen of this node before.
        Returns its State."""
        status, version, body = answer
        key = self.keys[name]
        with self._lock:
            self.counts["reads"] += 1
            state = self._value(name, key, version, body, who) if status == 200 else State(version, None)
            if status == 204:
                self._absence(name, key, floor, version, who)
            if version is not None and version < least:
                self._problem("went-back", f"{name} at {who}: version {version} after {least} from the same node")
            if floor and floor.version and version is not None and version < floor.version:
                self._problem("went-back", f"{name} at {who}: {status}, version {version}, but all had agreed on {floor}")
            return state

    def unchanged(self, name, floor, version, who, before=None):
        """Checks a 304: no version larger than that may have been acknowledged before that time."""
        with self._lock:
            if floor and floor.version and version is not None and version < floor.version:
                self._problem("went-back", f"{name} at {who}: 304, version {version}, but all had agreed on {floor}")
            if before is None or version is None:
                return
            for write in self.keys[name].writes.values():
                if write.state == "done" and write.ended < before and write.version > version:
                    self._problem("missed-change", f"{name} at {who}: 304 of version {version} {time.time() - write.ended:.1f} s "
                                                   f"after {write}")

    def _value(self, name, key, version, body, who):
        number = number_of(name, body)
        if number is None:
            self._problem("damaged", f"{name} at {who}: {len(body)} bytes that nobody wrote: {body[:60]!r}")
            return State(version, -1)
        if key.floor and version == key.floor.version:
            if number != key.floor.number:
                self._problem("two-of-one-version", f"{name} at {who}: write {number}, but all had agreed on {key.floor}")
            else:
                self._in_time(name, key.floor, who)
            return State(version, number, key.floor.ttl, key.floor.written)
        write = key.writes.get(number)
        if key.seen.setdefault(version, number) != number:
            self._problem("two-of-one-version", f"{name} at {who}: writes {number} and {key.seen[version]} have version {version}")
        if write is None:
            if not (key.floor and version < key.floor.version):  # which is told as such
                self._problem("invented", f"{name} at {who}: write {number} of version {version}, floor {key.floor}")
            return State(version, number)
        state = State(version, number, write.ttl, write.ended or time.time())
        self._known_value(write, version, who)
        self._in_time(name, state, who)
        return state

    def _known_value(self, write, version, who):
        if write.state == "refused":
            self._problem("refused-yet-there", f"{write.name} at {who}: {write}")
        if write.begun < self._agreed and write.large and time.time() < write.begun + LARGE_LATE_SECONDS:
            self.counts["reads of a large write that came late"] += 1
            write.begun = self._agreed  # it is there now
        elif write.begun < self._agreed:
            self._problem("late", f"{write.name} at {who}: {write} is there, and was not when all agreed")
        if write.state == "done" and version != write.version:
            if write.via == "frontend":
                self.counts["reads of the other try of a write"] += 1
            else:
                self._problem("another-version", f"{write.name} at {who}: {write} is there with version {version}")

    def _in_time(self, name, state, who):
        late = time.time() - (max(state.version / 1e6, state.written) + state.ttl)
        if state.ttl and late > EXPIRY_SECONDS:
            self._problem("expired-yet-there", f"{name} at {who}: {state} is there {late:.1f} s after its time")

    def _absence(self, name, key, floor, version, who):
        if version is None:
            if floor and not self._forgotten(floor):
                self._problem("false-absence", f"{name} at {who}: nothing is known, but all had agreed on {floor}")
            return
        known = key.floor  # which may be a later one than that of the beginning
        if known and version == known.version:
            if known.number is not None:
                self._gone_in_time(name, version, known.ttl, who)
            return
        if known and known.version and version < known.version:
            return  # if that is wrong, it is told as such
        for write in key.writes.values():
            if write.version == version:
                if not write.delete:
                    self._gone_in_time(name, version, write.ttl, who)
                return
        if not any(self._may_be_gone(write) for write in key.writes.values()):
            self._problem("invented", f"{name} at {who}: deleted with version {version}, which nobody did; floor {floor}")

    def _gone_in_time(self, name, version, ttl, who):
        early = version / 1e6 + ttl - time.time()
        if not ttl or early > EXPIRY_SECONDS:
            self._problem("gone-too-early", f"{name} at {who}: the value of version {version}, time to live {ttl}, is gone")

    @staticmethod
    def _may_be_gone(write):
        """Whether a write may be what deleted the key with a version that is not its answer's."""
        unknown = write.state in ("open", "unknown") or write.via == "frontend"
        return unknown and write.state != "refused" and (write.delete or write.ttl)

    def _forgotten(self, state):
        """Whether a delete or an expiry may have been dropped by now: it is remembered for the grace period."""
        if state.version is None:
            return True
        if state.number is not None and not state.ttl:
            return False
        return time.time() - state.version / 1e6 > self._grace * 0.9

    # --- the end of a round

    def conclude(self, name, states, excuse):
        """All nodes have agreed, and these are the states that each gave of this key: none may differ, nothing acknowledged may be
        missing. `excuse` gives the reason for which an acknowledged write may be lost, or None. Returns the writes that are lost."""
        key = self.keys[name]
        with self._lock:
            final = self._same(name, states)
            acknowledged = sorted((write for write in key.writes.values() if write.state == "done"),
                                  key=lambda write: write.version, reverse=True)
            self._ordered(acknowledged)
            lost = []
            for write in acknowledged:
                if self._covers(final, write):
                    break
                lost.append((write, excuse(write)))
            if final.version is not None:
                self._justified(name, key, final)
            key.floor = final
            key.writes = {number: write for number, write in key.writes.items() if write.state == "unknown"}
            key.seen = {}
            return lost

    def _same(self, name, states):
        (first, final), *rest = sorted(states.items(), key=lambda item: -(item[1].version or 0))
        for who, state in rest:
            gone = state.number is None and (final.number is None or final.ttl)
            if state.version == final.version and (state.number == final.number or gone):
                continue
            if state.version is None and state.number is None and self._forgotten(final):
                continue
            self._problem("disagreement", f"{name}: {final} at {first}, {state} at {who}")
        return final

    def _ordered(self, acknowledged):
        """Of two writes of which one began after the other was answered, it has the larger version: there is one clock here."""
        earliest, by = float("inf"), None
        for write in acknowledged:  # from the largest version down
            if write.begun > earliest:
                self._problem("order", f"{write.name}: {write} began after {by} was answered")
            if write.ended < earliest:
                earliest, by = write.ended, write

    def _covers(self, final, write):
        if final.version is None:
            return self._forgotten(State(write.version, None if write.delete else write.number, write.ttl))
        return final.version >= write.version

    def _justified(self, name, key, final):
        """The final state must be of a write that can be: acknowledged, or of unknown outcome."""
        if key.floor and key.floor.version == final.version:
            return
        if final.number is not None:
            write = key.writes.get(final.number)
            if write and write.state == "unknown":
                self.counts["of unknown outcome, and final"] += 1
            return  # what else a value must be, the read has checked
        for write in key.writes.values():
            if write.version == final.version:
                return
        found = [write for write in key.writes.values() if self._may_be_gone(write)]
        if not found:
            self._problem("invented", f"{name}: {final} is final, which nobody did")
        self.counts["deletes of unknown outcome, and final"] += 1

    def agree(self, when):
        """All nodes agreed then, and no write was under way."""
        with self._lock:
            self._agreed = when
