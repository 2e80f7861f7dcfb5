# Two processes take turns through two events.
import time
from multiprocessing import Event, Process


def play(mine, other, n):
    for i in range(n):
        mine.wait()
        mine.clear()
        other.set()


if __name__ == "__main__":
    N = 5000
    ping = Event()
    pong = Event()
    p = Process(target=play, args=[pong, ping, N + 1])
    p.start()
    pong.set()
    ping.wait()
    ping.clear()
    start = time.perf_counter()
    for i in range(N):
        pong.set()
        ping.wait()
        ping.clear()
    seconds = time.perf_counter() - start
    p.join()

    print(ping.is_set(), pong.is_set())
    print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
