"""The control socket: see ``docs/control-protocol.md``.

Responsible for clients, from their bytes to what the core is asked, and for what is kept for them.
Imported by a manager that has a name or a control socket, and by no other one.
"""
