"""This machine's processes: the embedded broker, and the supervisor that keeps all running."""
