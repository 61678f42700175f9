"""The subject: a Python process that beats in a thread, and nothing else around it."""

from bench.heartbeats import inside

task = inside.told()
inside.record(task)
inside.beat_in_thread(task)
if task.broker:
    inside.serve(task)
inside.work(task)
