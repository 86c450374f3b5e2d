"""Commands as somebody types them, each in a fork of one process that has imported what they need.

Most of a command's time is its imports. This process makes them once; its forks run the commands.
"""

import json
import os
import runpy
import subprocess
import sys
import traceback
from pathlib import Path

from pipeline.cli import main

ROOT = Path(__file__).parents[2]


class Terminal:
    """A folder in which commands are typed, one after another."""

    def __init__(self, folder, environment):
        self.server = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def type(self, words):
        """Run a command to its end; returns its exit code and all that it printed."""
        self.server.stdin.write(json.dumps(words) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def close(self):
        """End the process."""
        self.server.communicate()


def serve():
    """Run what is asked for, line by line."""
    import pandas  # noqa: F401 - what commands import within themselves
    import plotly.graph_objects  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    import pipeline.actions.networks
    import pipeline.notebook  # noqa: F401
    import tasks.steering  # noqa: F401

    torch.set_num_threads(1)
    output = Path(f"output-{os.getpid()}")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            become(json.loads(line), output)
        _, status = os.waitpid(child, 0)
        said = [os.waitstatus_to_exitcode(status), output.read_text("utf-8", "replace")]
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


def become(words, output):
    """In a fork: run the command, with nobody at the keyboard, and end at once."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 70
    try:
        run(words)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - whatever it is, it is the command's end
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what this process has imported is not torn down, which takes a second


def run(words):
    """The command, in this process."""
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        os.environ[name] = value
    program, *arguments = words
    sys.argv = words
    if program == "python":
        sys.argv = arguments
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    else:
        main()


if __name__ == "__main__":
    serve()
