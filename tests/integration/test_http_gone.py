"""Callers who hang up in the middle: nobody waits for them, and nothing is made of it."""

import pytest
import structlog

from tests.front import FORM, Subject, connect, make_app, serving, upload_head

TIMEOUT = 60.0
HALVES = {
    "/extract/upload": upload_head(1000) + FORM,
    "/similar": upload_head(1000, "/similar") + FORM,
    "/process/image": b"POST /process/image HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 1000\r\n\r\n{"image_id": ',
}


@pytest.mark.parametrize("path", HALVES)
def test_who_hangs_up_in_the_middle_of_a_body_is_gone_and_no_defect(path: str) -> None:
    subject = Subject()
    with serving(make_app(subject)) as server, structlog.testing.capture_logs() as logs:
        with connect(server) as caller:
            caller.sendall(HALVES[path])
        told = subject.answered.get(timeout=TIMEOUT)
    assert (told.route, told.status) == (path, 499)
    assert [line for line in logs if line["event"] == "http.defect"] == []
