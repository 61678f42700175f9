"""The worker's side: what runs in a worker process around the user's service.

Responsible for building the service, calling its methods in the right threads, and leaving in
order and in time. Never knows about other workers.
"""
