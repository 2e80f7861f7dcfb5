# Two threads take turns through a condition: each wakes the other and waits.
import time
from threading import Condition, Thread

turn = 0
passes = 0
condition = Condition()


def play(me, n):
    global turn, passes
    for i in range(n):
        with condition:
            while turn != me:
                condition.wait()
            turn = 1 - me
            passes += 1
            condition.notify()


N = 10000
threads = [Thread(target=play, args=[0, N]), Thread(target=play, args=[1, N])]

start = time.perf_counter()
for t in threads:
    t.start()
for t in threads:
    t.join()
seconds = time.perf_counter() - start

print(passes)
print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
