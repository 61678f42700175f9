import eventlet

eventlet.monkey_patch()

from oslo_config import cfg
from oslo_service import service, sslutils, wsgi
from wsgi_before import app

if __name__ == "__main__":
    sslutils.register_opts(cfg.CONF)
    cfg.CONF(project="shop")  # with cert_file and key_file in the section [ssl] of shop.conf
    server = wsgi.Server(cfg.CONF, "shop", app, host="127.0.0.1", port=8000, use_ssl=True)
    launcher = service.launch(cfg.CONF, server, workers=2)
    launcher.wait()
