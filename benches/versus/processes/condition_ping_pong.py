# Two processes take turns at one condition: whose turn it is stands in a Value.
import time
from multiprocessing import Condition, Process, RawValue


def play(condition, turn, me, n):
    for i in range(n):
        with condition:
            while turn.value != me:
                condition.wait()
            turn.value = 1 - me
            condition.notify()


if __name__ == "__main__":
    N = 5000
    condition = Condition()
    turn = RawValue("i", 0)
    p = Process(target=play, args=[condition, turn, 1, N + 1])
    p.start()
    play(condition, turn, 0, 1)
    start = time.perf_counter()
    play(condition, turn, 0, N)
    seconds = time.perf_counter() - start
    p.join()

    print(turn.value)
    print("metric", "round_trip", "%.3f" % (seconds / N * 1000000), "us")
