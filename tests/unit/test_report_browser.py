"""The report in a real browser: silent, self-contained, as wide as the window, and its filters work."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from saddlepoint.auditing import plan
from saddlepoint.data import Arrays
from saddlepoint.report import write_report

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "c" * 300, "javascript:alert(1)")

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium in PATH")]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models on random images, every name hostile."""
    x = np.random.default_rng(0).random((40, 3, 6, 6), dtype=np.float32)
    models = {}
    for seed, name in enumerate(HOSTILE[:2]):
        net = nn.Sequential(nn.Flatten(), nn.Linear(108, 4))
        noise = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=noise))
        models[name] = net
    y = models[HOSTILE[0]](torch.from_numpy(x)).argmax(1).numpy()
    data = Arrays(HOSTILE[1], x, y, HOSTILE)
    folder = tmp_path_factory.mktemp("browser")
    run = plan(model=models, data=data, threat="linf:0.1", limit=20, out=folder, command=HOSTILE[0]).run(report=False)
    return write_report(run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield made
        made.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_in_silence(browser: Any, report: Path, width: int, scheme: str) -> None:
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    heard: list[str] = []
    asked: list[str] = []
    tab.on("console", lambda message: heard.append(message.text))
    tab.on("pageerror", lambda error: heard.append(str(error)))
    tab.on("dialog", lambda dialog: (heard.append(dialog.message), dialog.dismiss()))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(report.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    tab.wait_for_timeout(200)
    assert heard == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.evaluate("document.body.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
    tab.close()


def test_the_policy_holds(browser: Any, report: Path) -> None:
    tab = browser.new_page()
    tab.goto(report.as_uri())
    tab.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=\"window.broken = 1\">')"
    )
    tab.wait_for_timeout(200)
    assert tab.evaluate("window.broken") is None
    tab.close()


def test_filters(browser: Any, report: Path) -> None:
    tab = browser.new_page()
    tab.goto(report.as_uri())
    visible = "#gallery article:visible"
    everything = tab.locator(visible).count()
    assert everything > 10
    for name in ("subject", "class", "outcome", "attack"):
        choice = tab.locator(f"#filters select[name={name}]")
        value = choice.locator("option").nth(1).get_attribute("value")
        choice.select_option(value)
        left = tab.locator(visible).count()
        assert 0 < left < everything or choice.locator("option").count() == 2
        assert left == tab.locator(f"#gallery article[data-{name}='{value}']").count()
        assert tab.locator("#shown").inner_text() == f"{left} of {everything}"
        choice.select_option("")
        assert tab.locator(visible).count() == everything
    tab.close()


def test_it_is_readable_without_scripts(browser: Any, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(report.as_uri())
    assert tab.locator("#gallery article:visible").count() > 10
    assert not tab.locator("#filters").is_visible()
    context.close()
