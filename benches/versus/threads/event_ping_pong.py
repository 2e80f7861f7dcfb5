# Two threads take turns through two events.
import time
from threading import Event, Thread


def play(mine, other, n):
    for i in range(n):
        mine.wait()
        mine.clear()
        other.set()


N = 10000
ping = Event()
pong = Event()
threads = [Thread(target=play, args=[ping, pong, N]), Thread(target=play, args=[pong, ping, N])]

start = time.perf_counter()
for t in threads:
    t.start()
ping.set()
for t in threads:
    t.join()
seconds = time.perf_counter() - start

print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
