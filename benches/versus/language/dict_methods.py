# What a dict is for: get with a default, assign, `in`, pop, a loop over the keys.
def work(names, rounds):
    counts = dict()
    for i in range(rounds):
        for name in names:
            counts[name] = counts.get(name, 0) + i
    total = 0
    for name in counts.keys():
        total += counts[name]
    for name in names:
        if name in counts:
            total += counts.pop(name)
    return total + len(counts)


names = list()
for i in range(1000):
    names.append("name%d" % i)
print(work(names, 300))
