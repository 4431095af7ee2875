"""What is done to the processes, drawn by lot from a seed; and what the promises then still say (docs/cluster.md, docs/partitions.md)."""

import concurrent.futures
import contextlib
import random
import threading
import time

from fleet import AGREE_SECONDS_MAX, FRONTENDS, PARTITIONS

TOLD_SECONDS = 1.0  # a node that has a fellow in reach has told it what was written before that time
_AT_ONCE_SECONDS = 0.1  # a kill is no second fault when it comes so soon after the first one has begun: it is that one
_MARGIN_SECONDS = 1.0  # a fault is felt for so long after it has ended


class Spans:
    """Stretches of time, the last of which may be going on."""

    def __init__(self):
        self._spans = []
        self._lock = threading.Lock()

    def begin(self):
        """From now on."""
        with self._lock:
            if not self._spans or self._spans[-1][1] is not None:
                self._spans.append([time.time(), None])

    def end(self):
        """Until now."""
        with self._lock:
            if self._spans and self._spans[-1][1] is None:
                self._spans[-1][1] = time.time()

    def touches(self, begun, ended):
        """Whether any of them has a moment in common with that."""
        with self._lock:
            return any(one < ended and (other is None or other > begun) for one, other in self._spans)

    def cover(self, begun, ended):
        """Whether one of them has all of it."""
        with self._lock:
            return any(one <= begun and (other is None or other >= ended) for one, other in self._spans)


class Troubles:
    """Which faults there were when, and so what a client may have met."""

    def __init__(self, partition_of):
        self.apart = [Spans() for _ in range(PARTITIONS)]  # a partition's nodes may not have told each other all
        self.alone = [Spans() for _ in range(PARTITIONS)]  # none of its nodes can be asked
        self.frontends = {f"f{number + 1}": Spans() for number in range(FRONTENDS)}
        self._kills = [[] for _ in range(PARTITIONS)]  # (before, after, who)
        self._partition_of = partition_of

    def killed(self, partition, before, who):
        """A node was killed between that time and now."""
        self._kills[partition].append((before, time.time(), who))

    def calm(self, name, begun):
        """Whether nothing was wrong with the key's partition or a front-end since then."""
        begun -= 2 * _MARGIN_SECONDS
        spans = [self.apart[self._partition_of[name]], *self.frontends.values()]
        return not any(one.touches(begun, time.time()) for one in spans)

    def why_error(self, frontend, name, large, begun):
        """The reason for which a request through a front-end may fail, or None."""
        begun, now = begun - _MARGIN_SECONDS, time.time()
        partition = self._partition_of[name]
        if self.frontends[frontend.name].touches(begun, now):
            return "the front-end was stopped, killed or cut off"
        if self.alone[partition].touches(begun, now):
            return "no node of the partition could be asked"
        if large and self.apart[partition].touches(begun, now):
            return "a node was lost in the middle of a large value"
        return None

    def excuse(self, write):
        """The reason for which an acknowledged write may be lost: the node that took it, and alone had it, was killed. None else."""
        if write.held > 1:
            return None
        partition = self._partition_of[write.name]
        for before, after, who in self._kills[partition]:
            if write.begun > after or write.via not in ("frontend", who):
                continue
            late = before - write.ended
            told = late >= TOLD_SECONDS and not self.apart[partition].cover(write.ended + TOLD_SECONDS, before)
            if told:
                continue
            if self.apart[partition].cover(before - _AT_ONCE_SECONDS, before):
                return f"{who} was killed while its fellow was out of reach"
            return f"{who} was killed {max(0.0, late) * 1e3:.1f} ms after it was answered"
        return None


class Faults:
    """What makes them: one thread for each partition and one for the front-ends, until `over` is set."""

    def __init__(self, soak, over):
        self.soak = soak
        self.over = over
        self.healed = 0.0  # when the last one ended

    def pause(self, random_, least, most):
        """Some seconds, or until the faults are over."""
        self.over.wait(random_.uniform(least, most))

    @contextlib.contextmanager
    def told(self, what, who):
        """A line of the record for a fault."""
        begun = time.time()
        try:
            yield
        finally:
            self.healed = max(self.healed, time.time())
            self.soak.record("fault", what=what, who=who, begun=begun, ended=time.time())


class PartitionFaults:
    """Those of one partition: one at a time, and the next one only when its nodes agree again."""

    _KINDS = (["kill"] * 4 + ["stop"] * 3 + ["cut"] * 4 + ["leave"] * 2 + ["replace"] * 2 + ["deafen"] * 2 + ["split"] * 2 +
              ["lose"] * 2 + ["hasty"] * 2 + ["donor"] * 2 + ["lone"])

    def __init__(self, faults, partition, seed):
        self.faults = faults
        self.soak = faults.soak
        self.partition = partition
        self.network = self.soak.fleet.network
        self.random = random.Random(seed)
        self.apart = self.soak.troubles.apart[partition.number]
        self.alone = self.soak.troubles.alone[partition.number]

    def run(self):
        """Until the faults are over."""
        self.faults.pause(self.random, 0, 3)
        while not self.faults.over.is_set():
            kind = self.random.choice(self._KINDS)
            victims = self.partition.running()
            self.random.shuffle(victims)
            if kind in ("kill", "leave", "replace", "hasty", "donor", "lone") and victims[0].name in self.soak.stayers:
                victims.reverse()
            self.apart.begin()
            with self.faults.told(kind, victims[0].name):
                getattr(self, "_" + kind)(*victims)
            if why := self.partition.settle(AGREE_SECONDS_MAX, self.faults.over):
                if not self.faults.over.is_set():
                    self.soak.problem("unsettled", f"after {kind} of {victims[0].name}: {why}")
                    continue
            if self.faults.over.is_set():
                break  # what is apart is ended when all agree
            self.apart.end()
            self.alone.end()
            self.faults.pause(self.random, 0.5, 6)

    def _pause(self, least, most):
        self.faults.pause(self.random, least, most)

    def _kill_only(self, server):
        before = time.time()
        server.kill()
        self.soak.troubles.killed(self.partition.number, before, server.name)

    def _start(self, server):
        server.start()
        self.soak.probe(server, self.partition.number)

    def _spare(self):
        return next(server for server in self.partition.slots if not server.alive())

    # --- kinds: the first one is the victim, the second one its fellow

    def _kill(self, victim, _):
        self._kill_only(victim)
        self._pause(0, self.random.choice((0, 1, 8)))
        self._start(victim)

    def _stop(self, victim, _):
        victim.stop()
        self._pause(1, 20)
        victim.go_on()

    def _cut(self, victim, _):
        self.network.cut(victim.machine)
        self._pause(1, 30)
        self.network.mend(victim.machine)

    def _leave(self, victim, _):
        spare = self._spare()
        self.soak.problem_if(victim.goodbye())
        self._pause(0, 8)
        self._start(spare)

    def _replace(self, victim, _):
        self._start(self._spare())
        if why := self.partition.settle(AGREE_SECONDS_MAX):
            self.soak.problem("unsettled", f"a third one has joined, and {why}")
        self._pause(0, 3)
        self.soak.problem_if(victim.goodbye())

    def _hasty(self, victim, fellow):
        """The victim is told to stop while its fellow stands still, and has to wait until it can tell it what it has."""
        spare = self._spare()
        fellow.stop()
        self._pause(0.2, 1)
        self.alone.begin()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            end = pool.submit(victim.goodbye)
            self._pause(0.3, 1.2)  # for less than 3 s in all, after which it would count as down
            fellow.go_on()
            self.soak.problem_if(end.result())
        self._start(spare)

    def _donor(self, victim, _):
        """The victim is killed while a newcomer may be copying from it."""
        self._start(self._spare())
        self._pause(0, self.random.choice((0.02, 0.1, 1)))
        self._kill_only(victim)

    def _deafen(self, victim, fellow):
        self.network.deafen(victim.machine, to=fellow.machine)
        self._pause(1, 15)
        self.network.undeafen(victim.machine, to=fellow.machine)

    def _split(self, victim, fellow):
        self.network.deafen(victim.machine, to=fellow.machine)
        self.network.deafen(fellow.machine, to=victim.machine)
        self._pause(1, 20)
        self.network.undeafen(victim.machine, to=fellow.machine)
        self.network.undeafen(fellow.machine, to=victim.machine)

    def _lose(self, victim, _):
        rule = ("INPUT", "-i", "eth0", "-m", "statistic", "--mode", "random", "--probability", "0.3", "-j", "DROP")
        victim.space.run("iptables", "-w", "-A", *rule)
        self._pause(2, 15)
        victim.space.run("iptables", "-w", "-D", *rule)

    def _lone(self, victim, fellow):
        """The victim is killed while its fellow is out of reach: what it has taken meanwhile is lost."""
        cut = self.random.random() < 0.5
        if cut:
            self.network.cut(fellow.machine)
        else:
            fellow.stop()
        self._pause(2, 6)
        self.alone.begin()
        self._kill_only(victim)
        self._pause(0, 2)
        if cut:
            self.network.mend(fellow.machine)
        else:
            fellow.go_on()
        while not (fellow.ready() or self.faults.over.is_set()):
            time.sleep(0.1)
        self._start(victim)


class FrontendFaults:
    """Those of the front-ends: one at a time."""

    def __init__(self, faults, seed):
        self.faults = faults
        self.soak = faults.soak
        self.random = random.Random(seed)

    def run(self):
        """Until the faults are over."""
        self.faults.pause(self.random, 0, 10)
        while not self.faults.over.is_set():
            victim = self.random.choice(self.soak.fleet.frontends)
            kinds = ("stop", "cut") if victim.name in self.soak.stayers else ("stop", "cut", "kill", "leave")
            kind = self.random.choice(kinds)
            spans = self.soak.troubles.frontends[victim.name]
            spans.begin()
            with self.faults.told(kind, victim.name):
                getattr(self, "_" + kind)(victim)
            if not self.await_ready(victim):
                self.soak.problem("unsettled", f"{victim.name} is not ready {AGREE_SECONDS_MAX} s after {kind}")
            spans.end()
            self.faults.pause(self.random, 4, 20)

    @staticmethod
    def await_ready(frontend):
        """Whether it reaches all partitions before long."""
        end = time.monotonic() + AGREE_SECONDS_MAX
        while time.monotonic() < end:
            if frontend.get("/-/ready") == (200, b"ready\n"):
                return True
            time.sleep(0.1)
        return False

    def _stop(self, victim):
        victim.stop()
        self.faults.pause(self.random, 1, 10)
        victim.go_on()

    def _cut(self, victim):
        self.soak.fleet.network.cut(victim.machine)
        self.faults.pause(self.random, 1, 10)
        self.soak.fleet.network.mend(victim.machine)

    def _kill(self, victim):
        victim.kill()
        self.faults.pause(self.random, 0, 3)
        victim.start()

    def _leave(self, victim):
        self.soak.problem_if(victim.goodbye())
        self.faults.pause(self.random, 0, 3)
        victim.start()
