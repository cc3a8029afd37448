"""Serves the page of an index: search, watch from a second on, cut clips.

Nothing that a client sends becomes a path: a request names a file by its video's number. The file
is served only while it is unchanged since it was indexed.
"""

import contextlib
import csv
import dataclasses
import datetime
import io
import ipaddress
import math
import mimetypes
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route

from vtmask import pages
from vtmask.errors import UserError
from vtmask.search import clips
from vtmask.search.index import BY, Index, Query
from vtmask.search.moments import Filter, IndexedVideo, Moment, Seconds, clock

_FOLDER = Path(__file__).parent
_MOMENTS, _MOST = 24, 200  # moments per query: default and maximum
_TEXTS = 6  # texts at once; the page has as many colours
_NEWEST = 12  # videos shown if nothing is searched
_COOKIE = "vtmask-token"
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


@dataclasses.dataclass(frozen=True)
class Search:
    """A client's request.

    Attributes:
      queries: by the name that the page gives each.
    """

    queries: dict[str, Query]
    texts: list[str]
    like: str
    k: int
    by: str
    filter: Filter

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Returns the fields of an address that makes the same request."""
        values = {
            "like": self.like,
            "k": "" if self.k == _MOMENTS else self.k,
            "by": "" if self.by == BY[0] else self.by,
            **dataclasses.asdict(self.filter),
        }
        others = [(name, str(value)) for name, value in values.items() if value not in ("", None)]
        return [*(("q", text) for text in self.texts), *others]


def serve(index: Index, host: str, port: int) -> None:
    """Serves the page until it is stopped; clients on other machines need the token."""
    index.model.embed_text("warm up")  # so that the first query does not wait for the model
    local = _is_loopback(host)
    token = None if local else secrets.token_urlsafe(16)
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host
    shown = f"[{name}]" if ":" in name else name
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    print(f"{len(index.videos)} videos at {address}  (Ctrl-C stops it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.run(create_app(index, token), host=host, port=port, log_level="warning")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def create_app(index: Index, token: str | None = None) -> Starlette:
    """Makes the page as an ASGI application.

    Args:
      token: clients have to send it once, as `?token=…`. Without a token, requests must name this
        machine as the host, which prevents DNS rebinding.
    """
    site = _Site(index)
    routes = [
        Route("/", site.page),
        Route("/results.json", site.json),
        Route("/results.csv", site.csv),
        Route("/curve/{video:int}", site.curve),
        Route("/thumbnail/{video:int}/{second:int}", site.thumbnail),
        Route("/video/{video:int}", site.video),
        Route("/stream/{video:int}", site.stream),
        Route("/clip/{video:int}", site.clip),
        Route("/search.js", site.script),
        Route("/favicon.ico", lambda _: Response(status_code=204)),
    ]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(_Token, token=token)
            if token
            else Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
        ],
        exception_handlers={UserError: site.error, HTTPException: site.error},
    )


class _Token:
    """Lets a request pass only with the token: in the address once, then in a cookie."""

    def __init__(self, app: Callable[..., Awaitable[None]], token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope)
        if self._is_right(request.query_params.get("token", "")):
            left = [pair for pair in request.query_params.multi_items() if pair[0] != "token"]
            response: Response = RedirectResponse(f"{request.url.path}?{urlencode(left)}", 303)
            response.set_cookie(_COOKIE, self.token, httponly=True, samesite="strict")
            return await response(scope, receive, send)
        if self._is_right(request.cookies.get(_COOKIE, "")):
            return await self.app(scope, receive, send)
        message = "Open the address with the token that `vtmask serve` printed."
        await PlainTextResponse(message, 403)(scope, receive, send)

    def _is_right(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())


class _Site:
    """The handlers of requests; Starlette calls them in threads."""

    def __init__(self, index: Index):
        self.index = index

    def page(self, request: Request) -> Response:
        search = _EMPTY
        try:
            search = parse(request)
            results = self._results(search)
        except UserError as error:
            return self._html(400, problem=str(error), search=search, results={})
        return self._html(200, problem="", search=search, results=results)

    def json(self, request: Request) -> Response:
        results = [
            {"query": query, "moments": [dataclasses.asdict(moment) for moment in moments]}
            for query, moments in self._results(parse(request)).items()
        ]
        return JSONResponse(results, headers=_HEADERS)

    def csv(self, request: Request) -> Response:
        out = io.StringIO()
        writer = csv.writer(out)
        writer.writerow(["query", "rank", *(f.name for f in dataclasses.fields(Moment))])
        for query, moments in self._results(parse(request)).items():
            for rank, moment in enumerate(moments, 1):
                writer.writerow([query, rank, *dataclasses.astuple(moment)])
        headers = {"Content-Disposition": 'attachment; filename="moments.csv"', **_HEADERS}
        return Response(out.getvalue(), media_type="text/csv", headers=headers)

    def curve(self, request: Request) -> Response:
        """Returns the scores of every second of a video for each query."""
        search, video = parse(request), self._video(request)
        curves = {
            name: [round(float(s), 4) for s in self.index.scores(query, video.video)]
            for name, query in search.queries.items()
        }
        unit = self.index.card.seconds_per_feature
        return JSONResponse({"seconds_per_score": unit, "curves": curves}, headers=_HEADERS)

    def thumbnail(self, request: Request) -> Response:
        jpeg = self.index.thumbnail(request.path_params["video"], request.path_params["second"])
        if jpeg is None:
            raise HTTPException(404, "the index has no picture of this second")
        headers = {"Cache-Control": "private, max-age=86400", **_HEADERS}
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    def video(self, request: Request) -> Response:
        """Sends the video's file; supports HTTP ranges."""
        path = self._file(request)
        guessed = mimetypes.guess_type(path)[0] or ""
        # A browser must not run a file that is also a page.
        kind = guessed if guessed.startswith("video/") else "application/octet-stream"
        return FileResponse(path, media_type=kind, headers=_HEADERS | {"Cache-Control": "no-cache"})

    def stream(self, request: Request) -> Response:
        """Streams the video from a second on, in a format that every browser plays."""
        path, start = self._file(request), _number(request.query_params.get("start"), "start")
        return StreamingResponse(
            clips.stream(path, start or 0), media_type="video/mp4", headers=_HEADERS
        )

    def clip(self, request: Request) -> Response:
        """Sends a part of a video as a file to save."""
        path, query = self._file(request), request.query_params
        start, end = _number(query.get("start"), "start"), _number(query.get("end"), "end")
        if start is None or end is None or end <= start:
            raise UserError("a clip needs a start and an end in seconds, and the end must be later")
        name = f"{Path(path).stem} {start:g}-{end:g} s.mp4"
        return StreamingResponse(
            clips.stream(path, start, end),
            media_type="video/mp4",
            headers=_HEADERS
            | {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"},
        )

    def script(self, _: Request) -> Response:
        return FileResponse(_FOLDER / "search.js", headers=_HEADERS | {"Cache-Control": "no-cache"})

    def error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        message = error.detail if isinstance(error, HTTPException) else str(error)
        return PlainTextResponse(message, status, headers=_HEADERS)

    def _results(self, search: Search) -> dict[str, list[Moment]]:
        return {
            name: self.index.search(query, search.k, search.filter, search.by)  # type: ignore[arg-type]
            for name, query in search.queries.items()
        }

    def _video(self, request: Request) -> IndexedVideo:
        video = self.index.videos.get(request.path_params["video"])
        if video is None:
            raise HTTPException(404, "the index has no such video")
        return video

    def _file(self, request: Request) -> str:
        video = self._video(request)
        if why := video.changed():
            raise HTTPException(410, f"{video.path} {why}; run `vtmask index` again")
        return video.path

    def _html(self, status: int, **values: Any) -> Response:
        videos = self.index.videos.values()
        search: Search = values["search"]
        content = pages.render(
            "search/page.html.j2",
            title="Search your videos",
            by_choices=BY,
            clock=clock,
            asked=urlencode(search.fields),
            seconds=sum(video.seconds for video in videos),
            num_videos=len(videos),
            newest=sorted(videos, key=lambda video: -video.modified_ns)[:_NEWEST],
            most_texts=_TEXTS,
            **values,
        )
        return HTMLResponse(content, status, headers=_HEADERS)


def parse(request: Request) -> Search:
    """Parses the address of a request.

    Raises:
      UserError: a field has a wrong value.
    """
    given = request.query_params
    texts = [text.strip() for text in given.getlist("q") if text.strip()][:_TEXTS]
    by = given.get("by") or BY[0]
    if by not in BY:
        raise UserError(f"by is {by!r:.40}, expected one of {', '.join(BY)}")
    like = given.get("like", "").strip()
    queries: dict[str, Query] = {text: text for text in texts}
    if like:
        moment = _moment(like)
        queries[f"Like {clock(moment.start)}–{clock(moment.end)} of this video"] = moment
    return Search(
        queries=queries,
        texts=texts,
        like=like,
        k=min(max(int(_number(given.get("k"), "k") or _MOMENTS), 1), _MOST),
        by=by,
        filter=Filter(
            given.get("path", "").strip(),
            _day(given.get("after"), "after"),
            _day(given.get("before"), "before"),
            _number(given.get("shortest"), "shortest"),
            _number(given.get("longest"), "longest"),
        ),
    )


def _moment(text: str) -> Seconds:
    try:
        video, start, end = text.split(":")
        return Seconds(int(video), max(float(start), 0), float(end))
    except ValueError:
        raise UserError(f"like is {text!r:.40}, expected VIDEO:START:END") from None


def _number(text: str | None, name: str) -> float | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if math.isfinite(number := float(text)) and number >= 0:
            return number
    raise UserError(f"{name} is {text!r:.40}, expected a number")


def _day(text: str | None, name: str) -> datetime.date | None:
    if not text:
        return None
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{name} is {text!r:.40}, expected a day such as 2026-01-31") from None


_EMPTY = Search({}, [], "", _MOMENTS, BY[0], Filter())
