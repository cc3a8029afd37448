"""The page finds, plays and cuts indexed videos, and nothing else."""

import csv
import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from search.made import Made
from starlette.testclient import TestClient

from vtmask.search import indexing, server
from vtmask.search.index import Index
from vtmask.search.moments import Moment

TEXT = "spin the blue box"
LOCAL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def client(index: Index) -> TestClient:
    return TestClient(server.create_app(index), base_url=LOCAL)


def number(index: Index, name: str) -> int:
    (number,) = (n for n, video in index.videos.items() if video.name == name)
    return number


def pictures(data: bytes) -> Iterator[tuple[float, float]]:
    """Returns the time and grey level of a video's frames."""
    with av.open(io.BytesIO(data), "r") as container:
        for frame in container.decode(video=0):
            assert frame.time is not None
            yield frame.time, float(frame.to_ndarray(format="gray").mean())


def test_json_and_csv_equal_the_search(client: TestClient, index: Index) -> None:
    moments = index.search(TEXT, 5)
    (result,) = client.get("/results.json", params={"q": TEXT, "k": 5}).json()
    assert result["query"] == TEXT
    assert [Moment(**moment) for moment in result["moments"]] == moments
    answer = client.get("/results.csv", params={"q": [TEXT, "lift"], "k": 5})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["query"] for row in rows] == [TEXT] * 5 + ["lift"] * 5
    assert [(row["name"], float(row["start"])) for row in rows[:5]] == [
        (moment.name, moment.start) for moment in moments
    ]


def test_the_page_has_the_moments_in_order(client: TestClient, index: Index) -> None:
    page = client.get("/", params={"q": TEXT, "k": 5})
    assert page.status_code == 200
    places = [
        page.text.find(f'data-video="{m.video}" data-name="{m.name}"'.replace("'", "&#39;"))
        for m in index.search(TEXT, 5)
    ]
    assert min(places) > 0
    assert page.text.count('class="moment"') == 5
    assert "default-src 'none'" in page.text
    for outside in ("http://", "https://", "//"):
        assert f'src="{outside}' not in page.text
        assert f'href="{outside}' not in page.text


def test_input_of_users_is_escaped(client: TestClient) -> None:
    page = client.get("/", params={"q": "<script>alert(1)</script>", "path": '"><b>'})
    assert "<script>alert" not in page.text
    assert '"><b>' not in page.text


def test_without_a_query_the_newest_videos_are_shown(client: TestClient) -> None:
    page = client.get("/").text
    assert page.count('class="moment"') == 4
    assert "4 videos, 0:42 in all" in page


def test_a_search_without_results_says_so(client: TestClient) -> None:
    page = client.get("/", params={"q": TEXT, "path": "nowhere"})
    assert page.status_code == 200
    assert "No moments found" in page.text


def test_an_empty_index_has_a_page(made_copy: Made) -> None:
    index = Index(made_copy.index)
    for video in list(index.videos):
        index._tables.videos.delete(f"video = {video}")
    client = TestClient(server.create_app(index), base_url=LOCAL)
    assert "The index has no videos yet" in client.get("/").text
    assert "No moments found" in client.get("/", params={"q": TEXT}).text


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"by": "sound"}, "by is &#39;sound&#39;"),
        ({"k": "many"}, "k is &#39;many&#39;, expected a number"),
        ({"longest": "nan"}, "longest is"),
        ({"after": "yesterday"}, "after is &#39;yesterday&#39;, expected a day"),
        ({"like": "1"}, "like is &#39;1&#39;, expected VIDEO:START:END"),
        ({"like": "1:0:2"}, "has no video 1"),
    ],
)
def test_a_wrong_field_is_reported(client: TestClient, query: dict[str, str], message: str) -> None:
    page = client.get("/", params={"q": TEXT} | query)
    assert page.status_code == 400
    assert message in page.text
    assert client.get("/results.json", params={"q": TEXT} | query).status_code == 400


def test_a_curve_has_a_score_for_every_second(client: TestClient, index: Index) -> None:
    video = number(index, "old")
    scores = client.get(f"/curve/{video}", params={"q": [TEXT, "lift"]}).json()
    assert scores["seconds_per_score"] == 1
    assert list(scores["curves"]) == [TEXT, "lift"]
    np.testing.assert_allclose(scores["curves"]["lift"], index.scores("lift", video), atol=1e-4)


def test_more_like_a_moment(client: TestClient, index: Index) -> None:
    like = f"{number(index, 'old')}:3.0:5.0"
    (result,) = client.get("/results.json", params={"like": like}).json()
    assert result["moments"]
    assert client.get("/", params={"like": like}).status_code == 200


def test_thumbnails(client: TestClient, index: Index) -> None:
    video = number(index, "cake")
    levels = np.random.default_rng(1).integers(0, 256, 12)
    for second, taken in ((0, 0), (6, 6), (7, 8), (11, 10)):
        answer = client.get(f"/thumbnail/{video}/{second}")
        assert answer.headers["content-type"] == "image/jpeg"
        (shown,) = pictures(answer.content)
        assert shown[1] == pytest.approx(levels[taken], abs=6)
    assert client.get(f"/thumbnail/{video}/4000").status_code == 404


def test_files_are_served_in_ranges(client: TestClient, index: Index, made_once: Made) -> None:
    data = (made_once.videos / "cake.mp4").read_bytes()
    address = f"/video/{number(index, 'cake')}"
    complete = client.get(address)
    assert (complete.status_code, complete.headers["content-type"]) == (200, "video/mp4")
    assert complete.content == data
    part = client.get(address, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, data[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(data)}"
    assert client.get(address, headers={"Range": f"bytes={len(data)}-"}).status_code == 416


@pytest.mark.parametrize(("name", "seed"), [("cake", 1), ("old", 3)])
def test_clips_have_the_requested_seconds(
    client: TestClient, index: Index, name: str, seed: int
) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, 20 if name == "old" else 12)
    answer = client.get(f"/clip/{number(index, name)}", params={"start": 3, "end": 6})
    assert answer.headers["content-disposition"] == (
        f"attachment; filename*=utf-8''{name}%203-6%20s.mp4"
    )
    frames = list(pictures(answer.content))
    assert len(frames) == 3 * 8
    for time, level in frames:
        assert level == pytest.approx(levels[3 + int(time + 0.01)], abs=6)


def test_a_clip_keeps_its_sound(client: TestClient, index: Index) -> None:
    answer = client.get(f"/clip/{number(index, 'cake')}", params={"start": 3, "end": 6})
    with av.open(io.BytesIO(answer.content), "r") as container:
        seconds = [frame.samples / frame.sample_rate for frame in container.decode(audio=0)]
    assert sum(seconds) == pytest.approx(3, abs=0.2)


def test_a_stream_starts_at_its_second(client: TestClient, index: Index) -> None:
    answer = client.get(f"/stream/{number(index, 'old')}", params={"start": 15})
    times = [time for time, _ in pictures(answer.content)]
    assert times[0] == pytest.approx(0, abs=0.2)
    assert len(times) == 5 * 8


@pytest.mark.parametrize("query", [{}, {"start": "5", "end": "5"}, {"start": "x", "end": "7"}])
def test_a_clip_without_times_is_refused(
    client: TestClient, index: Index, query: dict[str, str]
) -> None:
    assert client.get(f"/clip/{number(index, 'old')}", params=query).status_code == 400


@pytest.mark.parametrize(
    "path",
    [
        "/video/1",
        "/video/../../etc/passwd",
        "/video/%2e%2e%2fetc%2fpasswd",
        "/video/..%2f..%2f..%2fetc%2fpasswd",
        "/video//etc/passwd",
        "/video/etc%2Fpasswd",
        "/static/../server.py",
        "/search.js/../server.py",
        "/server.py",
        "/thumbnail/1/0",
        "/video/99999999999999999999999999",
        "/video/-1",
    ],
)
def test_only_indexed_files_are_served(client: TestClient, path: str) -> None:
    for address in (path, path.replace("/video/", "/stream/")):
        answer = client.get(address)
        assert answer.status_code == 404
        assert "root:" not in answer.text


def test_a_file_that_changed_since_it_was_indexed_is_not_served(made_copy: Made) -> None:
    index = Index(made_copy.index)
    client = TestClient(server.create_app(index), base_url=LOCAL)
    cake, old = number(index, "cake"), number(index, "old")
    secret = made_copy.videos.parent / "secret"
    secret.write_text("secret")
    (made_copy.videos / "cake.mp4").unlink()
    (made_copy.videos / "cake.mp4").symlink_to(secret)
    (made_copy.videos / "old.avi").unlink()
    for what in ("video", "stream", "clip"):
        answer = client.get(f"/{what}/{cake}", params={"start": 0, "end": 2})
        assert answer.status_code == 410
        assert "has changed since it was indexed; run `vtmask index` again" in answer.text
        answer = client.get(f"/{what}/{old}", params={"start": 0, "end": 2})
        assert answer.status_code == 410
        assert "no longer exists" in answer.text


def test_a_video_that_is_also_a_page_is_not_served_as_a_page(made_copy: Made) -> None:
    page = made_copy.videos / "cake.html"
    (made_copy.videos / "cake.mp4").rename(page)
    indexing.index([str(page)], made_copy.model, made_copy.index)
    index = Index(made_copy.index)
    client = TestClient(server.create_app(index), base_url=LOCAL)
    (video,) = (n for n, v in index.videos.items() if v.path.endswith(".html"))
    answer = client.get(f"/video/{video}")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_local_server_answers_only_to_local_names(index: Index) -> None:
    app = server.create_app(index)
    for name in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
        assert TestClient(app, base_url=f"http://{name}").get("/").status_code == 200
    for name in ("evil.example", "127.0.0.1.evil.example:8000"):
        assert TestClient(app, base_url=f"http://{name}").get("/").status_code == 400


def test_a_server_on_other_hosts_needs_a_token(index: Index) -> None:
    app = server.create_app(index, token="right")
    client = TestClient(app, base_url="http://box:8000")
    for address in ("/", "/?token=wrong", f"/video/{next(iter(index.videos))}", "/search.js"):
        assert client.get(address).status_code == 403
    answer = client.get("/", params={"token": "right", "q": TEXT}, follow_redirects=False)
    assert answer.headers["location"] == "/?q=spin+the+blue+box"
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert client.get(answer.headers["location"]).status_code == 200


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_a_host_beyond_this_machine_gets_a_token(
    host: str, local: bool, index: Index, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    served: list[Any] = []
    monkeypatch.setattr(server.uvicorn, "run", lambda app, **options: served.append(options))
    server.serve(index, host, 8123)
    assert served[0]["host"] == host
    assert ("token=" in capsys.readouterr().out) is not local


@pytest.mark.parametrize("text", ["x" * 5000, "\u202e🎉\x00", "‘%00’", "a&b=c#d"])
def test_any_text_is_a_query(client: TestClient, text: str) -> None:
    assert client.get("/", params={"q": text}).status_code == 200
    assert len(client.get("/results.json", params={"q": text}).json()) == 1


def test_concurrent_clients_get_the_same_results(client: TestClient, index: Index) -> None:
    results = client.get("/results.json", params={"q": TEXT}).json()
    answers: list[Any] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(client.get("/results.json", params={"q": TEXT}).json())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [results] * 40


def test_a_broken_index_is_reported_on_one_line(made_copy: Made) -> None:
    client = TestClient(server.create_app(Index(made_copy.index)), base_url=LOCAL)
    for file in (made_copy.index / "seconds.lance" / "data").iterdir():
        file.write_bytes(b"broken")
    page = client.get("/", params={"q": TEXT})
    assert page.status_code == 400
    assert "index is damaged" in page.text
    assert f'value="{TEXT}"' in page.text  # the user need not type it again
    assert json.dumps(client.get("/results.json", params={"q": TEXT}).text).count("\\n") == 0


def test_the_files_of_the_page_exist() -> None:
    folder = Path(server.__file__).parent
    assert {"page.html.j2", "search.js"} <= set(os.listdir(folder))
