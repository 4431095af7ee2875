"""What is written down: a line of JSON for each thing, and whether the processes stay as small as they were."""

import json
import threading
import time

WARM_SECONDS = 600  # from here on everything must be flat
FLAT_SECONDS_MIN = 600  # of less than that nothing can be said
# Over the whole of that time by a fitted line: a part of the mean, or so much, whichever is more. Each connection that others have made has a
# descriptor and a timer, and how many there are is theirs to say (who loses one front-end stays with the other one), so these are left
# out. Connections of who was cut off stay until --idle-timeout (5 minutes): what loses one in a hundred faults shows.
_GROWTH_MAX = {
    "rss": (0.05, 2 << 20),
    "fds": (0.20, 8),
    "timers": (0.20, 8),
}
_OF_CONNECTIONS = ("fds", "timers")


class Record:
    """A file of lines {"kind": …, "t": seconds since the start, …}."""

    def __init__(self, path):
        self._file = open(path, "w", encoding="utf-8")  # pylint: disable=consider-using-with
        self._lock = threading.Lock()
        self.begun = time.time()

    def line(self, kind, **more):
        """Adds one; `begun` and `ended` are times of the clock."""
        for name in ("begun", "ended"):
            if name in more:
                more[name] = round(more[name] - self.begun, 3)
        with self._lock:
            self._file.write(json.dumps({"kind": kind, "t": round(time.time() - self.begun, 3), **more}) + "\n")
            self._file.flush()

    def close(self):
        """Ends it."""
        with self._lock:
            self._file.close()


def read(path):
    """All lines."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def slope(points):
    """Of the line that fits best, by least squares."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def _of_itself(line, figure):
    """A figure, less what others' connections have in it."""
    return line[figure] - (line.get("connections", 0) if figure in _OF_CONNECTIONS else 0)


def flatness(lines, warm=WARM_SECONDS):
    """For each process that ran from there to the end: of each figure its mean, its least and most, the growth by a fitted line, and
    how much that may be."""
    samples = [line for line in lines if line["kind"] == "process"]
    end = max((line["t"] for line in samples), default=0)
    by_process = {}
    for line in samples:
        if line["t"] >= warm:
            by_process.setdefault((line["name"], line["pid"]), []).append(line)
    found = []
    for (name, _), own in by_process.items():
        if own[0]["t"] > warm + 30 or own[-1]["t"] < end - 30 or own[-1]["t"] - own[0]["t"] < FLAT_SECONDS_MIN:
            continue
        for figure, (part, least) in _GROWTH_MAX.items():
            points = [(line["t"], _of_itself(line, figure)) for line in own if figure in line]
            mean = sum(y for _, y in points) / len(points)
            growth = slope(points) * (points[-1][0] - points[0][0])
            found.append({"name": name, "figure": figure, "from": points[0][0], "to": points[-1][0], "mean": mean,
                          "least": min(y for _, y in points), "most": max(y for _, y in points), "growth": growth,
                          "growth_max": max(part * mean, least)})
    return found
