"""One progress bar for a whole suite, in characters, so that its estimate of the time left means something."""

from __future__ import annotations

import sys


class Bar:
    """One bar per suite in characters, with the running task's name, its texts done, and the time left."""

    def __init__(self, tasks, name: str, shown: bool):
        from lib.common.bars import bar

        self.sizes = {task.metadata.name: task_size(task) for task in tasks} if shown else {}
        self.bar = bar(
            total=sum(self.sizes.values()),
            desc=name,
            disable=not shown,
            leave=False,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed}<{remaining}{postfix}",
        )
        self.count, self.name, self.shown = 0, "", shown

    def task(self, task) -> None:
        """Show which task is running."""
        self.count, self.name = 0, task.metadata.name
        self.bar.set_postfix_str(self.name)

    def texts(self, number: int) -> None:
        """Show how many texts of the running task have been encoded."""
        self.count += number
        self.bar.set_postfix_str(f"{self.name} {self.count} texts")

    def done(self, task) -> None:
        """Move on by the task's size."""
        self.bar.update(self.sizes.get(task.metadata.name, 0))

    def close(self) -> bool:
        """Take the bar away; in a notebook clear the cell's output, else each step of the bar would be saved in it.

        Returns whether that wiped what was printed above the bar.
        """
        self.bar.close()
        if not self.shown or "IPython" not in sys.modules:
            return False
        from IPython import get_ipython
        from IPython.display import clear_output

        if not hasattr(get_ipython(), "kernel"):
            return False
        clear_output()
        return True


def task_size(task) -> int:
    """Return a set's size in characters, from its files or from the statistics that mteb ships; 100,000 if unknown."""
    from lib.score.hub import leaves
    from lib.score.localsets import files_of

    if hasattr(task, "spec"):
        return sum(path.stat().st_size for path in files_of(task.spec, task.folder))
    total = 0
    for leaf in leaves(task):
        stats = leaf.metadata.descriptive_stats or {}
        total += sum(int(split.get("number_of_characters") or 0) for split in stats.values() if isinstance(split, dict))
    return total or 100_000
