"""How often each run of a study was trained, seen from outside."""

import json
import threading
from collections import defaultdict
from contextlib import suppress


class Watch:
    """Looks at the records of a study all the time. A trained run has a new record.

    folder: of the tree with the study. seen: run -> times of its records with status ok.
    """

    def __init__(self, folder, study="tiny"):
        self.runs, self.seen = folder / "results" / study / "runs", defaultdict(set)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_again, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ended.set()
        self._thread.join()
        self.look()

    def look(self):
        """Look once; return the seen runs."""
        for path in self.runs.rglob("run.json"):
            with suppress(OSError, ValueError):  # it is being replaced
                written = path.stat().st_mtime_ns
                if json.loads(path.read_text())["status"] == "ok":
                    self.seen[str(path.parent.relative_to(self.runs))].add(written)
        return dict(self.seen)

    def _look_again(self):
        while not self._ended.wait(0.1):
            self.look()

    def trained(self, times):
        """Return the number of runs that were trained so many times."""
        return sum(len(written) == times for written in self.seen.values())
