"""Real processes that run the command line, to be killed and starved.

One process imports everything once and then forks: a child is there in milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

MOTHER = """
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
import torch
import simplecell.run.begin, simplecell.cli, simplecell.cli.code_files
import simplecell.cli.train, simplecell.cli.printing, simplecell.doctor
import simplecell.viz.portrait, matplotlib.figure, scipy.fft
for line in sys.stdin:
    asked = json.loads(line)
    if "wait" in asked:
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(asked["wait"], 0)[1])), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    code = 70
    try:
        os.chdir(asked["cwd"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for handle, place in ((2, asked["stderr"]), (1, asked["stdout"])):
            os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT, 0o666), handle)
        exec(asked["before"])
        sys.argv = ["simplecell", *asked["words"]]
        from simplecell.__main__ import main
        main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        try:
            sys.stdout.flush()
        finally:
            os._exit(code)
"""


class Child:
    """A running command."""

    def __init__(self, mother, pid, stdout, stderr):
        self.mother, self.pid = mother, pid
        self.stdout, self.stderr = stdout, stderr

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)

    def first_line(self):
        """The first line of standard output, "" until it is written."""
        text = self.stdout.read_text() if self.stdout.is_file() else ""
        line, end, _ = text.partition("\n")
        return line if end else ""

    def wait(self):
        """(exit code, or minus the signal that ended it; standard output; standard error)."""
        code = self.mother.ask({"wait": self.pid})
        out = self.stdout.read_text() if self.stdout.is_file() else ""
        return code, out, self.stderr.read_text()


class Mother:
    """Starts children."""

    def __init__(self, folder):
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}
        self.folder, self.count = folder, 0
        self.process = subprocess.Popen(
            [sys.executable, "-c", MOTHER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, question):
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, *words, cwd, before="", stdout=None):
        self.count += 1
        stdout = Path(stdout or self.folder / f"{self.count}.out")
        stderr = self.folder / f"{self.count}.err"
        stderr.touch()
        question = {"words": [str(word) for word in words], "cwd": str(cwd), "before": before}
        pid = self.ask({**question, "stdout": str(stdout), "stderr": str(stderr)})
        return Child(self, pid, stdout, stderr)

    def run(self, *words, **more):
        return self.start(*words, **more).wait()

    @staticmethod
    def wait_for(found, seconds=60):
        """What `found` gives as soon as it is true, which is up to a child."""
        ends = time.monotonic() + seconds
        while not (value := found()):
            assert time.monotonic() < ends
            time.sleep(0.02)
        return value


@pytest.fixture(scope="session")
def children(tmp_path_factory):
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")
    mother = Mother(tmp_path_factory.mktemp("children"))
    with mother.process:
        yield mother
        mother.process.stdin.close()
