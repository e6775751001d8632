"""The local page: scores what is dropped on it, keeps nothing, and listens to nobody else."""

import html
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from starlette.testclient import TestClient

from mint_keras import formats, languages
from mint_keras.commands.score import Score, score
from mint_keras.data import images
from mint_keras.edge import bundle, page
from mint_keras.edge.photos import Looking
from mint_keras.records import InputError
from mint_keras.statistics import conformal
from tests.edge.field import photo

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
PORT = 8765
HERE = f"http://127.0.0.1:{PORT}"


def png(image: object) -> bytes:
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.fixture
def client(calibrated: Callable, detector: Path) -> Iterator[TestClient]:
    app = page.make_app(calibrated(), PORT, Looking((str(detector),)), threads=1)
    with TestClient(app, base_url=HERE, headers={"origin": HERE}) as found:
        yield found


def drop(client: TestClient, *photos: tuple[str, bytes]) -> str:
    batch = client.post("/batches").json()["batch"]
    for name, content in photos:
        assert client.post(f"/batches/{batch}/photos", params={"name": name}, content=content).status_code == 200
    return f"/batches/{batch}"


def test_photos_are_scored_and_boxed(client: TestClient, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    where = drop(
        client, ("two.png", png(photo((20, 30), (200, 30)))), ("junk.jpg", b"junk"), ("none.png", png(photo()))
    )
    text = client.get(where).text
    assert "2 of 2 faces stand out" in text
    assert "Photos with a usable face: 1 of 3, without: 2. Faces: 2." in text
    assert text.count('<rect class="box out"') == 2
    assert text.count("p 0.005, mistakes ≤ 1") == 2
    assert text.count(conformal.MARGINAL) == text.count(conformal.PICKED) == 1
    assert 'x="200.0" y="30.0" width="60.0" height="60.0"' in text
    assert 'data-row="0"' in text
    assert "cannot decode" in text
    assert "none was found" in text
    report = client.get(f"{where}/report")
    assert "attachment" in report.headers["content-disposition"]
    assert "1: two.png#1" in report.text
    assert sorted(tmp_path.rglob("*")) == before


def test_a_bundle_without_calibration(bundle_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle_folder, tmp_path / "copy")
    (copy / bundle.CALIBRATION).unlink()
    manifest = formats.read_json(copy / "manifest.json")
    del manifest["limits"]
    bundle.seal(copy, manifest)
    app = page.make_app(copy, PORT, threads=1)
    with TestClient(app, base_url=HERE, headers={"origin": HERE}) as client:
        assert "not calibrated" in client.get("/").text
        where = drop(client, ("a.png", (bundle_folder / "samples" / "member_0.png").read_bytes()))
        text = client.get(where).text
    assert "no verdict" in text
    assert '<rect class="bar"' not in text


def test_names_are_escaped(client: TestClient) -> None:
    where = drop(client, ("<script>alert(1)</script>.png", png(photo((20, 30)))), ("<b>", b"junk"))
    for text in (client.get(where).text, client.get(f"{where}/report").text):
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


def test_nothing_usable(client: TestClient) -> None:
    where = drop(client, ("junk.jpg", b"junk"))
    assert "No face could be looked at" in client.get(where).text
    assert client.get(f"{where}/report").status_code == 404


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert "http" not in answer.text.replace("http-equiv", "")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    for asset in ("/page.js", "/style.css"):
        found = client.get(asset)
        assert found.status_code == 200
        assert "http" not in found.text
        assert found.headers["x-content-type-options"] == "nosniff"
    assert client.get("/../page.py").status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80", ""])
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    answer = client.get("/", headers={"host": host})
    assert answer.status_code == 421
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("port", "host", "status"), [(80, "localhost", 200), (80, "127.0.0.1:80", 200), (81, "localhost", 421)]
)
def test_browsers_leave_out_the_port_of_http(bundle_folder: Path, port: int, host: str, status: int) -> None:
    with TestClient(page.make_app(bundle_folder, port, threads=1), base_url=f"http://127.0.0.1:{port}") as client:
        assert client.get("/", headers={"host": host}).status_code == status


def test_the_same_photo_twice_counts_once(client: TestClient) -> None:
    same = png(photo((20, 30)))
    text = client.get(drop(client, ("a.png", same), ("b.png", same), ("scan.pdf", b"%PDF-1.7"))).text
    assert "Photos with a usable face: 1 of 2, without: 1. Faces: 1. Other files, not looked at: 1." in text
    assert "the same photo as a.png" in text
    assert "a PDF, whose pictures are not read" in text


@pytest.mark.parametrize("code", languages.NAMES)
def test_the_page_is_in_a_language_and_its_numbers_are_the_same(bundle_folder: Path, code: str) -> None:
    app = page.make_app(bundle_folder, PORT, Looking(is_aligned=True, anyway=True, language=code), threads=1)
    with TestClient(app, base_url=HERE, headers={"origin": HERE}) as client:
        empty = client.get("/").text
        face = (bundle_folder / "samples" / "member_0.png").read_bytes()
        where = drop(client, ("a.png", face), ("b.png", face), ("c.png", b"junk"))
        found, saved = client.get(where).text, client.get(f"{where}/report").text
        gone = client.get("/batches/gone").text
    assert bool(re.search("forgotten", gone)) == (code == languages.ENGLISH)
    assert f'<html lang="{code}">' in empty
    assert f'<html lang="{code}">' in saved
    messages = json.loads(html.unescape(re.findall("data-messages='(.*?)'", empty)[0]))
    assert all("{0}" in message for message in messages.values())
    assert (messages["looking"] == page._MESSAGES["looking"]) == (code == languages.ENGLISH)
    aside = r"<style>.*?</style>|1,234\.5|<svg.*?</svg>|[0-9a-f]{64}|href=\"\S*\""
    shown = re.sub(aside, "", html.unescape(found + saved), flags=re.DOTALL)
    assert "a.png" in shown
    numbers = sorted(re.findall(r"\d[\d.,]*\d|\d", shown))
    assert numbers == NUMBERS.setdefault("page", numbers)
    if code != languages.ENGLISH:
        words = re.sub("<[^>]*>", " ", empty + found + saved)
        assert not re.search(r"\b(photos? (was|were)|people who|the same photo|Save it|of scan)\b", words)


NUMBERS: dict[str, list[str]] = {}  # of the language that came first


def test_scores_that_mean_nothing_are_not_shown() -> None:
    grey = png(photo())
    app = page.make_app(Path("lab"), PORT, Looking(is_aligned=True), threads=1)
    with TestClient(app, base_url=HERE, headers={"origin": HERE}) as client:
        text = client.get(drop(client, ("a.png", grey))).text
    assert "No scores: 1 of 1 faces look unlike" in text
    assert '<rect class="box"' in text
    assert "score as high" not in text


def test_localhost_is_this_machine(client: TestClient) -> None:
    assert client.get("/", headers={"host": f"localhost:{PORT}"}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", f"https://127.0.0.1:{PORT}", f"http://localhost:{PORT}"]
)
def test_changes_asked_for_by_other_pages_are_refused(client: TestClient, origin: str) -> None:
    where = drop(client, ("a.png", png(photo((20, 30)))))
    assert client.post("/batches", headers={"origin": origin}).status_code == 403
    assert client.post(f"{where}/photos", content=b"x", headers={"origin": origin}).status_code == 403
    assert client.delete(where, headers={"origin": origin}).status_code == 403
    assert client.get(where).status_code == 200


def test_limits(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    where = drop(client)
    monkeypatch.setattr(page, "MAX_BYTES", 1000)
    assert client.post(f"{where}/photos", content=b"x" * 1001).status_code == 413
    chunks = (b"x" * 100 for _ in range(11))  # of no length said beforehand
    assert client.post(f"{where}/photos", content=chunks).status_code == 413
    monkeypatch.setattr(page, "MAX_PHOTOS", 2)
    codes = [client.post(f"{where}/photos", content=b"x").status_code for _ in range(3)]
    assert codes == [200, 200, 413]


def test_batches_are_forgotten(client: TestClient) -> None:
    first = drop(client, ("a.png", png(photo((20, 30)))))
    assert client.delete(first).status_code == 204
    assert client.get(first).status_code == 404
    oldest, *others = [drop(client, ("a.png", png(photo((20, 30))))) for _ in range(page.MAX_BATCHES + 1)]
    assert client.get(oldest).status_code == 404
    assert all(client.get(where).status_code == 200 for where in others)


def test_wrong_options(bundle_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="or --serve"):
        score(Score(bundle_folder, ("a.png",), serve=True))
    with pytest.raises(InputError, match="free port"):
        score(Score(bundle_folder, serve=True, port=70000))
    with pytest.raises(InputError, match=r"manifest\.json"):
        score(Score(tmp_path, serve=True, port=0))


@pytest.fixture
def served(bundle_folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """The script itself, on a free port."""
    command = [sys.executable, "scripts/score.py", "--bundle", str(bundle_folder), "--serve", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    yield process, line.split()[1]
    process.kill()
    process.communicate()


def test_it_ends_with_0_on_ctrl_c(served: tuple[subprocess.Popen, str]) -> None:
    process, url = served
    assert url.startswith("http://127.0.0.1:")
    for _ in range(50):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
            break
        except OSError:
            time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "nothing was kept" in output
    assert "Traceback" not in errors


@pytest.fixture
def browser() -> Iterator[Any]:
    """Chromium without a window; `.ci/run` installs it, Playwright, and axe-core."""
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -r requirements-dev.txt")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with sync.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def dropped(bundle_folder: Path, tmp_path: Path) -> list[Path]:
    images.write_png(tmp_path / "photo.png", photo())
    return [*(bundle_folder / "samples" / f"{name}_0.png" for name in ("member", "external")), tmp_path / "photo.png"]


@pytest.mark.slow
def test_in_a_browser(served: tuple[subprocess.Popen, str], browser: Any, dropped: list[Path], tmp_path: Path) -> None:
    """Drops photos, sees a box over each, downloads the report; the page asks this machine only and logs no error."""
    _, url = served
    tab = browser.new_page()
    asked, said = [], []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.goto(url)
    tab.set_input_files("#choose", dropped)
    tab.wait_for_selector("#report")
    assert tab.locator(".photo rect.box").count() == 2
    tab.wait_for_function("[...document.querySelectorAll('.photo image')].every((i) => i.getAttribute('href'))")
    assert "none was found" in tab.locator(".photo").nth(2).inner_text()
    with tab.expect_download() as download:
        tab.click("#report")
    download.value.save_as(tmp_path / "report.html")
    assert "1: member_0.png" in (tmp_path / "report.html").read_text()
    assert all(address.startswith((url, f"blob:{url}", "data:")) for address in asked)
    assert said == []


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1100, "light"), (390, "dark")])
def test_everybody_can_read_and_use_it(
    served: tuple[subprocess.Popen, str], browser: Any, dropped: list[Path], tmp_path: Path, width: int, scheme: str
) -> None:
    """By axe-core (contrasts, names, landmarks), by keyboard, and as wide as a phone."""
    if not AXE.is_file():
        pytest.skip(f"needs axe-core at {AXE}: npm install --no-save axe-core@4.14.1")
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, bypass_csp=True)
    tab = context.new_page()
    # Before anything else: a busy browser may open what is asked for before it knows that somebody waits for it.
    tab.on("filechooser", lambda chooser: chooser.set_files(dropped))

    def check(where: str) -> None:
        tab.evaluate(AXE.read_text())
        found = tab.evaluate("axe.run()")
        assert len(found["passes"]) > 10
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == [], where
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), where

    tab.goto(served[1])
    check("empty")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "choose"
    tab.keyboard.press("Space")
    tab.wait_for_selector("#report")
    # Whoever reads by ear is where the results begin, and the report is the next stop.
    assert tab.evaluate("document.activeElement.id") == "results"
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "report"
    check("results")
    with tab.expect_download() as download:
        tab.keyboard.press("Enter")
    download.value.save_as(tmp_path / "report.html")
    tab.goto(f"file://{tmp_path / 'report.html'}")
    check("report")
