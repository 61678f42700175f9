import eventlet

eventlet.monkey_patch()

import threading

from oslo_config import cfg
from oslo_service import service


class Worker(service.Service):
    def start(self):
        self.tg.add_thread(self.wait_for_godot)

    def wait_for_godot(self):
        print("waiting", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    cfg.CONF(project="shop")  # with backdoor_socket = /run/shop/{pid}.sock in shop.conf
    launcher = service.launch(cfg.CONF, Worker(), workers=2)
    launcher.wait()
