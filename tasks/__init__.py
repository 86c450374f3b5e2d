"""Where science meets storage: one module a task, each read, compute, one transaction, ring.

``sample``, ``train``, ``update`` and ``reconcile`` are what the system does. ``app`` holds
Celery and the names, ``slot`` what a worker process is, ``devices`` what it can train on.
``train`` claims a run as an ``attempt``, whose ``recorder`` writes down what happens; what runs
are for is in ``work``, a module for each kind; ``probes`` ask whether a slot itself is at fault.
"""
