"""Heartbeats while the main job is busy: this package, and what else users have.

Responsible for what ``docs/heartbeats.md`` states: each subject beats against real servers while
its main job computes, blocks or sleeps, and is watched from outside. Never part of the package.
Each subject runs in a process and an environment of its own; nothing of it is changed but that
the instant of each beat is written down.
"""
