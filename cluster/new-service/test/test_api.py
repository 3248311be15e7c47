from __future__ import annotations

from starlette.testclient import TestClient

import main
from chassis import Identity


def test_the_front_door_says_which_service_and_where() -> None:
    service = main.create(main.OwnConfig(notice="a notice"), Identity("{{ name }}", "qa"))
    with TestClient(service.asgi) as client:
        assert client.get("/").json() == {"service": "{{ name }}", "environment": "qa", "notice": "a notice"}
