"""The decisions: a pure state machine that takes ``(now, events)`` and returns effects.

Responsible for every decision about when a worker starts, stops, reloads or is killed. Never
imports os, time, signal, threading, socket, logging or random: time is an int of
nanoseconds that is passed in, chance is a function that is passed in, and a worker is a
number, never a pid.
"""
