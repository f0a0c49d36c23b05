"""A TCP echo server: `python multishot_echo.py [PORT]`. It sends from the buffers that the data came in."""

import contextlib
import errno
import socket
import sys

import uring


def serve(ring: uring.Ring, listener: socket.socket, pool: uring.ProvidedBuffers) -> None:
    clients, sends = {}, {}  # (descriptor, what is not sent yet) by receive, and receives by the send under way
    accepting, room = None, True
    while True:
        if room and (not accepting or accepting.done()):
            accepting, room = ring.accept(listener, multishot=True), False
        for operation in ring.wait():
            if operation is accepting:
                try:
                    clients |= {ring.recv(fd, pool, multishot=True): (fd, []) for fd in accepting.take()}
                except OSError as error:
                    if error.errno != errno.EMFILE:  # which waits until a descriptor is closed
                        raise
            elif (receiving := sends.pop(operation, operation)) in clients:
                fd, unsent = clients[receiving]
                del unsent[: receiving is not operation]  # the first one is sent; if that failed, the receive ends too
                idle = not unsent or receiving is not operation
                with contextlib.suppress(OSError):  # a reset, for example
                    unsent += receiving.take()
                if unsent and idle:  # one at a time, so that they stay in order
                    sends[ring.send(fd, unsent[0], socket.MSG_WAITALL)] = receiving
                elif not unsent and receiving.done():
                    ring.close_fd(clients.pop(receiving)[0])
            room |= operation.name == "close_fd"


listener = socket.create_server(("", int(*sys.argv[1:])), backlog=4096)
with contextlib.suppress(KeyboardInterrupt), listener, uring.Ring(1024) as ring:
    print(f"listening on port {listener.getsockname()[1]}", flush=True)
    serve(ring, listener, uring.ProvidedBuffers(ring, 256, 4096))
