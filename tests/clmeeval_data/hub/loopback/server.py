"""A Hub on loopback, with real sockets.

Large files (parquet) go through LFS and are served from another host name, as the Hub does.
"""

import threading
from contextlib import contextmanager
from http.server import ThreadingHTTPServer

from tests.clmeeval_data.hub.loopback.repositories import Hub
from tests.clmeeval_data.hub.loopback.routes import Handler


@contextmanager
def serving():
    """A Hub that answers on a free port of loopback until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    hub.storage = f"http://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
