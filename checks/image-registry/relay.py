"""A TCP relay that can be slow and can cut connections in the middle.

    relay.py LISTEN_PORT TO_PORT CONTROL_FOLDER

What is in the control folder is obeyed from then on, by all connections together:

    rate  bytes per second that pass from the registry to its client
    cut   bytes that still pass before all connections are cut; the file is removed then, and what comes next passes
    down  while it is there, connections are closed, new ones too

It writes how many bytes have passed to the file `passed`.
"""

import os
import socket
import sys
import threading
import time

listen, to, control = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
lock = threading.Lock()
open_sockets = set()
passed = 0
total = 0


def asked(name):
    try:
        with open(os.path.join(control, name)) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return None


def is_down():
    return os.path.exists(os.path.join(control, "down"))


def cut_now(count):
    """Whether the cut is due; then all connections end."""
    global passed, total
    with lock:
        total += count
        with open(os.path.join(control, "passed"), "w") as file:
            file.write(str(total))
        limit = asked("cut")
        if limit is None:
            passed = 0
            return False
        passed += count
        if passed < limit:
            return False
        os.remove(os.path.join(control, "cut"))
        passed = 0
        for one in list(open_sockets):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        return True


def pump(source, target, slow):
    try:
        while data := source.recv(32768):
            rate = asked("rate") if slow else None
            if rate:
                time.sleep(len(data) / rate)
            if slow and (cut_now(len(data)) or is_down()):
                break
            target.sendall(data)
    except OSError:
        pass
    for one in (source, target):
        open_sockets.discard(one)
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


server = socket.create_server(("", listen), backlog=64)
while True:
    client, _ = server.accept()
    if is_down():
        client.close()
        continue
    try:
        registry = socket.create_connection(("127.0.0.1", to))
    except OSError:
        client.close()
        continue
    open_sockets.update((client, registry))
    threading.Thread(target=pump, args=(client, registry, False), daemon=True).start()
    threading.Thread(target=pump, args=(registry, client, True), daemon=True).start()
