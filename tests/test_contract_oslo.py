"""oslo_config_glue: the options, and how a changed configuration reaches everybody."""

import signal

import pytest

import cotyledon

cfg = pytest.importorskip("oslo_config.cfg", reason="needs oslo.config")

from cotyledon import oslo_config_glue  # noqa: E402

HUP, TERM = signal.SIGHUP, signal.SIGTERM


@pytest.fixture
def conf():
    """A configuration of its own."""
    conf = cfg.ConfigOpts()
    conf([])
    return conf


def change(program, **values) -> None:
    """Rewrite the program's configuration file."""
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    (program.directory / "app.conf").write_text(f"[DEFAULT]\n{lines}")


# --- the options --------------------------------------------------------------------------


def test_options():
    """There are two options in the default group, both mutable."""
    ((group, options),) = oslo_config_glue.list_opts()
    assert group is None
    found = {opt.name: (type(opt), opt.default, opt.mutable) for opt in options}
    assert found == {
        "log_options": (cfg.BoolOpt, True, True),
        "graceful_shutdown_timeout": (cfg.IntOpt, 60, True),
    }


def test_listed_options_are_copies():
    """What a caller does to the listed options changes nothing here."""
    oslo_config_glue.list_opts()[0][1][0].default = "changed"
    assert oslo_config_glue.list_opts()[0][1][0].default != "changed"


def test_register_and_unregister():
    """The options can be registered, again without harm, and taken away."""
    conf = cfg.ConfigOpts()
    oslo_config_glue.register_opts(conf)
    oslo_config_glue.register_opts(conf)
    assert (conf.log_options, conf.graceful_shutdown_timeout) == (True, 60)
    oslo_config_glue.unregister_opts(conf)
    with pytest.raises(cfg.NoSuchOptError):
        _ = conf.log_options


@pytest.mark.usefixtures("fresh")
def test_setup_takes_the_timeout_up(conf):
    """setup() registers, links, and hands the configured timeout to the manager."""
    manager = cotyledon.ServiceManager()
    oslo_config_glue.register_opts(conf)
    conf.set_override("graceful_shutdown_timeout", 7)
    oslo_config_glue.setup(manager, conf)
    assert manager.graceful_shutdown_timeout == 7


@pytest.mark.usefixtures("fresh")
def test_link_alone(conf):
    """link() works with equal options that another library has registered."""
    conf.register_opts(
        [
            cfg.BoolOpt("log_options", default=True),
            cfg.IntOpt("graceful_shutdown_timeout", default=33),
        ]
    )
    manager = cotyledon.ServiceManager()
    oslo_config_glue.link(manager, conf)
    assert manager.graceful_shutdown_timeout == 33


@pytest.mark.usefixtures("fresh")
@pytest.mark.parametrize("bad", ["", "restart", None])
def test_reload_method(conf, bad):
    """The reload method is one of two words."""
    with pytest.raises(ValueError, match="reload_method"):
        oslo_config_glue.setup(cotyledon.ServiceManager(), conf, reload_method=bad)


# --- reloads ------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize(("method", "fixed"), [("reload", "blue"), ("mutate", "red")])
def test_workers_that_reload(start, method, fixed):
    """A worker's reload() sees the changed configuration; mutate leaves immutable options."""
    program = start("oslo.py", "linked", method)
    run = program.wait_for("run")
    assert run["color"] == "red"
    for color in ("blue", "green"):
        change(program, color=color, fixed="blue")
        program.signal(HUP)
        assert program.wait_for("hook")["color"] == color
        reload = program.wait_for("reload", pid=run.pid)
        assert (reload["color"], reload["fixed"]) == (color, fixed)
    change(program, color="white", fixed="white")
    program.signal(HUP, run.pid)
    assert program.wait_for("reload", pid=run.pid)["color"] == "white"
    assert program.stop() == 0


@pytest.mark.real
def test_workers_that_restart(start):
    """A worker without reload() restarts with the changed configuration."""
    program = start("oslo.py", "restarting")
    assert program.wait_for("run")["color"] == "red"
    change(program, color="blue")
    program.signal(HUP)
    assert program.wait_for("run")["color"] == "blue"
    assert program.stop() == 0


@pytest.mark.real
def test_the_configured_timeout_bounds_the_stop(start):
    """The stop takes no longer than the configuration says."""
    program = start("oslo.py", "bounded", "1")
    program.wait_for("run")
    assert program.stop() == 1


@pytest.mark.real
def test_a_changed_timeout_holds(start):
    """A timeout that was changed by a reload bounds the next stop."""
    program = start("oslo.py", "bounded", "1000")
    program.wait_for("run")
    change(program, graceful_shutdown_timeout=1)
    program.signal(HUP)
    assert program.wait_for("hook")["timeout"] == 1
    program.wait_for("run")
    assert program.stop() == 1


@pytest.mark.real
def test_a_broken_configuration_is_survived(start):
    """A file that cannot be read at a reload leaves everything as it was."""
    program = start("oslo.py", "linked", "reload")
    run = program.wait_for("run")
    (program.directory / "app.conf").write_text("[DEFAULT\nnonsense")
    program.signal(HUP)
    program.wait_for("reload", pid=run.pid)
    assert program.stop() == 0
