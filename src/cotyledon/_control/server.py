"""The clients, among the workers.

Responsible for who may connect and how many, and for the master's time that they get. A turn of
the master's loop ends with :meth:`Server.serve`, when everything that the workers need is done;
it takes a few milliseconds, and all clients together get a part of the master's time. Never waits,
and never lets an error out: supervision does not depend on it.

The descriptors of the clients are in an epoll set of their own, which is one descriptor for the
reactor: while the clients have had their part, it is not polled.
"""

import _socket
import errno
import os
import select
import time
from collections.abc import Callable, Iterable
from logging import ERROR, INFO
from typing import Any

from cotyledon._control import wire
from cotyledon._control.clients import LONGEST_LINE, Client, TooLong
from cotyledon._control.desk import Desk
from cotyledon._control.history import Past
from cotyledon._control.requests import COMMANDS, Refused, check, read, shown
from cotyledon._core.effects import Effect
from cotyledon._core.events import Event
from cotyledon._posix.fork import FORKS
from cotyledon._posix.reactor import Reactor
from cotyledon.notices import Notice

SECOND = 1_000_000_000
MOST_CLIENTS = 32
SILENT = 10 * SECOND
"""For how long a client has asked nothing that has to make room for another one."""
TURN = SECOND // 500
"""How long clients are looked after in one turn."""
SHARE = 5
"""Clients get a fifth of the master's time."""
CREDIT = SECOND // 20
"""What they may use of it at once, if they have used nothing before."""
ACCEPT_PAUSE = SECOND
"""How long nobody is let in when no descriptor was left for the last one."""
FAREWELL = 0.2
"""Seconds that those who follow events have to take the last ones."""
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Server:
    """Speaks to the clients of one manager.

    Args:
        listener: the descriptor of the socket that they connect to.
        desk: does what they ask.
        reactor: polls for them.
        name: of the manager.
        say: takes a line for the log.
    """

    def __init__(
        self,
        listener: int,
        desk: Desk,
        reactor: Reactor,
        name: str | None,
        say: Callable[..., None],
    ) -> None:
        self._say = say
        self._listener = listener
        self._desk = desk
        self._reactor = reactor
        self._name = name
        self._pid = os.getpid()
        self._clients: dict[int, Client] = {}
        self._followers: dict[int, Client] = {}
        self._later: dict[int, int] = {}  # client -> when it has to be looked at
        self._fresh: dict[int, Client] = {}  # has been told something since the last look
        self._ready = False  # the epoll set has something
        self._credit = CREDIT
        self._credit_at = time.monotonic_ns()
        self._paused = False
        self._accept_at: int | None = None
        self._failed = False
        with FORKS.lock:
            self._epoll = select.epoll()
            FORKS.own(self._epoll.fileno())
        self._epoll.register(listener, select.EPOLLIN)
        reactor.watches.add(self._epoll.fileno(), self._wake)

    def _wake(self) -> None:
        self._ready = True

    # What the loop tells

    def before(self, events: Iterable[Event]) -> None:
        """Take note of what the core is about to take in."""
        for fields in self._guarded(self._desk.before, events) or ():
            self.tell(fields)

    def after(self, events: Iterable[Event], effects: Iterable[Effect]) -> None:
        """Take note of what the core has taken in, and of what follows."""
        self._guarded(self._desk.after, events, effects)

    def refuse(self, event: Event, why: str) -> None:
        """Take note that the core will not be told of a request."""
        self._guarded(self._desk.refuse, event, why)

    def count(self, effect: Effect) -> None:
        """Count what an effect tells."""
        self._guarded(self._desk.totals.count, effect, time.monotonic_ns())

    def tell(self, event: Notice | dict[str, Any]) -> None:
        """Remember an event, and pass it on to those who follow."""
        self._guarded(self._tell, event)

    def _tell(self, event: Notice | dict[str, Any]) -> None:
        self._desk.forget_status()
        past = self._desk.history.add(event)
        for fd, client in self._followers.items():
            client.tell(past.json)
            self._fresh[fd] = client

    def _guarded(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except Exception as error:
            if not self._failed:
                self._failed = True  # once: it may happen at every event
                self._say(ERROR, "the control socket has failed at something", exc_info=error)
            return None

    # A turn

    def serve(self) -> None:
        """Look after the clients, for a moment."""
        self._guarded(self._serve)

    def _serve(self) -> None:
        due = self._reactor.watches.alarm
        if not (self._ready or self._fresh or (due is not None)):
            return
        began = time.monotonic_ns()
        if not (self._ready or self._fresh) and due is not None and began < due:
            return
        if self._accept_at is not None and began >= self._accept_at:
            self._accept_at = None
            self._epoll.register(self._listener, select.EPOLLIN)
            self._ready = True
        if self._may_serve(began):
            now = self._look_around(began)
            self._credit -= now - began
            self._may_serve(now)
        self._set_alarm()

    def _may_serve(self, now: int) -> bool:
        """Whether clients have time left; the epoll set is polled for if so."""
        self._credit = min(CREDIT, self._credit + (now - self._credit_at) // SHARE)
        self._credit_at = now
        paused = self._credit <= 0
        if paused is not self._paused:
            self._paused = paused
            self._reactor.watches.pause(self._epoll.fileno(), paused=paused)
        return not paused

    def _look_around(self, began: int) -> int:
        """Attend to clients until there is none, or the turn is over; return the instant."""
        now = began
        for client in list(self._fresh.values()):
            client.flush()
            self._settle(client, now)
        self._fresh.clear()
        # One at a time, so that it is one request at most by which a turn is too long.
        for fd in [fd for fd, due in self._later.items() if due <= now]:
            if now < began + TURN:
                del self._later[fd]
                self._attend(self._clients[fd], 0)
                now = time.monotonic_ns()
        now = time.monotonic_ns()
        while self._ready and now < began + TURN:
            found = self._epoll.poll(0, 1)
            self._ready = bool(found)
            for fd, mask in found:
                if fd == self._listener:
                    self._accept()
                elif fd in self._clients:
                    self._attend(self._clients[fd], mask)
            now = time.monotonic_ns()
        return now

    def _set_alarm(self) -> None:
        due = min(self._later.values(), default=None)
        if self._accept_at is not None:
            due = self._accept_at if due is None else min(due, self._accept_at)
        if self._paused:
            rested = self._credit_at + (1 - self._credit) * SHARE
            due = rested if due is None else max(due, rested)
        elif self._ready or self._fresh:
            due = 0
        self._reactor.watches.alarm = due

    # Connections

    def _accept(self) -> None:
        end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, self._listener)
        try:
            with FORKS.lock:
                fd, _ = end._accept()  # type: ignore[attr-defined]
                FORKS.own(fd)
        except OSError as error:
            if error.errno in _NO_ROOM:
                self._epoll.unregister(self._listener)
                self._accept_at = time.monotonic_ns() + ACCEPT_PAUSE
                self._say(ERROR, "a client of the control socket must wait: %s", error.strerror)
            return
        finally:
            end.detach()
        os.set_blocking(fd, False)
        client = Client(fd)
        if _peer(fd)[1] not in (0, os.geteuid()):
            self._turn_away(
                client, "forbidden", "only the manager's own user and root may connect"
            )
        elif len(self._clients) >= MOST_CLIENTS and not self._make_room():
            text = f"{MOST_CLIENTS} clients are connected, which is as many as may be"
            self._turn_away(client, "busy", text)
        else:
            self._clients[fd] = client
            self._epoll.register(fd, 0)
            client.send(wire.greeting(self._name, self._pid))
            self._settle(client, client.asked_at)

    def _turn_away(self, client: Client, kind: str, text: str) -> None:
        client.send(wire.refusal(None, kind, text))
        self._close_fd(client.fd)

    def _make_room(self) -> bool:
        now = time.monotonic_ns()
        silent = [
            client
            for client in self._clients.values()
            if not client.following and not client.waiting and now - client.asked_at >= SILENT
        ]
        if not silent:
            return False
        self._close(min(silent, key=lambda client: client.asked_at))
        return True

    def _close(self, client: Client) -> None:
        fd = client.fd
        client.gone = True
        del self._clients[fd]
        for those in (self._followers, self._later, self._fresh):
            those.pop(fd, None)
        self._epoll.unregister(fd)  # by hand: a child may hold the same open file for a moment
        self._close_fd(fd)

    def _close_fd(self, fd: int) -> None:
        with FORKS.lock:
            FORKS.disown(fd)
            os.close(fd)

    # One client

    def _attend(self, client: Client, mask: int) -> None:
        """Take what a client has sent, and do one thing that it asks."""
        try:
            self._listen_to(client, mask)
        except Exception as error:
            self._say(ERROR, "a client of the control socket is let go", exc_info=error)
            client.gone = True
        if client.fd in self._clients:
            self._settle(client, time.monotonic_ns())

    def _listen_to(self, client: Client, mask: int) -> None:
        if mask & select.EPOLLOUT:
            client.flush()
        if mask & select.EPOLLIN:
            client.receive()
        if not (client.waiting or client.leaving or client.unsent or client.gone):
            self._hear(client)
        if mask & (select.EPOLLHUP | select.EPOLLERR):
            client.gone = True  # nobody is there any more to read an answer

    def _hear(self, client: Client) -> None:
        if not client.has_line or not client.spend(time.monotonic_ns()):
            return
        try:
            line = client.next_line()
        except TooLong:
            text = f"a line has more than {LONGEST_LINE} bytes"
            client.leaving = True
            client.send(wire.refusal(None, "too-long", text))
            return
        if line is not None:
            self._do(client, line)

    def _do(self, client: Client, line: bytes) -> None:
        number: int | str | None = None
        try:
            number, fields = read(line)
            request = check(fields)
            if request.do == "events":
                self._follow(client, number, request.fields["last"])
                return

            def answer(found: bytes | Refused) -> None:
                self._answer(client, number, found)

            client.waiting = True
            self._desk.do(request, answer)
            if request.do in COMMANDS:
                pid, user, _ = _peer(client.fd)
                fields = {name: one for name, one in request.fields.items() if one is not None}
                more = f": {shown(fields)}" if fields else ""
                self._say(
                    INFO, "process %d of user %d asks for a %s%s", pid, user, request.do, more
                )
        except Refused as refused:
            self._answer(client, number, refused)

    def _answer(self, client: Client, number: int | str | None, found: bytes | Refused) -> None:
        client.waiting = False
        if client.gone:
            return
        if isinstance(found, Refused):
            client.send(wire.refusal(number, found.kind, found.text))
        else:
            client.send(wire.answer(number, found))
        self._fresh[client.fd] = client
        self._reactor.watches.alarm = 0  # this may be the beginning of its wait()

    def _follow(self, client: Client, number: int | str | None, last: int) -> None:
        if client.following:
            raise Refused("bad-request", "events: this connection follows the events already")
        history = self._desk.history
        past = history.last(last) if last else []
        client.following = True
        client.prefix = wire.prefix(number)
        newest = past[-1].seq if past else 0
        client.send(wire.answer(number, b'{"next": %d, "newest": %d}' % (history.next, newest)))
        for event in past:
            client.tell(event.json)
        self._followers[client.fd] = client
        client.flush()

    def _settle(self, client: Client, now: int) -> None:
        """Poll for what a client needs next, or close it."""
        if client.lost and not client.unsent:
            lost, client.lost = client.lost, 0
            fields = {"kind": "lost", "count": lost}
            client.tell(Past(self._desk.history.next - 1, fields).json)
            client.flush()
        if client.done:
            self._close(client)
            return
        mask = client.wanted()
        if mask != client.mask:
            client.mask = mask
            self._epoll.modify(client.fd, mask)
        idle = not (client.waiting or client.leaving or client.unsent)
        if idle and client.has_line:
            self._later[client.fd] = max(now, client.allowed_at())

    # The end

    def finish(self, status: int) -> None:
        """Tell those who follow how the manager ends, and let everybody go."""
        self._guarded(self._finish, status)

    def _finish(self, status: int) -> None:
        if self._epoll.closed:
            return
        self._tell({"kind": "exit", "status": status})
        until = time.monotonic() + FAREWELL
        for client in list(self._clients.values()):
            client.flush()
            while client.unsent and not client.gone and (left := until - time.monotonic()) > 0:
                poll = select.poll()
                poll.register(client.fd, select.POLLOUT)
                poll.poll(left * 1000)
                client.flush()
            self._close(client)
        self._reactor.watches.remove(self._epoll.fileno())
        self._reactor.watches.alarm = None
        with FORKS.lock:
            FORKS.disown(self._epoll.fileno())
            self._epoll.close()


def _peer(fd: int) -> tuple[int, int, int]:
    """Return the pid, the user and the group of who has connected."""
    end = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, fd)
    try:
        found = end.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    finally:
        end.detach()
    pid, user, group = memoryview(found).cast("i")
    return pid, user & 0xFFFFFFFF, group
