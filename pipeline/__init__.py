"""The search itself, and on top of it the faces that people use.

The route of one architecture:

1. ``controllers`` draw the decisions of a ``spaces`` search space: a proposal.
2. The space decodes them into a ``genotype``: plain data with a digest.
3. ``networks`` builds the genotype; ``training`` trains it and scores it on held-out images.
4. The reward goes back to the controller, which learns: the next policy version.

``config`` says what a search is, ``settings`` what this machine is. What happens when is the
business of ``tasks`` (the queue) and ``db`` (the record); ``machine`` runs the processes of one
computer, and ``cli`` is the ``nasnet`` command. Nothing is imported here, so that the command
line starts at once.
"""
