import eventlet

eventlet.monkey_patch()

import os
import time

from oslo_config import cfg
from oslo_service import service, wsgi


def app(environ, start_response):
    print(f"{os.getpid()} answers", flush=True)
    time.sleep(0.2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()}\n".encode()]


if __name__ == "__main__":
    cfg.CONF(project="shop")
    server = wsgi.Server(cfg.CONF, "shop", app, host="127.0.0.1", port=8000)
    launcher = service.launch(cfg.CONF, server, workers=2)
    launcher.wait()
