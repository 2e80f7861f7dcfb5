# What a list is for: append, index, assign, insert, pop, sort, reverse, count, extend, a slice, a loop.
def work(n):
    xs = list()
    for i in range(n):
        xs.append(i * 7919 % n)
    for i in range(n):
        xs[i] = xs[i] + 1
    xs.sort()
    xs.reverse()
    ys = list()
    ys.extend(xs)
    ys.insert(0, -1)
    total = xs.index(n) + ys.count(1) + len(ys[10:20])
    for x in ys:
        total += x
    while len(ys) > 0:
        total += ys.pop()
    return total


print(work(200000))
