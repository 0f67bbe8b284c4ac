#!/usr/bin/python3
"""A sensor on a serial line, for walt-serial-autolog: the two ends of a pseudo terminal."""
import os
import subprocess
import time
import tty

controller, device = os.openpty()
tty.setraw(device)
tool = subprocess.Popen(["walt-serial-autolog", os.ttyname(device)], stdout=subprocess.DEVNULL)
time.sleep(3)
for line in ("noise before the start", "LOGSTART", "LOGDEF vizwalt ;T: : {nodeid}:TxStart:{}", "LOGVAR nodeid af4e", ";T:aabb"):
    os.write(controller, line.encode() + b"\n")
    time.sleep(0.3)
time.sleep(2)
tool.terminate()
