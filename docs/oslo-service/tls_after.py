import socket
import ssl

from oslo_config import cfg
from wsgi_after import Web

import cotyledon

CONF = cfg.CONF
CONF.register_opts([cfg.StrOpt("cert_file"), cfg.StrOpt("key_file")], "ssl")


class SecureWeb(Web):
    def __init__(self, worker_id, listening):
        super().__init__(worker_id, listening)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(CONF.ssl.cert_file, CONF.ssl.key_file)
        # The handshake is made by the thread of the request, and holds up nobody else.
        self.server.socket = context.wrap_socket(
            listening, server_side=True, do_handshake_on_connect=False
        )


if __name__ == "__main__":
    CONF(project="shop")
    listening = socket.create_server(("127.0.0.1", 8000), backlog=128)
    listening.setblocking(False)
    manager = cotyledon.ServiceManager()
    manager.add(SecureWeb, workers=2, args=(listening,))
    manager.run()
