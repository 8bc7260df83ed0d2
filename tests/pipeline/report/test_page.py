"""The report of a run of forty clips in a real browser."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pyarrow.parquet as pq
import pytest
from pycocotools import mask as coco

from pipeline.demo.corpus import Corpus, write_corpus
from pipeline.driver.run import run
from pipeline.plan.options import SegmentOptions

CLIPS, FRAMES = 40, 4
DRIVER = shutil.which("chromedriver")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(not (DRIVER and BROWSER), reason="needs chromium and chromedriver")


@pytest.fixture(scope="module")
def page(ray_local: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run by the job itself: 33 clips are sound, one is cut off, six are broken."""
    folder = tmp_path_factory.mktemp("report")
    manifest = _write_manifest(write_corpus(folder))
    output = folder / "out"
    options = SegmentOptions(str(manifest), str(output), max_failed=1.0, report_clips=CLIPS)
    assert run(options) == 0
    (html,) = output.glob("_runs/*/report.html")
    made = json.loads(html.with_name("report.json").read_text())
    assert made["clips"] == {"total": CLIPS, "ok": 33, "partial": 1, "failed": 6, "this_run": CLIPS}
    assert made["track_frames"] == made["run"]["track_frames"] == pq.read_table(output / "masks").num_rows
    return html


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Chromium without a window, with its console and network kept."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chromium = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield chromium
    chromium.quit()


@pytest.fixture
def browser(driver: Any, page: Path) -> Any:
    """The page, opened anew as a file."""
    show(driver, 1280)
    driver.get_log("performance")
    driver.get_log("browser")
    driver.get(page.as_uri())
    return driver


def show(driver: Any, width: int, scheme: str = "light") -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def rows(browser: Any) -> list[str]:
    """The text of the failure table's rows that are seen."""
    found = browser.find_elements("css selector", "#failure-table tbody tr")
    return [row.text for row in found if row.is_displayed()]


def test_it_opens_offline_without_an_error(browser: Any, page: Path) -> None:
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in asked, "the log has requests"
    assert [url for url in asked if url != page.as_uri() and not url.startswith("data:")] == []


def test_the_gallery_has_a_picture_and_curves_of_every_clip_that_has_rows(browser: Any) -> None:
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('#clips article')].map(clip => "
        "[clip.dataset.kind, [...clip.querySelectorAll('img')].map(image => image.complete ? image.naturalWidth : 0), "
        "clip.querySelectorAll('.curves svg path').length])"
    )
    assert len(sizes) == CLIPS
    tracked = [one for one in sizes if one[0] != "failed"]
    assert len(tracked) == 34
    assert all(len(widths) == 4 and min(widths) == 360 and paths > 4 for _, widths, paths in tracked)
    assert "40 of 40 clips shown" in browser.find_element("id", "clips").text


def test_the_failure_table_filters(browser: Any) -> None:
    everything = rows(browser)
    assert len(everything) == 6
    box = browser.find_element("css selector", "#failures input")
    box.send_keys("emptyfile")
    assert [row.split()[1] for row in rows(browser)] == ["EmptyFile"]
    assert browser.find_element("css selector", "#failures output").text == "1 of 6 groups"
    box.clear()
    box.send_keys("nothing like it")
    assert rows(browser) == []
    box.clear()
    box.send_keys(" ")
    assert rows(browser) == everything
    browser.find_element("css selector", "#failures select").send_keys("fetch")
    assert [row.split()[:2] for row in rows(browser)] == [["fetch", "NotFound"]]


def test_the_gallery_filters_by_status_and_name(browser: Any) -> None:
    browser.find_element("css selector", "#clips select").send_keys("partial")
    seen = [one for one in browser.find_elements("css selector", "#clips article") if one.is_displayed()]
    assert ["cut-off" in one.text and "Truncated" in one.text for one in seen] == [True]


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_nothing_scrolls_sideways(browser: Any, width: int) -> None:
    show(browser, width)
    wide = browser.execute_script("const page = document.scrollingElement; return [page.scrollWidth, page.clientWidth]")
    assert wide[0] <= wide[1] <= width < wide[1] + 20, "a wide window has a scroll bar"
    outside = browser.execute_script(
        "return [...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && e.getClientRects().length && !e.closest('svg')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_stand_out_in_light_and_dark(browser: Any, scheme: str) -> None:
    show(browser, 1280, scheme)
    colours = browser.execute_script(
        "const of = (e, name) => getComputedStyle(e)[name].match(/[0-9.]+/g).slice(0, 3).map(Number);"
        "const one = (s) => document.querySelector(s);"
        "return {panel: of(one('.panel'), 'backgroundColor'), text: of(document.body, 'color'),"
        "muted: of(one('.facts'), 'color'), failed: of(one('.error b'), 'color'), link: of(one('nav a'), 'color'),"
        "axis: of(one('.curves text'), 'fill'),"
        "line: of([...document.querySelectorAll('.curves path')].find(e => e.style.stroke.includes('object')),"
        "'stroke')}"
    )
    panel = colours.pop("panel")
    assert (sum(panel) > 600) == (scheme == "light")
    line = _contrast(panel, colours.pop("line"))
    assert line > 2.5
    assert {name: value for name, value in colours.items() if _contrast(panel, value) < 4.5} == {}


def test_the_keyboard_reaches_what_a_mouse_does(browser: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(9):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.execute_script("const e = document.activeElement; return e.innerText.trim() || e.type"))
    assert reached[0] == "Skip to the figures"
    assert reached[1:5] == ["Failures", "Clips", "Slowest clips", "Configuration"]
    assert "search" in reached[5:7]
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def _contrast(first: list[float], second: list[float]) -> float:
    """WCAG's contrast of two sRGB colours."""

    def luminance(colour: list[float]) -> float:
        linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _write_manifest(corpus: Corpus) -> Path:
    """Pieces of the demo's clips, and clips that end in each way."""
    folder = corpus.manifest.parent
    entries = [json.loads(line) for line in corpus.manifest.read_text().splitlines()]
    truth = {
        (row["clip_id"], row["object_id"], row["frame_index"]): coco.toBbox(row["mask"]).tolist()
        for row in pq.read_table(corpus.truth).to_pylist()
    }
    clips = []
    for i in range(33):
        entry, start = entries[i % 3], i // 3 * 3
        boxes = {one["object_id"]: truth[entry["clip_id"], one["object_id"], start] for one in entry["objects"]}
        objects = [{"object_id": name, "box": box} for name, box in boxes.items()]
        span = {"start_frame": start, "end_frame": start + FRAMES}
        clips.append({**entry, "clip_id": f"{entry['clip_id']}-{i:02d}", **span, "objects": objects})
    (folder / "videos" / "text.mp4").write_text("no video")
    (folder / "videos" / "empty.mp4").touch()
    _cut_off(folder / "videos" / f"{entries[0]['clip_id']}.mp4", folder / "videos" / "cut.mp4")
    good = entries[0]
    clips += [
        {**good, "clip_id": "cut-off", "video_uri": "videos/cut.mp4"},
        {**good, "clip_id": "absent-1", "video_uri": "videos/absent.mp4"},
        {**good, "clip_id": "absent-2", "video_uri": "videos/gone.mp4"},
        {**good, "clip_id": "text", "video_uri": "videos/text.mp4"},
        {**good, "clip_id": "empty", "video_uri": "videos/empty.mp4"},
        {**good, "clip_id": "outside", "objects": [{"box": [5000, 10, 20, 20]}], "end_frame": FRAMES},
        {**good, "clip_id": "late", "start_frame": 5000},
    ]
    assert len(clips) == CLIPS
    manifest = folder / "forty.jsonl"
    manifest.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    return manifest


def _cut_off(video: Path, target: Path) -> None:
    """Write the video with its index first, then cut off all but its beginning."""
    with av.open(str(video)) as source, av.open(str(target), "w", options={"movflags": "faststart"}) as moved:
        stream = moved.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                moved.mux(packet)
    data = target.read_bytes()
    target.write_bytes(data[: len(data) * 7 // 10])
