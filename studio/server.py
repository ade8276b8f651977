"""The studio's routes: what the page asks for, in the order in which a visitor meets it."""
import asyncio
import base64
import contextlib
import functools
import io
import json
import time
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from runtime.errors import UserError
from studio import recipe as recipes
from studio import uploads
from studio.asked import VARIATIONS, asked
from studio.classes import classes, legend
from studio.guard import Bodies, Guard, Refused
from studio.queue import ENDS, Full

STATIC = Path(__file__).parent / "static"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}
PICTURES = ("image/png", "image/jpeg", "image/webp")
PHOTO, MASK, JSON = 20_000_000, 4_000_000, 4_000_000                   # bytes of a body
LISTENERS = 32                        # pages that may watch at a time
WEEK = {"Cache-Control": "private, max-age=604800, immutable"}        # of what an id stands for for ever


class Studio:
    """What the routes share. painter: studio.painter.Painter; queue: its Queue; shelf, results: what can be shown."""

    def __init__(self, painter, queue, shelf, results):
        self.painter, self.queue, self.shelf, self.results = painter, queue, shelf, results
        self.size, self.bodies, self.watching = (painter.height, painter.width), Bodies(), 0
        self.files = {path.name: (path.read_bytes(), TYPES[path.suffix]) for path in STATIC.iterdir() if path.suffix in TYPES}
        self.decoding = None                                           # a semaphore, once there is a loop

    # ------------------------------------------------------------------------------------------ the page

    async def page(self, request):
        """GET / and GET /static/NAME: from memory, so that no path of a request meets the disk."""
        name = request.path_params.get("name", "index.html")
        if name not in self.files:
            raise Refused(404, "no such page")
        data, kind = self.files[name]
        return Response(data, media_type=kind, headers={"Cache-Control": "no-cache"})

    async def about(self, request):
        """GET /api/studio: everything the page has to know before it is drawn."""
        painter = self.painter
        return JSONResponse({
            "width": painter.width, "height": painter.height, "classes": classes(painter.classes), "about": painter.about,
            "presets": [{"id": id_, **preset.describe()} for id_, preset in painter.presets.items()],
            "live": painter.live, "segmenter": painter.segmenter, "variations": VARIATIONS,
            "limits": {"photo": PHOTO, "mask": MASK},
            "templates": [] if painter.classes.own else self.shelf.templates(),         # masks of the challenge's classes
            "styles": self.shelf.styles(), "results": self.results.entries()})

    async def legend(self, request):
        """GET /api/legend.json: the exact colours of colour masks."""
        return JSONResponse(legend(self.painter.classes), headers={"Content-Disposition": 'attachment; filename="legend.json"'})

    # ------------------------------------------------------------------------------------------ masks

    async def template(self, request):
        """GET /api/templates/ID: class ids, one byte each."""
        ids = await run_in_threadpool(self.shelf.template, request.path_params["id"])
        if ids is None:
            raise Refused(404, "no such template")
        return Response(ids.tobytes(), media_type="application/octet-stream", headers=WEEK)

    async def open_mask(self, request):
        """POST /api/masks: a mask's file -> its class ids at the canvas's size, one byte each."""
        data = await self.bodies.read(request, MASK, ("image/png",))
        ids = await self.decoded(functools.partial(uploads.mask, classes=self.painter.classes), data)
        return Response(ids.tobytes(), media_type="application/octet-stream")

    async def segment(self, request):
        """POST /api/segment: a photo -> its mask, by the segmenter that the studio was started with."""
        if not self.painter.segmenter:
            raise Refused(409, "no segmenter: the studio was started without --segmenter")
        image = await self.decoded(uploads.photo, await self.bodies.read(request, PHOTO, PICTURES))
        found = {}

        def work(job):
            found["ids"] = self.painter.segment(image)
            return {}
        job = self.submit(work)
        while not job.ended.is_set():
            await asyncio.sleep(0.05)
        failed = [data["error"] for _, kind, data in job.since(0) if kind == "failed"]
        if "ids" not in found:
            raise Refused(500, failed[0] if failed else "cancelled")
        return Response(found["ids"].tobytes(), media_type="application/octet-stream")

    # ------------------------------------------------------------------------------------------ styles

    async def style(self, request):
        """GET /api/styles/ID."""
        image = await run_in_threadpool(self.style_image, request.path_params["id"])
        return Response(uploads.jpeg(image, 90), media_type="image/jpeg", headers=WEEK)

    async def add_style(self, request):
        """POST /api/styles: a photo -> {id, name}."""
        image = await self.decoded(uploads.photo, await self.bodies.read(request, PHOTO, PICTURES))
        return JSONResponse({"id": self.shelf.add("your picture", image), "name": "your picture", "uploaded": True}, 201)

    def style_image(self, id_):
        """The style of that id, which may be a result, or the style of one, uint8 (H, W, 3)."""
        image, result = self.shelf.style(id_), self.results.find(id_)
        data = result.jpeg if result else self.results.style(id_)
        if image is None and data is not None:
            with Image.open(io.BytesIO(data)) as picture:
                image = np.asarray(picture.convert("RGB"))
        if image is None or image.shape[:2] != self.size:
            raise Refused(404, "no such style")
        return image

    # ------------------------------------------------------------------------------------------ paintings

    async def paint(self, request):
        """POST /api/jobs: {"mask": base64 of a PNG, and the options of studio.asked.Asked} -> {"id": ...}."""
        value = parsed(await self.bodies.read(request, JSON, ("application/json",)))
        if not isinstance(value, dict) or not isinstance(value.get("mask"), str):
            raise Refused(422, "request: expected an object with a mask, the base64 of a PNG")
        wish = asked({name: option for name, option in value.items() if name != "mask"}, self.painter.presets)
        sampling = self.painter.sampling(wish)
        try:
            data = base64.b64decode(value["mask"], validate=True)
        except ValueError:
            raise Refused(422, "request: the mask is not base64") from None
        ids = await self.decoded(functools.partial(uploads.mask, classes=self.painter.classes), data)
        style = await run_in_threadpool(self.style_image, wish.style)
        job = self.submit(functools.partial(self.painting, wish=wish, sampling=sampling, ids=ids, style=style))
        return JSONResponse({"id": job.id}, 202)

    def painting(self, job, wish, sampling, ids, style):
        """One painting, in the painting thread -> what the page hears at its end."""
        start, mask_png = time.monotonic(), recipes.png_of(ids)
        images = self.painter.paint(style, mask_png, wish.names(), sampling, Watch(job, start))
        entries = []
        for name, image in zip(wish.names(), images):
            made = recipes.recipe(name, mask_png, wish.style, wish.only(name), self.painter, *self.painter.settings(sampling))
            entries.append(self.results.add(self.painter.encoded(image), mask_png, made, style, not wish.live).entry())
        return {"results": entries, "seconds": round(time.monotonic() - start, 3)}

    def submit(self, work):
        """Queues work; a full queue is a 429."""
        try:
            return self.queue.submit(work)
        except Full:
            raise Refused(429, f"the queue is full ({self.queue.length} wait), try again in a moment") from None

    def job(self, request):
        """The Job that a request names."""
        found = self.queue.find(request.path_params["id"])
        if found is None:
            raise Refused(404, "no such painting")
        return found

    async def cancel(self, request):
        """DELETE /api/jobs/ID: stops it at its next step."""
        self.queue.cancel(self.job(request))
        return JSONResponse({})

    async def events(self, request):
        """GET /api/jobs/ID/events: server-sent events until the painting ends; Last-Event-ID goes on where one stopped."""
        job, last = self.job(request), request.headers.get("last-event-id", "")
        if self.watching >= LISTENERS:
            raise Refused(429, f"too many pages watch ({LISTENERS})")
        stream = self.told(job, int(last) if last.isdigit() and len(last) < 10 else 0)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def told(self, job, serial):
        """A job's events as text."""
        loop, bell = asyncio.get_running_loop(), asyncio.Event()
        wake = functools.partial(loop.call_soon_threadsafe, bell.set)
        self.watching += 1
        job.listeners.add(wake)
        try:
            while True:
                bell.clear()
                for number, kind, data in job.since(serial):
                    serial = number
                    yield f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
                    if kind in ENDS:
                        return
                if job.ended.is_set() and not job.since(serial):       # the reader has had the end
                    return
                try:
                    await asyncio.wait_for(bell.wait(), 15)
                except asyncio.TimeoutError:
                    yield ": still here\n\n"
        finally:
            job.listeners.discard(wake)
            self.watching -= 1

    # ------------------------------------------------------------------------------------------ results

    def result(self, request):
        """The Result that a request names."""
        found = self.results.find(request.path_params["id"])
        if found is None:
            raise Refused(404, "no such result")
        return found

    async def picture(self, request):
        """GET /api/results/ID.jpg, with the recipe in its metadata."""
        found = self.result(request)
        return Response(found.jpeg, media_type="image/jpeg", headers=WEEK)

    async def result_mask(self, request):
        """GET /api/results/ID.png."""
        return Response(self.result(request).mask_png, media_type="image/png", headers=WEEK)

    async def result_recipe(self, request):
        """GET /api/results/ID.json."""
        return JSONResponse(self.result(request).recipe)

    async def keep(self, request):
        """POST /api/results/ID/keep: writes a result of live mode to the results folder."""
        found = self.result(request)
        await run_in_threadpool(self.results.keep, found)
        return JSONResponse(found.entry())

    async def decoded(self, read, data):
        """read(data, height, width) in another thread; few at a time, since photos unpack to many times their bytes."""
        self.decoding = self.decoding or asyncio.Semaphore(2)
        async with self.decoding:
            return await run_in_threadpool(read, data, *self.size)

    def routes(self):
        """The table of contents."""
        return [
            Route("/", self.page), Route("/static/{name}", self.page),
            Route("/api/studio", self.about), Route("/api/legend.json", self.legend),
            Route("/api/templates/{id}", self.template), Route("/api/masks", self.open_mask, methods=["POST"]),
            Route("/api/segment", self.segment, methods=["POST"]),
            Route("/api/styles", self.add_style, methods=["POST"]), Route("/api/styles/{id}", self.style),
            Route("/api/jobs", self.paint, methods=["POST"]), Route("/api/jobs/{id}", self.cancel, methods=["DELETE"]),
            Route("/api/jobs/{id}/events", self.events),
            Route("/api/results/{id}.jpg", self.picture), Route("/api/results/{id}.png", self.result_mask),
            Route("/api/results/{id}.json", self.result_recipe), Route("/api/results/{id}/keep", self.keep, methods=["POST"])]


class Watch:
    """What the painter tells while it works, made known to the page. The pictures it is given are not touched."""

    def __init__(self, job, start):
        self.job, self.start = job, start

    def step(self, done, total, round_, rounds, t, previews):
        """After a denoising step; previews: small uint8 images (B, h, w, 3) of the predicted z_0. Raises Cancelled."""
        self.job.stop_if_cancelled()
        self.job.publish("step", done=done, total=total, round=round_, rounds=rounds, t=round(float(t), 1),
                         seconds=round(time.monotonic() - self.start, 3), previews=[address(image, 90) for image in previews])
        time.sleep(0.001)              # Jittor holds the interpreter's lock while it computes: now the server may speak

    def round(self, round_, rounds, images):
        """At the end of a round; images: uint8 (B, H, W, 3)."""
        self.job.publish("round", round=round_, rounds=rounds, images=[address(image, 90) for image in images])


def address(image, quality):
    """An image as a data: address."""
    return "data:image/jpeg;base64," + base64.b64encode(uploads.jpeg(image, quality)).decode()


def parsed(data):
    """JSON from bytes; Refused for anything else."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Refused(422, "request: found no JSON") from None


async def wrong(request, error):
    """A UserError as its lines, the first in "error"."""
    return JSONResponse({"error": error.problems[0], "problems": error.report()}, 422)


async def refused(request, error):
    """A Refused, or a path or method that is not there, as one line."""
    if isinstance(error, Refused):
        return error.response()
    return JSONResponse({"error": f"{error.detail}".lower()}, error.status_code)


async def broken(request, error):
    """A mistake of ours: the page hears one line, the terminal has the rest."""
    return JSONResponse({"error": f"the server failed: {type(error).__name__}"}, 500)


def application(studio, hosts, port, token=None):
    """The whole as an ASGI application; queue and thread start and end with it."""
    @contextlib.asynccontextmanager
    async def lifespan(app):
        yield
        studio.queue.close()

    app = Starlette(routes=studio.routes(), lifespan=lifespan, exception_handlers={
        UserError: wrong, Refused: refused, HTTPException: refused, Exception: broken})
    return Guard(app, hosts, port, token)
