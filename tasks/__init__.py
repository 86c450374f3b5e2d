"""Where science meets storage: one module a task, each read, compute, one transaction, ring.

``sample``, ``train``, ``update`` and ``reconcile`` are what the system does. ``app`` holds
Celery and the names, ``slot`` what a worker process is, ``devices`` what it can train on.
"""
