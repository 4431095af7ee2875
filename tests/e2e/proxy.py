"""A TCP proxy in front of a node, that can be slow, silent or gone: a network that fails, without root."""

import contextlib
import socket
import threading
import time

from harness import scope

_PIECE = 64 << 10
_RECEIVE_BUFFER = 64 << 10  # so that a slow one fills up


class Proxy:
    """Listens on `address` (127.0.0.1, a free port) and passes on to a port there, `target`, once that is set.

    `pace` is for connections from now on: bytes a second that their server's side may send, None for no limit."""

    def __init__(self):
        self.pace = None
        self.target = None
        self._ended = False
        self._held = threading.Event()
        self._held.set()
        self._sockets = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        scope().connections.append(self)
        self._start(self._accept)

    @staticmethod
    def _start(function, *arguments):
        threading.Thread(target=function, args=arguments, daemon=True).start()

    def hold(self):
        """Passes nothing on from now on, and says nothing of it."""
        self._held.clear()

    def go_on(self):
        """The end of that."""
        self._held.set()

    def _accept(self):
        while not self._ended:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self._sockets.append(client)
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
            try:
                server.connect(("127.0.0.1", self.target))
            except (OSError, TypeError):
                client.close()
                continue
            self._sockets.append(server)
            self._start(self._copy, client, server, None)
            self._start(self._copy, server, client, self.pace)

    def _copy(self, source, to, pace):
        piece = min(_PIECE, max(1, pace // 20)) if pace else _PIECE
        with contextlib.suppress(OSError):
            while not self._ended:
                data = source.recv(piece)
                self._held.wait()
                if not data:
                    break
                to.sendall(data)
                if pace:
                    time.sleep(len(data) / pace)
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def shutdown(self):
        """Ends every wait."""
        self._ended = True
        self._held.set()
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        for one in list(self._sockets):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Breaks all connections, and takes no more."""
        self.shutdown()
        self._listening.close()
        for one in list(self._sockets):
            one.close()
