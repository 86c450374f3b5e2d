"""Processes that were started for a training or an import end with the one that started them."""

import multiprocessing
import os
import threading


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that ended.

    torch's loaders look at their parent's id; a fork server's children have the server for a
    parent, which lives for as long as they do.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
