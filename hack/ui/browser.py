"""A running `outrigger ui` and a headless Chromium that may talk to nothing else."""

import json
import os
import shutil
import subprocess
import unittest
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
OUTRIGGER = os.environ.get("OUTRIGGER", str(ROOT / "target/debug/outrigger"))
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
# Every wait of a test, in milliseconds.
PATIENCE = 60_000

FLAGS = [
    # Tests run as root in containers.
    "--no-sandbox",
    "--disable-dev-shm-usage",
    # The browser's own requests are not the page's.
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]


class Ui:
    """`outrigger ui` until the end of the block."""

    def __init__(self, *flags):
        self.flags = flags

    def __enter__(self):
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("OUTRIGGER_", "KUBE"))}
        self.process = subprocess.Popen(
            [OUTRIGGER, "ui", *self.flags], stdout=subprocess.PIPE, text=True, env=environment
        )
        self.link = self.process.stdout.readline().strip()
        self.origin = self.link.split("/?")[0]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Server:
    """`outrigger serve` with its page, until the end of the block."""

    def __enter__(self):
        flags = ["--standalone", "--listen=127.0.0.1:0", "--admin=127.0.0.1:0", "--admin-page", "--debug-decisions=10"]
        self.process = subprocess.Popen(
            [OUTRIGGER, "serve", *flags, "--log-format=json", "--drain-delay=0"], stderr=subprocess.PIPE, text=True
        )
        line = ""
        while '"message":"ready"' not in line:
            line = self.process.stderr.readline()
            if not line:
                raise RuntimeError("outrigger serve ended")
        fields = json.loads(line)
        self.admin, self.webhook = fields["admin"], fields["webhook"]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


class BrowserTest(unittest.TestCase):
    """Each test has a server and a browser profile of its own; a request to anything but the server fails the test."""

    @classmethod
    def setUpClass(cls):
        cls.playwright = sync_playwright().start()
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.playwright.stop()

    def setUp(self):
        self.ui = self.enterContext(Ui())
        self.requests, self.problems = [], []
        # Where pages may come from besides the playground's server.
        self.origins = [self.ui.origin + "/"]

    def open(self, width=1280, scheme="light", script=True, link=None):
        """The playground in a new profile."""
        context = self.browser.new_context(
            base_url=self.ui.origin,
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        self.addCleanup(context.close)
        context.set_default_timeout(PATIENCE)
        context.on("request", lambda request: self.requests.append(request.url))
        page = context.new_page()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: message.type == "error" and self.problems.append(message.text))
        page.on("dialog", lambda dialog: (self.problems.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(link or self.ui.link)
        page.wait_for_selector("h1:text-is('Playground')")
        return page

    def tearDown(self):
        self.assertTrue(self.requests, "no request was seen")
        foreign = [url for url in self.requests if not url.startswith(tuple(self.origins))]
        self.assertEqual(foreign, [], "requests to others")
        self.assertEqual(self.problems, [])
