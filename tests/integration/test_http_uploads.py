"""Uploads while they come in: they keep nobody else waiting, and take only so much room."""

import socket
from contextlib import ExitStack
from threading import Event

import pytest
import requests

from daemon.api import limits
from daemon.api.server import HttpServer
from tests.front import FORM, FORM_END, MOST_UPLOAD, Subject, connect, make_app, serving, upload_head

TIMEOUT = 30.0
"""Less than the time that a body may take to come."""
PICTURE = FORM + b"picture" + FORM_END


def begin_upload(server: HttpServer, length: int = len(PICTURE)) -> socket.socket:
    """One whose body does not come, though somebody reads it."""
    caller = connect(server, TIMEOUT)
    caller.sendall(upload_head(length, more=("Expect: 100-continue",)))
    assert caller.recv(1024) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return caller


def extract(server: HttpServer) -> tuple[int, str]:
    answer = requests.post(server.address + "/extract/url?image_url=http://192.0.2.1/", timeout=TIMEOUT)
    return answer.status_code, answer.json()["reason"]


def upload(server: HttpServer) -> requests.Response:
    return requests.post(server.address + "/extract/upload", files={"file": b"picture"}, timeout=TIMEOUT)


def test_slow_uploads_take_nobodys_place() -> None:
    with serving(make_app(Subject(places=2))) as server, ExitStack() as stack:
        slow = [stack.enter_context(begin_upload(server)) for _ in range(5)]
        assert extract(server) == (503, "not_serving")
        assert upload(server).status_code == 503
        for caller in slow:
            caller.sendall(PICTURE)
            assert caller.recv(1024).startswith(b"HTTP/1.1 503 ")


def test_who_hangs_up_after_his_upload_leaves_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, stands = Subject(places=0), Event()
    enter = subject.line.enter

    async def enter_noted() -> None:
        stands.set()
        await enter()

    monkeypatch.setattr(subject.line, "enter", enter_noted)
    with serving(make_app(subject)) as server:
        with connect(server) as caller:
            caller.sendall(upload_head(len(PICTURE)) + PICTURE)
            assert stands.wait(TIMEOUT)
        told = subject.answered.get(timeout=TIMEOUT)
    assert (told.route, told.status, subject.line.waiting) == ("/extract/upload", 499, 0)


def test_uploads_beyond_the_room_for_them_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST_UPLOADS", 1)
    subject = Subject()
    with serving(make_app(subject)) as server:
        with begin_upload(server, MOST_UPLOAD + limits.FORM_OVERHEAD):
            crowded = [upload(server)]
            # One that does not say how long it is may be as long as any.
            chunked = {"Content-Type": "multipart/form-data; boundary=b"}
            url = server.address + "/extract/upload"
            crowded += [requests.post(url, data=iter([PICTURE]), headers=chunked, timeout=TIMEOUT)]
            for answer in crowded:
                assert (answer.status_code, answer.json()["reason"]) == (429, "too_busy")
                assert int(answer.headers["Retry-After"]) > 0
                subject.answered.get(timeout=TIMEOUT)
            assert extract(server) == (503, "not_serving")
            subject.answered.get(timeout=TIMEOUT)
        assert subject.answered.get(timeout=TIMEOUT).status == 499
        assert upload(server).status_code == 503
