"""Serves the local page: photos are dropped on it, scored on this machine, and forgotten. Needs requirements-serve.txt.

Photos stay in memory while they are scored, and results until the program ends or four other batches came.
"""

import contextlib
import hashlib
import itertools
import os
import secrets
import socket
import sys
import threading
import webbrowser
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mint_keras import languages
from mint_keras.data import images
from mint_keras.edge import report, scoring
from mint_keras.edge.bundle import SCORER, Bundle, read_bundle
from mint_keras.edge.judgement import ScoredFace
from mint_keras.edge.photos import Looking, same_photo
from mint_keras.records import InputError, Rejected, SampleTable

HOST = "127.0.0.1"
# One photo may have so many bytes, one batch so many photos: all of it is held in memory.
MAX_BYTES = 32 * 2**20
MAX_PHOTOS = 500
MAX_BATCHES = 4
_MAX_NAME = 200
# Not left to the system: where its table says otherwise, browsers refuse the script.
_ASSETS = {"page.js": "text/javascript", "style.css": "text/css"}
_OPEN = "Open {0} in a browser. Nothing leaves this machine; Ctrl-C ends it and forgets all."
# What the script says.
_MESSAGES = {
    "looking": "Looking at photo {0} of {1}: {2}",
    "left": "{0} photos were left out: at most {1} at once.",
    "large": "Too large: {0}.",
    "unread": "Not read (folders? Drop the photos that are in them): {0}.",
    "failed": "It did not work: {0}",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def serve(
    bundle: Path,
    port: int = 8765,
    looking: Looking | None = None,
    threads: int = 0,
    opens_browser: bool = True,
    address: str = HOST,
) -> None:
    """Serves the page of a bundle's folder until Ctrl-C, and opens it in a browser if wanted and this is a terminal.

    Port 0 is any that is free; 0 threads are as many as there are processors. The address is where it listens: another
    than this machine's own is for a container, and there too the page answers to this machine's names only.

    Raises:
        InputError: if the bundle cannot be used, or the port is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except (OSError, OverflowError) as error:
            given = f"--address {address} --port {port}"
            raise InputError(
                f"Expected a free port of this machine, received {given}: {error}. 0 takes any."
            ) from error
        taken = listener.getsockname()[1]
        app = make_app(bundle, taken, looking, threads)
        url = f"http://{HOST}:{taken}/"
        sys.stderr.write(languages.of((looking or Looking()).language).plain(_OPEN).format(url) + "\n")
        if opens_browser and sys.stderr.isatty():
            # The server needs a moment until it answers.
            threading.Timer(0.5, webbrowser.open, [url]).start()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, server_header=False))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[listener])


def make_app(folder: Path, port: int, looking: Looking | None = None, threads: int = 0) -> Starlette:
    """Returns the application that `serve` serves at a port, for the bundle in a folder."""
    bundle = read_bundle(folder)
    looking = (looking or Looking()).with_bundle(bundle)
    scorer = scoring.FaceScorer(bundle.path / SCORER, looking, threads or os.cpu_count() or 1)
    page = _Page(bundle, scorer, looking)
    routes = [
        Route("/", page.show),
        *(Route(f"/{name}", page.asset) for name in _ASSETS),
        Route("/batches", page.begin, methods=["POST"]),
        Route("/batches/{batch}/photos", page.add, methods=["POST"]),
        Route("/batches/{batch}", page.results),
        Route("/batches/{batch}", page.forget, methods=["DELETE"]),
        Route("/batches/{batch}/report", page.download),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_Guard, port=port)])


class _Guard(BaseHTTPMiddleware):
    """Refuses other names than this machine's, changes asked for by other pages, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        super().__init__(app)
        # Browsers leave out the port of HTTP.
        ends = (f":{port}", "") if port == 80 else (f":{port}",)
        self._hosts = {f"{name}{end}" for name in (HOST, "localhost") for end in ends}

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        host, origin = request.headers.get("host", ""), request.headers.get("origin", "")
        answer: Response
        # No other name is answered to, so that no page of the internet can ask this one anything (DNS rebinding).
        if host not in self._hosts:
            answer = JSONResponse({"error": f"Expected this machine's own page, received {host!r}."}, 421)
        # What changes something must come from the page itself.
        elif request.method not in ("GET", "HEAD") and origin != f"http://{host}":
            answer = JSONResponse({"error": f"Expected a request of this page, received one of {origin!r}."}, 403)
        else:
            answer = await call_next(request)
        answer.headers.update(_HEADERS)
        return answer


class _Photo(NamedTuple):
    """A photo that was dropped, its width and height (0 if unreadable), and its faces or why there are none.

    The content is the SHA-256 of its bytes.
    """

    name: str
    content: str
    size: tuple[int, int]
    faces: list[ScoredFace]
    error: Rejected | None


class _Page:
    """Answers requests; batches live here and nowhere else.

    Photos come one by one and are not kept: the browser draws the boxes over the file that it has anyway.
    """

    def __init__(self, bundle: Bundle, scorer: scoring.FaceScorer, looking: Looking) -> None:
        self._bundle, self._scorer, self._looking = bundle, scorer, looking
        self._batches: dict[str, list[_Photo]] = {}
        # Photos of one batch get their numbers one after the other, and all threads work on one photo.
        self._lock = threading.Lock()
        self._templates = report.environment(looking.language)
        self._say = languages.of(looking.language).say

    async def show(self, request: Request) -> Response:
        """Returns the page, still empty."""
        limits = {"bytes": MAX_BYTES, "photos": MAX_PHOTOS}
        template = self._templates.get_template("page.html")
        messages = {name: self._say(message) for name, message in _MESSAGES.items()}
        return HTMLResponse(template.render(manifest=self._bundle.manifest, limits=limits, messages=messages))

    async def asset(self, request: Request) -> Response:
        """Returns a file that the page loads."""
        name = request.url.path.removeprefix("/")
        content = (resources.files("mint_keras.edge") / "templates" / name).read_bytes()
        return Response(content, media_type=_ASSETS[name])

    async def begin(self, request: Request) -> Response:
        """Begins a batch; the oldest of too many is forgotten."""
        batch = secrets.token_urlsafe(16)
        self._batches[batch] = []
        while len(self._batches) > MAX_BATCHES:
            del self._batches[next(iter(self._batches))]
        return JSONResponse({"batch": batch})

    async def add(self, request: Request) -> Response:
        """Scores one photo, which is the body of the request and is called `?name=`."""
        batch = self._find(request)
        if len(batch) >= MAX_PHOTOS:
            raise HTTPException(413, self._say(f"Expected at most {MAX_PHOTOS} photos at once."))
        parts, size = [], 0
        # What a client says of the length of its body is not to be trusted.
        async for part in request.stream():
            size += len(part)
            if size > MAX_BYTES:
                raise HTTPException(413, self._say(f"Expected a photo of at most {MAX_BYTES // 2**20} MiB."))
            parts.append(part)
        name = request.query_params.get("name", "photo")[:_MAX_NAME]

        def score() -> str:
            with self._lock:
                # Others may have come while this one was read.
                if len(batch) >= MAX_PHOTOS:
                    return f"Expected at most {MAX_PHOTOS} photos at once."
                encoded = b"".join(parts)
                photo = _Photo(name, hashlib.sha256(encoded).hexdigest(), (0, 0), [], None)
                try:
                    if first := next((one.name for one in batch if one.content == photo.content), ""):
                        raise InputError(same_photo(first))
                    image = images.decode(encoded)
                    photo = photo._replace(size=(image.shape[1], image.shape[0]))
                    photo = photo._replace(faces=self._scorer.score_image(image, len(batch)))
                except InputError as error:
                    photo = photo._replace(error=Rejected(name, " ".join(str(error).split())))
                batch.append(photo)
                return photo.error.reason if photo.error else ""

        return JSONResponse({"error": await run_in_threadpool(score)})

    async def results(self, request: Request) -> Response:
        """Returns what is said of a batch, as a part of the page."""
        batch = self._find(request)
        made = await run_in_threadpool(self._judge, batch)
        if made is None:
            rejected = [photo.error for photo in batch if photo.error]
            return HTMLResponse(self._templates.get_template("nothing.html").render(rejected=rejected))
        judgements = iter(made.faces)
        photos = [
            {**photo._asdict(), "row": row, "faces": list(itertools.islice(judgements, len(photo.faces)))}
            for row, photo in enumerate(batch)
        ]
        drawn = None if made.is_withheld else report.histogram(made.calibration, made.faces)
        template = self._templates.get_template("results.html")
        return HTMLResponse(template.render(made=made, photos=photos, histogram=drawn))

    async def download(self, request: Request) -> Response:
        """Returns the report as a file."""
        made = await run_in_threadpool(self._judge, self._find(request))
        if made is None:
            raise HTTPException(404, self._say("Expected a batch with a scored face."))
        return HTMLResponse(report.html(made), headers={"content-disposition": 'attachment; filename="report.html"'})

    async def forget(self, request: Request) -> Response:
        """Drops a batch."""
        self._find(request)
        del self._batches[request.path_params["batch"]]
        return Response(status_code=204)

    def _judge(self, batch: list[_Photo]) -> report.PhotoScores | None:
        photos = batch.copy()
        faces = [face for photo in photos for face in photo.faces]
        if not faces:
            return None
        names = np.array([photo.name for photo in photos], np.str_)
        ids = np.array([f"{row + 1}: {name}" for row, name in enumerate(names)], np.str_)
        table = SampleTable(ids, np.full(len(names), "page"), ids, names)
        unused = [photo.error for photo in photos if photo.error]
        return scoring.judge(self._bundle, table, faces, unused, self._looking)

    def _find(self, request: Request) -> list[_Photo]:
        batch = self._batches.get(request.path_params["batch"])
        if batch is None:
            forgotten = "Expected a batch of this page, received a forgotten one. Drop the photos again."
            raise HTTPException(404, self._say(forgotten))
        return batch
