"""A TCP relay in front of a server, whose clients' bytes pass at a pace."""

import contextlib
import socket
import threading
import time


class Relay:
    """Listens on 127.0.0.1:`port` and passes on to `target` there; `pace`: bytes a second of each connection's requests."""

    def __init__(self):
        self.pace = None
        self.target = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
                server = socket.create_connection(("127.0.0.1", self.target))
                for source, to, paced in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._copy, args=(source, to, paced), daemon=True).start()

    def _copy(self, source, to, paced):
        with contextlib.suppress(OSError):
            while True:
                pace = self.pace if paced else None
                part = source.recv(max(1, pace // 10) if pace else 1 << 16)
                if not part:
                    break
                to.sendall(part)
                if pace:
                    time.sleep(len(part) / pace)
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        """Takes no more connections."""
        self._listening.close()
