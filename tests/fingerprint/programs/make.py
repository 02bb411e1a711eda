#!/usr/bin/env python3
"""Makes first.json and second.json: what real programs say when they fail.

Each bug of each program is met five times: in another directory, with other ids, ports, names and numbers, and with the
lines of the source moved. Needs node, python3, a JDK, rustc, perl and bash. Run as: make.py first|second
"""
import json, os, random, shutil, subprocess, sys, tempfile, uuid

HERE = os.path.dirname(os.path.abspath(__file__))
VARIANTS = 5
STACK = 8192  # characters; agents cut what is too long
NAMES = ["alpha", "bravo", "charlie", "delta", "echo"]
PLACES = ["home/ada/code/broker", "srv/agents", "opt/app/current", "home/grace/src/x/broker", "var/lib/build-4711/app"]
PROGRAMS = {
    "first": [
        ("agent.js", "undefinedTitle missingConfig badJson agentNotFound refused timeout budget noArguments emptyName"),
        ("agent.py", "lookup missing decode claim thread"),
        ("Agent.java", "npe restore bounds dial"),
        ("agent.rs", "load pick port"),
        ("agent.pl", "deliver summarise"),
        ("agent.sh", "collect enter expand"),
    ],
    "second": [
        ("worker.js", "drain inUse pattern recursion tool fetch noOwner noTitle total branch plugin uri array all"),
        ("worker.py", "attribute recursion git unicode timeout connect sqlite cleanup unpack assertion index"),
        ("Worker.java", "cast parse depth lines pool change budget"),
        ("worker.rs", "borrow slice seats thread owner"),
        ("worker.pl", "slurp share"),
        ("worker.sh", "count launch number notify"),
    ],
}
COMMENT = {"js": "//", "java": "//", "rs": "//", "py": "#", "pl": "#", "sh": "#"}


def report(kind, done):
    """What a program told, as an agent would send it on."""
    if kind in ("js", "py"):
        return json.loads(done.stdout)
    if kind == "java":
        name, message, stack = done.stdout.rstrip("\n").split("\0")
        return {"name": name, "message": message, "stack": stack}
    told = done.stderr
    if kind == "sh":
        return {"name": f"exit {done.returncode}", "message": told.strip()}
    first = told.strip().splitlines()
    message = first[1] if kind == "rs" and len(first) > 1 else first[0]
    return {"name": "panic" if kind == "rs" else "die", "message": message, "stack": told}


def main(which):
    dice = random.Random(which)
    found = []
    for program, bugs in PROGRAMS[which]:
        base, kind = program.split(".")
        source = open(os.path.join(HERE, which, program)).read()
        for variant in range(VARIANTS):
            root = tempfile.mkdtemp(prefix="am-")
            place = os.path.join(root, PLACES[variant])
            os.makedirs(place)
            path = os.path.join(place, program)
            with open(path, "w") as file:
                file.write(f"{COMMENT[kind]} moved\n" * dice.randrange(40) + source)
            command = {"js": ["node", path], "py": ["python3", path], "pl": ["perl", path], "sh": ["bash", path]}.get(kind)
            if kind == "rs":
                command = [os.path.join(place, base)]
                subprocess.run(["rustc", "--edition", "2021", "-A", "warnings", "-g", "-o", command[0], path], check=True, cwd=place)
            if kind == "java":
                subprocess.run(["javac", "-d", place, path], check=True)
                command = ["java", "-cp", place, base]
            for bug in bugs.split():
                env = dict(os.environ, DIR=place, NAME=NAMES[variant], PORT=str(dice.randrange(20000, 60000)),
                           ID=str(uuid.UUID(int=dice.getrandbits(128), version=4)) if variant % 2 else f"run-{dice.randrange(10**6)}",
                           N=str(dice.randrange(20, 5000)), RUST_BACKTRACE="1")
                done = subprocess.run(command + [bug], env=env, capture_output=True, text=True, timeout=60)
                told = report(kind, done)
                if "stack" in told:
                    told["stack"] = told["stack"][:STACK]
                found.append({"bug": f"{kind} {bug}", **told})
            shutil.rmtree(root)
    found.sort(key=lambda one: one["bug"])
    with open(os.path.join(HERE, "..", f"{which}.json"), "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(one) for one in found) + "\n]\n")
    print(f"{len(found)} traces of {len({one['bug'] for one in found})} bugs")


main(sys.argv[1])
