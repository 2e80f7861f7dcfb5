# A long text from short ones: `+=`, `%`, the length, and taking it apart again.
def build(n):
    text = ""
    for i in range(n):
        text += "%d:%s," % (i, "abc")
    return text


total = 0
for repeat in range(10):
    text = build(20000)
    total += len(text)
    for part in text.split(","):
        total += len(part)
print(total)
