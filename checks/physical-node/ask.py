#!/usr/bin/env python3
"""ask.py IP TEXT...: sends each TEXT (with backslash escapes) to the net service of a node, a second apart, and prints what it
answers until it closes."""

import socket
import sys
import time

texts = [text.encode().decode("unicode_escape").encode() for text in sys.argv[2:]]
for attempt in range(30):
    try:
        link = socket.create_connection((sys.argv[1], 12346), timeout=40)
        break
    except ConnectionRefusedError:
        time.sleep(0.5)
else:
    sys.exit("nobody listens")
for number, text in enumerate(texts):
    if number:
        time.sleep(1)
    link.sendall(text)
while data := link.recv(4096):
    sys.stdout.write(data.decode(errors="replace"))
