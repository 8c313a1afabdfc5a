"""A loader: the child process in which bytes from outside are fetched and decoded.

Started as `python -m daemon.loader.worker SOCKET ARENA PARENT`, with two inherited files and the parent's process id.
Several threads fetch; one picture at a time is decoded, so that it is always clear which one a death was over, and
there is a loader for each core. Urgent pictures are decoded first. The child says when a decoding begins, before a
single byte of it is looked at.

For tests of faults, the environment variable `LOADER_TEST_PLUGIN` names a module that is imported at the start. It can
plant a crash, a leak or an endless loop into the decoder of a real loader.
"""

import importlib
import logging
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from ssl import SSLContext

from daemon.errors import Reason
from daemon.loader import limits
from daemon.loader.decode import decode, make_thumbnail, prepare
from daemon.loader.fetch import Fetcher
from daemon.loader.options import LoaderOptions, from_plain
from daemon.loader.problem import LoadError
from daemon.loader.shared import Arena
from daemon.loader.transport import make_trust
from daemon.loader.turns import Turns
from daemon.loader.wire import Channel, Order, Report, Step, read_order, report_message

PLUGIN_VARIABLE = "LOADER_TEST_PLUGIN"
_STACK_BYTES = 4 * 1024 * 1024
"""Of each thread. Codecs want more than musl's default and less than glibc's 8 MiB of limited address space."""

Job = tuple[Order, int | None]
"""An order, and the open file that came with it."""


class Worker:
    """The threads of one loader."""

    def __init__(self, channel: Channel, arena: Arena, options: LoaderOptions) -> None:
        self._channel = channel
        self._arena = arena
        self._options = options
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._turns = Turns()

    def start(self) -> None:
        threading.stack_size(_STACK_BYTES)
        trust = make_trust(self._options.fetch.ca_file)
        # The parent hands out no more than `threads` that are not urgent, so those that are find a thread at once.
        for number in range(self._options.threads + self._options.urgent_threads):
            threading.Thread(target=self._serve, args=(trust,), name=f"load-{number}", daemon=True).start()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def _serve(self, trust: SSLContext) -> None:
        fetcher = Fetcher(self._options.fetch, trust)
        while True:
            self._do(fetcher, *self._jobs.get())

    def _do(self, fetcher: Fetcher, order: Order, file: int | None) -> None:
        """One image from order to report, whatever happens."""
        begun = time.monotonic()
        try:
            data = (
                _take(file, self._options.fetch.max_bytes) if file is not None else fetcher.fetch(str(order.location))
            )
        except LoadError as problem:
            self._tell(_failed(order, problem, time.monotonic() - begun))
        except MemoryError:
            self._tell(Report(step=Step.LOST, task=order.task))
        else:
            fetched = Report(step=Step.FETCHED, task=order.task, size=len(data), seconds=time.monotonic() - begun)
            self._decode(order, data, fetched)

    def _decode(self, order: Order, data: bytes, fetched: Report) -> None:
        if not self._turns.try_take():
            self._tell(fetched)
            self._turns.wait(urgent=order.urgent)
        try:
            self._tell(replace(fetched, step=Step.DECODING))
            limits.limit_processor_time(self._options.timeout_seconds * self._options.threads)
            report = self._decoded(order, data)
            # Told before the turn passes on: whoever is next may bring the process down at once.
            self._tell(report)
            if report.reason is Reason.DECODER_MEMORY:
                # With the memory gone anything may fail, and the next picture would be blamed for it. Those that wait
                # here go to another loader.
                os._exit(0)
        finally:
            self._turns.pass_on()

    def _decoded(self, order: Order, data: bytes) -> Report:
        begun = time.monotonic()
        options = self._options
        try:
            made = self._picture(data, thumbnail=order.thumbnail)
        except LoadError as problem:
            return _failed(order, problem, time.monotonic() - begun)
        except MemoryError:
            hunger = LoadError(Reason.DECODER_MEMORY, f"limit {options.memory_mb} MiB")
            return _failed(order, hunger, time.monotonic() - begun)
        if order.thumbnail:
            self._arena.put(order.slot, made)
        else:
            self._arena.write(order.slot, made)
        seconds = time.monotonic() - begun
        return Report(step=Step.LOADED, task=order.task, size=len(data), seconds=seconds, made=len(made))

    def _picture(self, data: bytes, *, thumbnail: bool) -> bytes:
        """Pixels for the model, or a JPEG for people, which fits into a slot."""
        options = self._options
        if thumbnail:
            side, most = options.thumbnail_side, self._arena.slot_bytes
            return make_thumbnail(data, side=side, most=most, max_pixels=options.max_pixels, srgb=options.srgb)
        return decode(data, size=options.input_size, max_pixels=options.max_pixels, srgb=options.srgb)

    def _tell(self, report: Report) -> None:
        try:
            self._channel.send(report_message(report))
        except OSError:
            os._exit(0)  # The parent is gone.


def _failed(order: Order, problem: LoadError, seconds: float) -> Report:
    return Report(
        step=Step.FAILED,
        task=order.task,
        reason=problem.reason,
        detail=problem.detail,
        retry_after=problem.retry_after,
        seconds=seconds,
    )


def _take(file: int, max_bytes: int) -> bytes:
    """The bytes that the parent handed over as an open file."""
    with open(file, "rb") as handed:
        size = os.fstat(file).st_size
        if size > max_bytes:
            raise LoadError(Reason.TOO_LARGE, f"{size} bytes, limit {max_bytes}")
        return handed.read(size)


def main(arguments: Sequence[str]) -> None:
    """Serve until the parent closes its end."""
    end, arena_file, parent = (int(argument) for argument in arguments)
    limits.bind_to_parent(parent)
    limits.leave_signals_to_parent()
    logging.disable(logging.CRITICAL)  # urllib3 would write whole URLs.
    channel = Channel(socket.socket(fileno=end))
    hello = channel.receive()
    if hello is None:
        return
    options = from_plain(hello)
    prepare(options.max_pixels)
    if plugin := os.environ.get(PLUGIN_VARIABLE):
        importlib.import_module(plugin)
    worker = Worker(channel, Arena(arena_file, slots=options.all_slots, size=options.input_size), options)
    worker.start()
    limits.limit_memory(options.memory_mb)
    channel.send(report_message(Report(step=Step.READY)))
    while (message := channel.receive_with_file()) is not None:
        worker.put((read_order(message[0]), message[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
    os._exit(0)  # Threads may be in the middle of something; nobody waits for it any more.
