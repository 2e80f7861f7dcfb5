# 100 sleeps of a millisecond, alone and beside a thread that computes: the convoy effect.
import time
from threading import Thread

busy = True


def compute():
    x = 0
    while busy:
        for i in range(1000):
            x += i


def naps(n):
    start = time.perf_counter()
    for i in range(n):
        time.sleep(0.001)
    return (time.perf_counter() - start) / n * 1000


N = 100
alone = naps(N)
computer = Thread(target=compute)
computer.start()
beside = naps(N)
busy = False
computer.join()

print("metric", "nap_alone", "%.4f" % alone, "ms")
print("metric", "nap_beside_cpu", "%.4f" % beside, "ms")
