"""The agent's answers at its port for Prometheus."""

import urllib.request

from cluster import until
from scene import SERVE, check, pod

SCRAPED = {"prometheus.io/scrape": "true", "prometheus.io/port": "8080", "prometheus.io/path": "/metrics"}


def scrape(cluster, name):
    """As Prometheus does, by the annotations that the pod has after injection, from outside of the mesh."""
    annotations = cluster.get("Pod", name)["metadata"]["annotations"]
    port, path = annotations["prometheus.io/port"], annotations["prometheus.io/path"]
    url = f"http://{cluster.address(name)}:{port}{path}"
    request = urllib.request.Request(url, headers={"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status, answer.headers["Content-Type"], answer.read().decode()


@check(pod("scraped", *SERVE, annotations=SCRAPED), passes=("bundle", "istio"))
def metrics_of_application_and_proxy_are_one_page(cluster):
    """One scrape under STRICT has the metrics of the application, of Envoy and of the agent; when the application is down, the rest."""
    cluster.wait_ready("scraped")
    until("the application's metrics are there", lambda: "app_up 1" in scrape(cluster, "scraped")[2], 20)
    status, kind, page = scrape(cluster, "scraped")
    assert status == 200 and "envoy_server_" in page and "istio_agent_" in page, (kind, page[:300])
    assert cluster.call("scraped", "http://127.0.0.1:8080/down").code == 0
    status, kind, page = scrape(cluster, "scraped")
    assert status == 200 and "app_up" not in page and "envoy_server_" in page, page[:300]
    failures = [line for line in page.splitlines() if line.startswith("istio_agent_scrape_failures_total") and "application" in line]
    assert failures, "the agent does not count the failed scrape"
    return f"with the application down: 200, {failures[0]}"


@check(pod("openmetrics", *SERVE, "-openmetrics", annotations=SCRAPED))
def open_metrics_end_once(cluster):
    """If the application speaks OpenMetrics, the merged page is OpenMetrics with a single end marker."""
    cluster.wait_ready("openmetrics")
    status, kind, page = scrape(cluster, "openmetrics")
    assert status == 200 and kind.startswith("application/openmetrics-text"), kind
    assert page.count("# EOF") == 1 and page.rstrip().endswith("# EOF") and "app_up 1" in page, page[-200:]
    return kind


@check(pod("separate", *SERVE, annotations={**SCRAPED, "prometheus.istio.io/merge-metrics": "false"}))
def metrics_are_apart_where_merging_is_off(cluster):
    """The contrast: with `prometheus.istio.io/merge-metrics: false` the annotations stay, and under STRICT nothing can scrape the metrics."""
    cluster.wait_ready("separate")
    assert cluster.get("Pod", "separate")["metadata"]["annotations"]["prometheus.io/port"] == "8080"
    try:
        scrape(cluster, "separate")
    except OSError as error:
        return f"refused: {error}"
    raise AssertionError("the application's own port is scraped without an identity")
