"""Runs a service of the inner loop (`./invoke dev`): a saved file counts at once, and one that does not start harms nobody.

    python -m live serve FOLDER COPY SOCKET    keep the service of COPY running: a copy of FOLDER, which saved files go to
    python -m live reload SOCKET               wait until what was saved serves; exit code 1, and why, when it does not start

`serve` holds the port, and sees files change by itself. A change starts a new process beside the one that serves; only when
it is up does it take the port over, and the former one ends what it has begun. A process that does not come up leaves
everything as it was. New processes are forks of this one, which has loaded the libraries (never the service's own code)
before: that is most of a start.

Only the images of the inner loop hold this package (services/Dockerfile, stage `live`); a service knows nothing of it.
"""
