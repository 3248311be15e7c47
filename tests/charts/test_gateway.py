"""The gateway: which host leads where, and what is said when it leads nowhere."""

from __future__ import annotations

import re
from typing import Any

import pytest

from slipway.helm import ChartError
from slipway.settings import ROOT
from tests.charts.rendering import Object, container, only, pod_annotations, render, render_shape


def gateway(**changes: Any) -> list[Object]:
    return render_shape("gateway", "default", **changes)


def config(objects: list[Object]) -> str:
    return only(objects, "ConfigMap")["data"]["nginx.conf"]


def service_hosts(objects: list[Object]) -> re.Pattern[str]:
    """The pattern of the hosts that are services, as Python reads it."""
    (found,) = re.findall(r"server_name ~(\S+);", config(objects))
    return re.compile(found.replace("(?<", "(?P<"))


@pytest.mark.parametrize("environment", ["dev", "qa", "stage", "prod", "local"])
def test_a_service_is_reached_by_its_name_and_its_environment(environment: str) -> None:
    found = service_hosts(gateway()).match(f"cart-2.{environment}.localhost")
    assert found
    assert found.groupdict() == {"service": "cart-2", "environment": environment}
    assert "proxy_pass http://$service.$environment.svc.cluster.local:80;" in config(gateway())


def test_a_service_is_told_whom_a_request_is_meant_for() -> None:
    text = config(gateway())
    assert "proxy_set_header Meant-For $meant_for;" in text
    assert 'default "$service.$environment";' in text
    # Where one host sets a header of its own, nginx passes on none of those above it.
    assert text.count("proxy_set_header") == text.split("server {")[0].count("proxy_set_header")


@pytest.mark.parametrize(
    "host", ["cart.kube-system.localhost", "a.cart.dev.localhost", "cart.dev.localhost.example", "cart.devXlocalhost", "cart.dev"]
)
def test_no_other_host_reaches_into_the_cluster(host: str) -> None:
    assert not service_hosts(gateway()).match(host)


def test_only_the_environments_of_the_instance_are_reached() -> None:
    pattern = service_hosts(render_shape("gateway", "minimal"))
    assert pattern.match("cart.dev.shop.example")
    assert not pattern.match("cart.prod.shop.example")


@pytest.mark.parametrize("name", ["argocd", "git", "prometheus", "alertmanager"])
def test_each_part_of_the_platform_has_a_host(name: str) -> None:
    assert f"server_name {name}.localhost;" in config(gateway())


def test_a_part_can_be_left_out_and_another_put_in() -> None:
    text = config(gateway(platform={"prometheus": None, "board": "board.tools.svc.cluster.local:80"}))
    assert "server_name prometheus.localhost;" not in text
    assert "server_name board.localhost;" in text
    assert "set $address board.tools.svc.cluster.local:80;" in text


def test_who_asks_for_an_unknown_host_is_told_what_there_is() -> None:
    (page,) = re.findall(r'return 404 "(.+)";', config(gateway()))
    assert "Nothing is called $host here" in page
    for known in ("dev, qa, stage, prod, local", "http://git.localhost", "http://argocd.localhost", "./invoke status"):
        assert known in page


def test_a_service_that_does_not_answer_is_named_with_what_to_do() -> None:
    told = config(gateway())
    assert '502 "$service in $environment gave no answer' in told
    # Load tests know by it that no service has answered: read, not imported, for the generator's libraries are not here.
    header = re.search(r'^OWN_ANSWER = "(.+)"$', (ROOT / "loadtests/generator/asking.py").read_text(), re.MULTILINE)
    assert header
    assert f'add_header {header[1]} "no answer" always;' in told.partition("location @silent")[2].partition("}")[0]
    assert "./invoke logs $service --env $environment" in config(gateway())


# What a browser is told where there is no page.
def built(**changes: Any) -> list[Object]:
    """The gateway of an instance whose Argo CD and Prometheus were built without their pages."""
    return render_shape("gateway", "without-pages", **changes)


def server(objects: list[Object], name: str) -> str:
    """The part of the configuration that is one host's."""
    (found,) = [part for part in config(objects).split("    server {\n") if f"server_name {name}" in part]
    return found


def page(objects: list[Object], name: str) -> str:
    return only(objects, "ConfigMap")["data"][f"{name}.html"]


def told_at(objects: list[Object], host: str, path: str) -> bool:
    """Whether a browser may be told something at a path of a host."""
    found = re.findall(r"location (=|~) (\S+) {\n\s+error_page 418 = @browser;", server(objects, host))
    return any(path == at if kind == "=" else re.search(at, path) for kind, at in found)


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("argocd", "/"),
        ("argocd", "/applications/argocd/catalog-dev"),
        ("prometheus", "/"),
        ("prometheus", "/graph"),
        ("prometheus", "/query"),
        ("git", "/"),
        ("git", "/app.git"),
        ("~", "/"),
    ],
)
def test_a_browser_is_told_what_there_is_where_a_page_would_be(host: str, path: str) -> None:
    assert told_at(built(), host, path)


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("argocd", "/api/v1/applications"),
        ("argocd", "/api/webhook"),
        ("argocd", "/swagger.json"),
        ("argocd", "/healthz"),
        ("prometheus", "/api/v1/query"),
        ("prometheus", "/metrics"),
        ("prometheus", "/-/ready"),
        ("prometheus", "/querying"),
        ("git", "/app.git/info/refs"),
        ("git", "/app.git/pushes"),
        ("~", "/version"),
    ],
)
def test_an_api_goes_through_unchanged_also_to_a_browser(host: str, path: str) -> None:
    assert not told_at(built(), host, path)


@pytest.mark.parametrize(("method", "accept"), [("GET", "*/*"), ("GET", ""), ("GET", "application/json"), ("POST", "text/html")])
def test_who_wants_no_page_gets_what_there_always_was(method: str, accept: str) -> None:
    (wanted,) = re.findall(r'"~(.+)" 1;', config(built()))
    for service in ("", "catalog"):
        assert re.search(wanted, f"{service} GET text/html,application/xhtml+xml,*/*;q=0.8")
        assert not re.search(wanted, f"{service} {method} {accept}")


def test_the_storefront_has_pages_of_its_own_also_for_what_goes_wrong() -> None:
    # The first expression that fits counts.
    found = re.search(r'\$browser {\n\s+default "";\n\s+"~(.+)" "";\n\s+"~.+" 1;', config(built()))
    assert found
    assert re.search(found[1], "storefront GET text/html")
    assert not re.search(found[1], "catalog GET text/html")


@pytest.mark.parametrize(("host", "instead"), [("argocd", 500), ("prometheus", 500), ("git", 404), ("~", 404)])
def test_a_page_that_is_there_and_every_other_answer_are_passed_on(host: str, instead: int) -> None:
    text = server(built(), host)
    assert re.findall(r"error_page (.+) @page;", text) == [f"{instead} =200"]
    assert text.count("proxy_intercept_errors on;") == 1
    assert text.index("location @browser") < text.index("proxy_intercept_errors on;") < text.index("location @page")


@pytest.mark.parametrize("name", ["argocd", "prometheus"])
def test_the_pages_of_a_part_that_was_pulled_are_left_to_it(name: str) -> None:
    assert "@browser" in server(built(), name)
    assert "@browser" not in server(gateway(), name)
    assert f"{name}.html" not in only(gateway(), "ConfigMap")["data"]


def test_the_page_says_what_it_is_and_where_to_look() -> None:
    told = page(built(), "argocd")
    assert "This is the API of Argo CD 3.2.11, built without its web page." in told
    for known in ("./invoke status", "./invoke board", "kubectl -n argocd get applications", 'href="/api/version"'):
        assert known in told
    assert "This is the API of Prometheus 3.9.1" in page(built(), "prometheus")
    for repository in ("app", "gitops-nonprod", "gitops-prod"):
        assert f'git clone http://<!--# echo var="http_host" -->/{repository}.git' in page(built(), "git")


@pytest.mark.parametrize("name", ["argocd", "prometheus", "git", "service"])
def test_a_page_needs_nothing_from_anywhere(name: str) -> None:
    told = page(built(), name)
    assert not re.search(r"src=|@import|url\(|<script|https?://(?!storefront|<!--#)", told)
    assert re.findall(r'<link rel="(\w+)" href="(.+?)">', told) == [("icon", "data:,")]


def test_a_changed_page_replaces_the_pod() -> None:
    key = "slipway.dev/config-sha256"
    assert pod_annotations(built())[key] != pod_annotations(built(repositories=["app"]))[key]


def test_names_are_looked_up_while_it_runs() -> None:
    assert "resolver 10.96.0.10 valid=5s" in config(gateway())
    assert "resolver 10.0.0.9 valid=5s" in config(gateway(resolver="10.0.0.9"))


def test_every_request_has_one_id_that_a_caller_may_choose() -> None:
    assert "proxy_set_header X-Request-Id $id;" in config(gateway())
    (allowed,) = re.findall(r'"~(\S+)" \$http_x_request_id;', config(gateway()))
    assert re.match(allowed, "3f1c-a.b_c")
    assert not re.match(allowed, 'a"b')
    assert not re.match(allowed, "a" * 129)
    # Else the gateway would log one id, and the services another.
    (taken,) = re.findall(r'_ACCEPTED = re.compile\(r"(.+)"\)', (ROOT / "services" / "chassis" / "context.py").read_text())
    assert allowed == f"^{taken}$"


def test_a_request_is_sent_once() -> None:
    assert "proxy_next_upstream off;" in config(gateway())


def test_pushes_may_have_any_size_and_are_not_collected_first() -> None:
    text = config(gateway())
    git = text[text.index("server_name git.localhost") :]
    assert "client_max_body_size 0;" in git[: git.index("location")]
    assert "proxy_request_buffering off;" in text


def test_the_host_s_port_leads_to_it() -> None:
    spec = only(gateway(), "Service")["spec"]
    assert spec["type"] == "NodePort"
    assert spec["ports"] == [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080}]


def test_a_changed_route_replaces_the_pod() -> None:
    key = "slipway.dev/config-sha256"
    assert pod_annotations(gateway())[key] != pod_annotations(gateway(environments=["dev"]))[key]


def test_a_rollout_of_the_gateway_ends_requests_before_pods() -> None:
    command = container(gateway())["lifecycle"]["preStop"]["exec"]["command"]
    assert "-s quit" in command[-1]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"image": ""}, "image is not set: say which image the gateway runs"),
        ({"image": 1}, "at '/image': got number, want string"),
        ({"nodePort": 80}, "at '/nodePort': minimum"),
        ({"nodePort": 40000}, "at '/nodePort': maximum"),
        ({"domain": "a domain"}, "at '/domain': 'a domain' does not match pattern"),
        ({"resolver": "kube-dns"}, "at '/resolver': 'kube-dns' does not match pattern"),
        ({"environments": []}, "at '/environments': minItems"),
        ({"environments": ["dev", "dev"]}, "at '/environments': items at 0 and 1 are equal"),
        ({"environments": ["dev|.*"]}, "at '/environments/0'"),
        ({"platform": {"git": "git"}}, "at '/platform/git': 'git' does not match pattern"),
        ({"platform": {"Git;": "git:80"}}, "at '/platform'"),
        ({"withoutPages": {"argocd": "<b>"}}, "at '/withoutPages/argocd': '<b>' does not match pattern"),
        ({"withoutPages": {"grafana": "1"}}, "additional properties 'grafana' not allowed"),
        ({"repositories": ["<b>"]}, "at '/repositories/0'"),
        ({"replicas": -1}, "at '/replicas': minimum"),
        ({"resources": 1}, "at '/resources'"),
    ],
)
def test_a_wrong_value_is_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ChartError) as error:
        gateway(**changes)
    assert complaint in str(error.value)


def test_the_defaults_alone_say_what_is_missing() -> None:
    with pytest.raises(ChartError, match="image is not set"):
        render("gateway", {})
