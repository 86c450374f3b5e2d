"""Commands of ``nasnet`` in forks of a process that has imported them.

To import the command line takes a process a second, which is most of what a test of a short
command would spend. Each fork is a process as any other: it has an environment, a folder and
standard streams of its own, is ended by signals, and has an exit code.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pipeline.cli

WITH_TORCH = ("genotype_export", "network")  # a fork that has it takes half a second to end


def run(arguments, *, environment, folder, timeout):
    """Run a command to its end; returns the finished process, as ``subprocess.run`` does.

    Raises:
        subprocess.TimeoutExpired: it was killed.
    """
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        socket.socket(socket.AF_UNIX) as server,
    ):
        _, path = _server()
        server.connect(path)
        asked = json.dumps([arguments, environment, str(folder)]).encode()
        socket.send_fds(server, [len(asked).to_bytes(8)], [output.fileno(), errors.fileno()])
        server.sendall(asked)
        with server.makefile("rb") as answers:
            pid = int(answers.readline())
            server.settimeout(timeout)
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(arguments, timeout) from None
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess(arguments, code, *texts)


@functools.cache
def _server():
    """This process's server, which ends with it, and its socket."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder)
    path = f"{folder}/commands.sock"
    root = Path(__file__).parents[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forked_commands", path],
        stdin=subprocess.PIPE,  # held open; its end is the server's
        stdout=subprocess.PIPE,
        cwd=root,
    )
    atexit.register(process.communicate)
    assert process.stdout.readline() == b"ready\n"
    return process, path


def _import_commands():
    for found in pkgutil.iter_modules(pipeline.cli.__path__):
        if found.name not in {"__main__", *WITH_TORCH}:
            importlib.import_module(f"pipeline.cli.{found.name}")


def _serve(listener):
    """Fork for each request; returns in the fork that is to be a command, as that."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that wait
    while True:
        ready, _, _ = select.select([0, listener], [], [])
        if 0 in ready:  # the tests have ended
            sys.exit()
        request, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            if _answer(request):
                return
            os._exit(0)
        request.close()


def _answer(request):
    """Fork again, and say how that fork ended; True in the fork."""
    head, streams, _, _ = socket.recv_fds(request, 8, 2)
    with request.makefile("rb") as asked:
        arguments, environment, folder = json.loads(asked.read(int.from_bytes(head)))
    pid = os.fork()
    if pid == 0:
        request.close()
        _become(arguments, environment, folder, streams)
        return True
    request.sendall(b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):  # it was killed for taking too long
        request.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    return False


def _become(arguments, environment, folder, streams):
    """Have a command's arguments, environment, folder and standard streams."""
    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["nasnet", *arguments]


if __name__ == "__main__":
    _import_commands()
    gc.freeze()  # what is there is not looked through again by each fork
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        _serve(listener)
    pipeline.cli.main()
