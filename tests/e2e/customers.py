"""Customers who never stop: it runs in a pod, asks over kept-alive connections, and counts what came back.

    python customers.py CUSTOMERS SECONDS URL...

Each customer of each URL has one connection, asks again as soon as it is answered, and opens a new connection when the
server said that it closes this one. Anything else than an answer below 500 is a lost request. It ends when /tmp/stop is
there, or after SECONDS, and prints one line of JSON: by URL, how many were answered, and how the lost ones were lost.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

STOP = Path("/tmp/stop")

# Seconds. Longer than any answer takes, shorter than anybody's patience.
PATIENCE = 10.0
# Seconds between two requests of one customer; there are many, and two cores.
PAUSE = 0.01


def customer(url: str, until: float, answered: Counter[str], lost: Counter[str]) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
    while time.monotonic() < until and not STOP.exists():
        try:
            connection.request("GET", f"{parts.path}?{parts.query}" if parts.query else parts.path)
            response = connection.getresponse()
            response.read()
            if response.status >= 500:
                lost[f"status {response.status}"] += 1
            else:
                answered[str(response.status)] += 1
        except (OSError, http.client.HTTPException) as error:
            lost[type(error).__name__] += 1
            connection.close()
        time.sleep(PAUSE)
    connection.close()


def main() -> None:
    count, seconds, urls = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    until = time.monotonic() + seconds
    found = {url: (Counter[str](), Counter[str]()) for url in urls}
    threads = [threading.Thread(target=customer, args=[url, until, *found[url]]) for url in urls for _ in range(count)]
    for thread in threads:
        thread.start()
    print("asking", flush=True)
    for thread in threads:
        thread.join()
    print(json.dumps({url: {"answered": answered, "lost": lost} for url, (answered, lost) in found.items()}), flush=True)


if __name__ == "__main__":
    main()
