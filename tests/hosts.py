"""Two hosts on one machine: network namespaces wired to a bridge, whose links can be cut."""

import contextlib
import shutil
import subprocess
import sys

from tests.processes import Home
from tests.servers import is_root

SERVER = "10.213.7.1"  # the bridge's own address, where the servers are
HOSTS = {"nasnet-a": "10.213.7.2", "nasnet-b": "10.213.7.3"}
BRIDGE = "nasnet-br"


def ip(*arguments, check=True):
    """Run ``ip``, of iproute2."""
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True)


def why_not() -> str | None:
    """Why this machine cannot have such a network; None where it can."""
    if not is_root() or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "needs root, ip (iproute2) and unshare, to make network namespaces"
    if ip("link", "add", BRIDGE, "type", "bridge", check=False).returncode:
        return "this machine does not let us make a network"
    ip("link", "del", BRIDGE)
    return None


@contextlib.contextmanager
def network():
    """A bridge to which all hosts are wired."""
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{SERVER}/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for name, address in HOSTS.items():
            ip("netns", "add", name)
            ip("link", "add", f"{name}-v", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}-v", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        yield
    finally:
        for name in HOSTS:
            ip("netns", "del", name, check=False)
            ip("link", "del", f"{name}-v", check=False)
        ip("link", "del", BRIDGE, check=False)


class Host(Home):
    """A home whose processes live in a network, and under a host name, of their own."""

    def __init__(self, name, folder, **settings):
        super().__init__(folder, **settings)
        self.name = name
        self.command = [
            *("ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c"),
            f'hostname {name}; exec "$@"',
            *("sh", sys.executable, "-m", "pipeline.cli"),
        ]

    def cut(self):
        """Nothing goes out any more, nothing comes in, and nobody is told."""
        ip("link", "set", f"{self.name}-v", "down")

    def mend(self):
        """Wire it again."""
        ip("link", "set", f"{self.name}-v", "up")
