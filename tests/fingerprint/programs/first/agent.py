import json, os, sys, threading, traceback

ID, PORT, NAME, N, DIR = (os.environ[k] for k in ("ID", "PORT", "NAME", "N", "DIR"))


class BrokerError(Exception):
    pass


def lookup(table, key):
    return table[key]


def read_prompt(path):
    with open(path) as file:
        return file.read()


def decode(body):
    return json.loads(body)


def claim(ticket):
    try:
        lookup({}, ticket)
    except KeyError as error:
        raise BrokerError(f"ticket {ticket} cannot be claimed by worker {N}") from error


def ratio(done, total):
    return done / total


def in_thread():
    caught = []

    def work():
        try:
            ratio(int(N), 0)
        except Exception as error:
            caught.append(error)

    thread = threading.Thread(target=work, name=f"worker-{N}")
    thread.start()
    thread.join()
    raise caught[0]


bugs = {
    "lookup": lambda: lookup({"a": 1}, ID),
    "missing": lambda: read_prompt(f"{DIR}/prompts/{NAME}.md"),
    "decode": lambda: decode("{" * (int(N) % 5 + 1) + ID),
    "claim": lambda: claim(ID),
    "thread": in_thread,
}
try:
    bugs[sys.argv[1]]()
except Exception as error:
    print(json.dumps({"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}))
