# Whole numbers in one loop.
x = 0
for i in range(2000000):
    x += i * 2 % 7
print(x)
