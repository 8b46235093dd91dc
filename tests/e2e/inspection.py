"""What a browser finds wrong with a page, as lists of sentences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from e2e.server import AXE

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
TIMEOUT_MS = 20_000

_AXE_SCRIPT = """async tags => {
  const options = {runOnly: {type: 'tag', values: tags}, resultTypes: ['violations']};
  const result = await axe.run(document, options);
  const why = n => [n.target.join(' '), ...n.failureSummary.split('\\n').slice(1)].join(' ');
  return result.violations.flatMap(v => v.nodes.map(n => `${v.id} (${v.impact}): ${why(n)}`));
}"""

# The theme answers a change of color or size by script, after at most 300 ms; then transitions end.
_SETTLE_SCRIPT = """async () => {
  await new Promise(done => setTimeout(done, 400));
  document.getAnimations().forEach(a => { try { a.finish(); } catch { /* endless ones */ } });
}"""

_OVERFLOW_SCRIPT = """() => {
  const room = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= room) return [];
  const clipped = e => {
    for (let p = e.parentElement; p && p !== document.body; p = p.parentElement) {
      if (getComputedStyle(p).overflowX !== 'visible') return true;
    }
    return false;
  };
  const wide = [...document.body.querySelectorAll('*')].filter(e => {
    const box = e.getBoundingClientRect();
    return box.width > 0 && box.right > room + 1 && !clipped(e);
  });
  const name = e => [e.tagName.toLowerCase(), ...e.classList].join('.') + (e.id && '#' + e.id);
  const end = e => Math.round(e.getBoundingClientRect().right);
  return [`the page is ${document.documentElement.scrollWidth} px wide in ${room} px`,
          ...wide.slice(0, 5).map(e => `${name(e)} ends at ${end(e)} px`)];
}"""

_MATH_SCRIPT = """async () => {
  const marked = [...document.querySelectorAll('span.math, div.math')];
  if (!marked.length) return [];
  if (!window.MathJax?.startup?.promise) return ['MathJax did not start'];
  await MathJax.startup.promise;
  const say = e => e.textContent.trim().slice(0, 80);
  const rendered = marked.filter(e => e.querySelector('mjx-container'));
  return [
    ...marked.filter(e => !e.querySelector('mjx-container')).map(e => 'not rendered: ' + say(e)),
    ...[...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(
      e => 'error in TeX: ' + (e.getAttribute('title') || e.dataset.mjxError || say(e))),
    ...rendered.filter(e => !e.querySelector('mjx-assistive-mml math'))
      .map(e => 'no MathML for screen readers: ' + say(e)),
  ];
}"""


@dataclass
class Inspection:
    """What was found on one page; every list is empty on a good page."""

    outside_requests: list[str] = field(default_factory=list)
    failed_requests: list[str] = field(default_factory=list)
    console_errors: list[str] = field(default_factory=list)
    math: list[str] = field(default_factory=list)
    accessibility: dict[str, list[str]] = field(default_factory=dict)
    overflow: list[str] = field(default_factory=list)


def watch(page: Any, address: str, found: Inspection) -> None:
    """Log the requests and errors of a browser page into `found`."""
    host = urlsplit(address).netloc

    def on_request(request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc != host:
            found.outside_requests.append(request.url)

    def on_response(response: Any) -> None:
        if response.status >= 400:
            found.failed_requests.append(f"{response.status} {response.url}")

    def on_console(message: Any) -> None:
        if message.type == "error":
            found.console_errors.append(message.text)

    page.on("request", on_request)
    page.on("response", on_response)
    page.on("requestfailed", lambda request: found.failed_requests.append(f"failed {request.url}"))
    page.on("console", on_console)
    page.on("pageerror", lambda error: found.console_errors.append(str(error)))


def _lasting(page: Any, script: str) -> list[str]:
    """Return what a script finds wrong with the layout once the layout has come to rest."""
    found: list[str] = page.evaluate(script)
    for _ in range(4):
        if not found:
            break
        page.evaluate(_SETTLE_SCRIPT)
        found = page.evaluate(script)
    return found


def inspect(browser: Any, address: str, path: str) -> Inspection:
    """Open one page of a served site and return what is wrong with it.

    The page is looked at on a wide screen in light and in dark mode, and on a phone.

    Parameters
    ----------
    browser : playwright.sync_api.Browser
        A running browser.
    address : str
        Where the site is served.
    path : str
        The page, relative to the site.

    Returns
    -------
    Inspection
        Sentences by kind of fault.
    """
    found = Inspection()
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    watch(page, address, found)
    page.goto(address + path, wait_until="networkidle")
    found.math = page.evaluate(_MATH_SCRIPT)
    page.add_script_tag(path=str(AXE))
    found.accessibility["light"] = page.evaluate(_AXE_SCRIPT, AXE_TAGS)
    page.emulate_media(color_scheme="dark")
    page.evaluate(_SETTLE_SCRIPT)
    found.accessibility["dark"] = page.evaluate(_AXE_SCRIPT, AXE_TAGS)
    page.set_viewport_size(PHONE)
    page.evaluate(_SETTLE_SCRIPT)
    found.accessibility["phone, dark"] = page.evaluate(_AXE_SCRIPT, AXE_TAGS)
    found.overflow = _lasting(page, _OVERFLOW_SCRIPT)
    context.close()
    return found
