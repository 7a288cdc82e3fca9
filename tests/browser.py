"""A headless Chromium that is told what to do, through the WebDriver protocol that its driver speaks."""

from __future__ import annotations

import base64
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""How the protocol (W3C WebDriver, 11) names an element."""


def missing() -> str | None:
    """What is not installed here; None where a browser can be started."""
    programs = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and no '.join(programs)} here (Debian: chromium, chromium-driver)" if programs else None


class Browser:
    """One window.

    Args:
        driver: address of the driver.
        width, height: of the window, in CSS pixels.
    """

    def __init__(self, driver: str, width: int, height: int) -> None:
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        options: dict[str, Any] = {"args": arguments, "binary": shutil.which("chromium")}
        if width < 600:  # a window is not made as narrow as a phone, a phone is
            metrics = {"width": width, "height": height, "pixelRatio": 1.0}
            options["mobileEmulation"] = {"deviceMetrics": metrics}
        else:
            arguments.append(f"--window-size={width},{height}")
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self._client = httpx2.Client(timeout=180)
        made = self._said(self._client.post(f"{driver}/session", json={"capabilities": {"alwaysMatch": wanted}}))
        self._base = f"{driver}/session/{made['sessionId']}"

    def go(self, url: str) -> None:
        """Opens a page."""
        self._post("url", url=url)

    def type(self, selector: str, text: str) -> None:
        """Types into a field; of a field for files, their paths."""
        self._post(f"element/{self._find(selector)}/value", text=text)

    def click(self, selector: str) -> None:
        """Clicks."""
        self._post(f"element/{self._find(selector)}/click")

    def run(self, script: str) -> Any:
        """What a script returns."""
        return self._post("execute/sync", script=script, args=[])

    def until(self, script: str, within_s: float = 120.0) -> Any:
        """What a script returns, once that is true."""
        deadline = time.monotonic() + within_s
        while not (found := self.run(f"return {script}")):
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {script}; the page says {self.run('return document.body.innerText')!r}")
            time.sleep(0.1)
        return found

    def screenshot(self, path: Path) -> None:
        """The whole page, from top to bottom, as a picture."""
        parameters = {"captureBeyondViewport": True}
        reply = self._post("goog/cdp/execute", cmd="Page.captureScreenshot", params=parameters)
        path.write_bytes(base64.b64decode(reply["data"]))

    def complaints(self) -> list[str]:
        """What the browser has to say against the page."""
        return [entry["message"] for entry in self._post("se/log", type="browser") if entry["level"] == "SEVERE"]

    def close(self) -> None:
        """Closes the window."""
        self._client.delete(self._base)
        self._client.close()

    def _find(self, selector: str) -> str:
        return str(self._post("element", using="css selector", value=selector)[_ELEMENT])

    def _post(self, command: str, **content: Any) -> Any:
        return self._said(self._client.post(f"{self._base}/{command}", json=content))

    @staticmethod
    def _said(reply: httpx2.Response) -> Any:
        value = reply.json()["value"]
        if reply.status_code != 200:
            raise AssertionError(f"the browser: {value['message']}")
        return value


@contextmanager
def browser(width: int, height: int) -> Iterator[Browser]:
    """A window while the context lasts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                if httpx2.get(f"{address}/status").json()["value"]["ready"]:
                    break
            except httpx2.HTTPError:
                time.sleep(0.1)
        made = Browser(address, width, height)
        try:
            yield made
        finally:
            made.close()
    finally:
        driver.terminate()
        driver.wait(30)
