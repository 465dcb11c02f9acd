"""The page of an explanation in headless Chromium."""

import time

import jax
import jax.numpy as jnp
import pytest

import chainlab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


class Page:
    """The page of a graph, opened and watched."""

    def __init__(self, open_page, graph, path):
        graph.to_html(path)
        self.watched = open_page(path)
        self.browser, self.all, self.silent = self.watched.browser, self.watched.all, self.watched.silent
        self.ids = {node.name: node.id for node in graph.nodes}

    def text(self, selector):
        return self.watched.one(selector).text

    def box(self, name):
        return self.watched.one(f'[data-name="n{self.ids[name]}"]')

    def key(self, key, element):
        press = "arguments[0].dispatchEvent(new KeyboardEvent('keydown', {key: arguments[1], bubbles: true}))"
        self.browser.execute_script(f"arguments[0].focus(); {press}", element, key)


def lattice(x, y):
    with jax.named_scope("inner"):
        a, b = jnp.sin(x) * y, jnp.exp(y) + x
    c, d = a * b, a / b
    return c * d + jnp.tanh(c) * x


def test_a_clicked_node_shows_its_adjoint(open_page, tmp_path):
    graph = chainlab.explain(lattice)(0.3, -1.2)
    page = Page(open_page, graph, tmp_path / "page.html")
    page.box("mul").click()
    node = graph.node("mul")
    assert page.text("#details h2") == "mul"
    assert float(page.text("#adjoint")) == pytest.approx(float(node.adjoint), rel=1e-3)
    rows = [row.text.split() for row in page.all("#details tr")]
    shown = {row[0]: row[1:] for row in rows if len(row) == 4}
    for edge in graph.outgoing[node.id]:
        numbers = [edge.local.value, float(edge.target.adjoint), float(edge.contribution)]
        assert [float(text) for text in shown[edge.target.name]] == pytest.approx(numbers, rel=1e-3)
    assert "selected" in page.box("mul").get_attribute("class")
    page.silent()


def test_a_clicked_path_is_highlighted(open_page, tmp_path):
    graph = chainlab.explain(lattice)(0.3, -1.2)
    page = Page(open_page, graph, tmp_path / "page.html")
    page.all(".path")[0].click()
    path = graph.paths("x").largest[0]
    marked = {box.get_attribute("data-name") for box in page.all(".box.marked")}
    assert marked == {f"n{node.id}" for node in path.nodes}
    assert len(page.all(".edge.marked")) == len(path.edges)
    page.all(".path")[0].click()
    assert page.all(".marked") == []
    page.silent()


def test_scopes_fold_and_open(open_page, tmp_path):
    graph = chainlab.explain(lattice)(0.3, -1.2)
    page = Page(open_page, graph, tmp_path / "page.html")
    before = len(page.all(".box"))
    page.all(".frame .toggle")[0].click()
    (scope,) = page.all(".box.scope")
    assert "inner" in scope.text
    assert len(page.all(".box")) < before
    scope.click()
    assert len(page.all(".box")) == before
    page.silent()


def test_keys_follow_edges_and_open_nodes(open_page, tmp_path):
    graph = chainlab.explain(lambda x: jnp.sin(x) * 3.0)(0.5)
    page = Page(open_page, graph, tmp_path / "page.html")
    page.key("ArrowDown", page.box("x"))
    focused = page.browser.switch_to.active_element
    assert focused.get_attribute("data-name") == f"n{page.ids['sin']}"
    page.key("Enter", focused)
    assert page.text("#details h2") == "sin"
    page.key("Escape", focused)
    assert page.all(".selected") == []
    page.silent()


def test_names_are_text_and_never_markup(open_page, tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"

    def f(tree):
        with jax.named_scope(evil):
            return jnp.sin(tree[evil]) * jnp.cos(tree[evil])

    graph = chainlab.explain(f)({evil: 2.0})
    page = Page(open_page, graph, tmp_path / "page.html")
    assert page.all("img") == []
    assert len(page.all("script")) == 2
    page.box(f"tree['{evil}']").click()
    assert page.text("#details h2") == f"tree['{evil}']"
    page.silent()


def wide(x):
    values = [x * (i + 1.0) for i in range(20)]
    for _ in range(33):
        values = [jnp.sin(values[i]) + 0.5 * values[(i + 1) % 20] for i in range(20)]
    return sum(values)


def test_two_thousand_nodes_stay_usable(open_page, tmp_path):
    graph = chainlab.explain(wide)(0.3)
    assert len(graph.nodes) >= 2000
    began = time.perf_counter()
    page = Page(open_page, graph, tmp_path / "page.html")
    built = time.perf_counter() - began
    assert built < 10, f"building and opening took {built:.1f} s"
    assert len(page.all(".box")) == len(graph.nodes)
    script = "arguments[0].dispatchEvent(new MouseEvent('click', {bubbles: true})); return performance.now()"
    box = page.box("sin.300")
    before = page.browser.execute_script("return performance.now()")
    after = page.browser.execute_script(script, box)
    assert after - before < 500
    assert page.text("#details h2") == "sin.300"
    page.silent()
