import os
import socket
import socketserver
import time
from wsgiref import simple_server

import cotyledon


def app(environ, start_response):
    print(f"{os.getpid()} answers", flush=True)
    time.sleep(0.2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}\n".encode()]


class Server(socketserver.ThreadingMixIn, simple_server.WSGIServer):
    daemon_threads = False  # server_close() waits for the requests that are being answered


class Web(cotyledon.Service):
    def __init__(self, worker_id, listening):
        super().__init__(worker_id)
        handler = simple_server.WSGIRequestHandler
        self.server = Server(listening.getsockname(), handler, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = listening
        self.server.server_name, self.server.server_port = listening.getsockname()
        self.server.setup_environ()
        self.server.set_app(app)

    def run(self):
        self.server.serve_forever(poll_interval=0.1)

    def terminate(self):
        self.server.shutdown()
        self.server.server_close()


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 8000), backlog=128)
    listening.setblocking(False)  # another worker may take what this one was told of
    manager = cotyledon.ServiceManager()
    manager.add(Web, workers=2, args=(listening,))
    manager.run()
