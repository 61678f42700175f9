import threading

import cotyledon


class Worker(cotyledon.Service):
    def run(self):
        self.wait_for_godot()

    def wait_for_godot(self):
        print("waiting", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    manager = cotyledon.ServiceManager(name="shop", control=True)
    manager.add(Worker, workers=2)
    manager.run()
