"""Serve TCP connections by a pool of threads, each with a ring of its own: what a client sends comes back.

    python examples/worker_pool.py [--port PORT] [--workers N] [--connections N]

The main thread accepts. A connection never becomes a descriptor: it is accepted into the acceptor's registered files,
passed into a worker's by a message from ring to ring, and adopted there. A worker sleeps in one wait for clients and
messages. With `--connections` it ends when so many were served, else by Ctrl-C, and says who did what.
"""

import argparse
import contextlib
import socket
import threading

import uring

SLOTS = 1024
NEW, LAST = 1, 2  # messages to a worker: a connection, its slot is the result; no more will come


class Worker(threading.Thread):
    """A thread that serves the connections that it is sent."""

    def __init__(self, number: int, acceptor: uring.Ring) -> None:
        super().__init__(name=f"worker {number}")
        self.acceptor, self.ready = acceptor, threading.Event()
        self.connections = self.bytes = self.live = 0
        self.last = self.stopped = self.gone = False

    def run(self) -> None:
        """Serve until the last connection has ended; the acceptor learns of an early end."""
        try:
            with uring.Ring(256) as self.ring:
                table = uring.RegisteredFiles(self.ring, SLOTS, kernel_slots=SLOTS)
                self.ready.set()
                while not self.stopped and (self.live or not self.last):
                    for message in self.ring.wait(1, messages=True):  # operations go to their callbacks
                        if message.user_data == NEW:
                            self.serve(table.adopt(message.res), bytearray(16 * 1024))
                        else:
                            self.last = True
                self.ring.submit()
                self.ring.close()  # cancels what is in flight
        finally:
            self.gone = True
            self.ready.set()
            self.acceptor.wake()

    def serve(self, client: uring.RegisteredFile, buffer: bytearray) -> None:
        """Send back what comes, until the client has gone."""
        self.connections += 1
        self.live += 1

        def received(recv: uring.Operation[int]) -> None:
            if recv.exception() or not recv.result():
                client.close()
                self.live -= 1
            else:
                send = self.ring.send(client, memoryview(buffer)[: recv.result()], socket.MSG_WAITALL)
                send.add_done_callback(sent)

        def sent(send: uring.Operation[int]) -> None:
            self.bytes += 0 if send.exception() else send.result()
            self.ring.recv(client, buffer).add_done_callback(received)

        self.ring.recv(client, buffer).add_done_callback(received)


def accept_all(ring: uring.Ring, listener: socket.socket, workers: list[Worker], limit: int | None) -> None:
    """Accept connections and pass them to the workers in turn."""
    table, count = uring.RegisteredFiles(ring, SLOTS), 0
    while count != limit:
        accept = ring.accept(listener, direct=table)
        while not accept.done():
            ring.wait()
            if any(worker.gone for worker in workers):
                raise RuntimeError("a worker has ended")
        client, worker = accept.result(), workers[count % len(workers)]
        with ring.chain():  # the slot is emptied when the worker has the file
            links = ring.msg_ring_fd(worker.ring, client, user_data=NEW), ring.close_fd(client)
        for link in links:
            link.add_done_callback(uring.Operation.result)  # a failure ends the program
        count += 1
    assert list(ring) == []  # all are passed before it is said that no more will come
    for worker in workers:
        ring.msg_ring(worker.ring, 0, LAST).result()


def main() -> None:
    """Serve, and say what was served."""
    parser = argparse.ArgumentParser()
    for name, default in {"port": 0, "workers": 4, "connections": None}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port), backlog=512) as listener, uring.Ring(64) as ring:
        workers = [Worker(number, ring) for number in range(options.workers)]
        try:
            for worker in workers:
                worker.start()
                worker.ready.wait()
            print(f"listening on port {listener.getsockname()[1]}", flush=True)
            accept_all(ring, listener, workers, options.connections)
            for worker in workers:
                worker.join()
        except KeyboardInterrupt:
            pass
        finally:
            for worker in filter(threading.Thread.is_alive, workers):
                worker.stopped = True
                with contextlib.suppress(uring.RingClosed, AttributeError):  # it has just ended, or begun
                    worker.ring.wake()
                worker.join()
            ring.close()  # also when an accept waits for a connection
        for worker in workers:
            print(f"{worker.name}: connections={worker.connections} bytes={worker.bytes}")


if __name__ == "__main__":
    main()
