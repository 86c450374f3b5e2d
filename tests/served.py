"""A dashboard that serves from a thread of the test's own process, and raw connections to it."""

import contextlib
import socket
import threading
from dataclasses import dataclass

from pipeline.dashboard.server import Server
from pipeline.settings import get_settings


@dataclass
class Served:
    """A dashboard that is there."""

    server: Server
    port: int

    @property
    def token(self):
        return self.server._app.state.access.token

    @property
    def connections(self):
        """Those that it holds."""
        return self.server.server_state.connections

    @contextlib.contextmanager
    def connected(self, text=b""):
        """A connection, and something sent by it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(text)
            yield connection

    def said(self, text):
        """All that is answered until the dashboard ends the connection."""
        with self.connected(text) as connection:
            return everything(connection)


def everything(connection):
    """What comes until the other side ends it."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(2**16):
            parts.append(part)
    return b"".join(parts)


def request(line="GET /", *headers, host="127.0.0.1"):
    """The head of a request."""
    return "\r\n".join([f"{line} HTTP/1.1", f"Host: {host}", *headers, "", ""]).encode()


@contextlib.contextmanager
def serving(host="127.0.0.1"):
    """Serve the store of the settings until the end of the block."""
    server = Server(get_settings(), host, 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [server._socket]})
    thread.start()
    try:
        yield Served(server, server._socket.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join()
