"""The benchmark: this package, cotyledon 2.2.0 and a bare fork loop, side by side in one run.

Responsible for measuring what ``docs/performance.md`` states. Never part of the package, and
never imports it: each subject runs in a process of its own, with the interpreter of its own.
"""
