import asyncio, dataclasses, json, os, socket, sqlite3, subprocess, sys, traceback

ID, PORT, NAME, N, DIR = (os.environ[k] for k in ("ID", "PORT", "NAME", "N", "DIR"))


@dataclasses.dataclass
class Step:
    tool: object = None

    def run(self):
        return self.tool.invoke(ID)


def walk(node):
    return walk(node["next"])


def cycle():
    node = {}
    node["next"] = node
    return walk(node)


def git():
    return subprocess.run(["git", "-C", f"{DIR}/repo-{N}", "status"], check=True, capture_output=True)


def text():
    return (b"\xff" + ID.encode()).decode("utf-8")


async def slow():
    await asyncio.wait_for(asyncio.sleep(60), timeout=0.001)


def connect():
    return socket.create_connection(("127.0.0.1", int(PORT)), timeout=1)


def query():
    connection = sqlite3.connect(":memory:")
    return connection.execute(f"select * from runs_of where id = '{ID}' limit {N}")


def cleanup():
    try:
        raise ValueError(f"run {ID} has no result")
    except ValueError:
        os.remove(f"{DIR}/locks/{NAME}.lock")


def unpack(pair):
    left, right = pair
    return left


def check(limit):
    assert int(N) < limit, f"{N} tokens are more than {limit}"


def index(items):
    return items[int(N)]


bugs = {
    "attribute": lambda: Step().run(),
    "recursion": cycle,
    "git": git,
    "unicode": text,
    "timeout": lambda: asyncio.run(slow()),
    "connect": connect,
    "sqlite": query,
    "cleanup": cleanup,
    "unpack": lambda: unpack([1, 2, 3]),
    "assertion": lambda: check(1),
    "index": lambda: index([]),
}
try:
    bugs[sys.argv[1]]()
except BaseException as error:
    print(json.dumps({"name": type(error).__name__, "message": str(error), "stack": traceback.format_exc()}))
