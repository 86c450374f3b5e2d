"""What command line, dashboard and notebook do alike, between those faces and the tasks.

An action takes and returns values with types. It prints nothing and parses no arguments.
"""
