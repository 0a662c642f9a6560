"""The addresses, and what is answered at each: docs/service.md has them in a table."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib.resources import files

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from fapm_cli.errors import BankError, FapmError, PictureError
from fapm_cli.serving.drawings import SHOWN, draw
from fapm_cli.serving.history import Judgement
from fapm_cli.serving.http.asking import Budget, read_asked, read_body, read_json
from fapm_cli.serving.http.events import Events
from fapm_cli.serving.http.guard import Guard
from fapm_cli.serving.http.openapi import description
from fapm_cli.serving.http.refusing import RefusedError, answer, busy
from fapm_cli.serving.served_bank import ServedBank
from fapm_cli.serving.service import Service
from fapm_cli.serving.workers import QueueFullError

_MOST_DRAWINGS = 8
_MOST_SIDE_PX = 4096
_PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}


def make_app(service: Service, events: Events, say: Callable[[str], None]) -> ASGIApp:
    """A service's application, as servers take it.

    Args:
        service: that judges.
        events: those who listen; a sink of the service already.
        say: told of faults, in lines.
    """
    app = Starlette(
        routes=[
            *(Route(path, _page) for path in _PAGE),
            Route("/healthz", _health),
            Route("/metrics", _metrics),
            Route("/openapi.json", _openapi),
            Route("/banks", _banks),
            Route("/pictures", _pictures),
            Route("/events", _events),
            Route("/banks/{bank}/score", _score, methods=["POST"]),
            Route("/banks/{bank}/pictures/{id}", _one),
            Route("/banks/{bank}/pictures/{id}/decision", _decide, methods=["POST"]),
            Route("/banks/{bank}/pictures/{id}/{what}", _shown),
        ],
        exception_handlers={RefusedError: answer, HTTPException: _other},
    )
    settings = service.settings
    app.state.service, app.state.events = service, events
    app.state.budget = Budget(max(settings.queue, 4) * settings.most_bytes)
    app.state.drawing, app.state.num_drawings = asyncio.Semaphore(1), 0
    return Guard(app, service, say)


async def _score(request: Request) -> Response:
    service, bank = _service(request), _bank(request)
    with request.app.state.budget.visit() as take:
        asked = await read_asked(request, service.settings, take)
        try:
            one = await service.judge(bank, asked.data, asked.path)
        except QueueFullError:
            raise busy() from None
        except BankError as error:
            raise RefusedError(503, str(error), "bank", {"Retry-After": "60"}) from None
    address = f"/banks/{one.bank}/pictures/{one.id}"
    status = 422 if "error" in one.record else 200
    return JSONResponse(one.record, status, {"Location": address, "X-Picture-Id": one.id})


async def _one(request: Request) -> Response:
    return JSONResponse(_found(request).to_json())


async def _shown(request: Request) -> Response:
    state, one = request.app.state, _found(request)
    what, asked = request.path_params["what"], request.query_params.get("px")
    if what not in SHOWN:
        raise RefusedError(404, f"there is no such address; wanted one of {', '.join(SHOWN)}")
    if asked is not None and not (asked.isdecimal() and 16 <= int(asked[:9]) <= _MOST_SIDE_PX):
        raise RefusedError(400, f"px: wanted 16 to {_MOST_SIDE_PX}")
    if state.num_drawings >= _MOST_DRAWINGS * 4:
        raise busy()
    state.num_drawings += 1
    try:
        async with state.drawing:  # one at a time: what judges goes first
            px = None if asked is None else int(asked)
            data = await asyncio.to_thread(draw, one, what, px)
    except PictureError as error:
        raise RefusedError(410, str(error)) from None
    finally:
        state.num_drawings -= 1
    kind = "image/png" if asked is None else "image/jpeg"
    return Response(data, 200, {"Cache-Control": "private, max-age=3600"}, kind)


async def _decide(request: Request) -> Response:
    service, one = _service(request), _found(request)
    with request.app.state.budget.visit() as take:
        body = await read_body(request, 1024, service.settings, take)
    decision = read_json(body).get("decision")
    if one.file is None:
        raise RefusedError(410, "no copy of the picture is kept, so no decision can be")
    try:
        await asyncio.to_thread(service.keep.decide, one, str(decision))
    except FapmError as error:
        raise RefusedError(409, str(error)) from None
    one.decision = str(decision)
    request.app.state.events.tell(one, "decision")
    return JSONResponse(one.to_json())


async def _pictures(request: Request) -> Response:
    service = _service(request)
    last = request.query_params.get("last", "100")
    if not last.isdecimal() or len(last) > 9:
        raise RefusedError(400, "last: wanted how many")
    found = service.history.newest(int(last), request.query_params.get("bank"))
    return JSONResponse({"pictures": [one.to_json() for one in found]})


async def _events(request: Request) -> Response:
    service = _service(request)
    missed = service.history.after(request.headers.get("last-event-id", ""))
    stream: Response = request.app.state.events.listen(request.query_params.get("bank"), missed)
    return stream


async def _banks(request: Request) -> Response:
    service = _service(request)
    banks = {name: bank.to_json() for name, bank in service.banks.items()}
    return JSONResponse({"banks": banks, "decisions": service.keep.lasting})


async def _health(request: Request) -> Response:
    service, health = _service(request), _service(request).health()
    if service.settings.token is not None and not request.scope["is_trusted"]:
        health = {"status": health["status"]}
    return JSONResponse(health)


async def _metrics(request: Request) -> Response:
    service = _service(request)
    service.metrics.inside.set(service.workers.num_inside)
    for feed in service.feeds:
        service.metrics.source(feed.name, feed.fault is None)
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def _openapi(request: Request) -> Response:
    return JSONResponse(description())


async def _page(request: Request) -> Response:
    name, kind = _PAGE[request.url.path]
    return Response(files("fapm_cli.serving").joinpath("page", name).read_bytes(), media_type=kind)


async def _other(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    said = {404: "there is no such address", 405: "this address takes another method"}
    _service(request).metrics.refuse("other")
    return JSONResponse(
        {"error": said.get(error.status_code, error.detail)}, error.status_code, error.headers
    )


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _bank(request: Request) -> ServedBank:
    service, name = _service(request), request.path_params["bank"]
    if name not in service.banks:
        raise RefusedError(404, f"there is no bank {name!r}; there are {', '.join(service.banks)}")
    return service.banks[name]


def _found(request: Request) -> Judgement:
    bank, id = _bank(request), request.path_params["id"]
    one = _service(request).history.find(bank.name, id)
    if one is None:
        raise RefusedError(404, f"picture {id!r} is not among the last ones")
    return one
