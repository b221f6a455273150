"""Programs that try to do harm, each bounded so that a hole in the sandbox would do little.

A name in double brackets is filled in: [[outside]] a folder of the test that must stay as it is,
[[secret]] a file in it, [[port]] a listener's, [[segment]] shared memory's, [[marker]] a time to
sleep that tells a process.
A program that gets what it wants ends without an exception, and so is told by `finished`.
"""

from dataclasses import dataclass

from otr.evaluation.sandbox import Limits, Outcome


@dataclass(frozen=True)
class Hostile:
    """A program, and how it must end."""

    name: str
    text: str
    reasons: tuple[str, ...] = ("raised",)
    detail: str = ""
    """One of the alternatives, divided by |, is in the outcome's detail."""

    tests: str = ""
    wall_seconds: float = 60.0
    takes_seconds: bool = False
    """Whether it goes on until a limit on time or memory, which is the same for every user."""


_GONE = "FileNotFoundError|PermissionError|OSError: [Errno 30]"
_DENIED = "PermissionError: [Errno 1]"
_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
_CHECKED = "\nif result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))"


def limits_of(hostile: Hostile) -> Limits:
    """Little of everything, but time on the clock where the machine may be busy."""
    return Limits(cpu_seconds=1, wall_seconds=hostile.wall_seconds, memory_mb=512)


def filled(text: str, **values: object) -> str:
    """A program's text with its names filled in."""
    for name, value in values.items():
        text = text.replace(f"[[{name}]]", str(value))
    return text


def ended_as_named(hostile: Hostile, outcome: Outcome, *, alone: bool) -> bool:
    """Whether a program was stopped in the way that is named.

    alone: whether the limit on processes counts the program's only; a plain user's others count
    too where there are no namespaces, and it may be that none can be started at all.
    """
    if not alone and "finished" in hostile.reasons and "BlockingIOError" in outcome.detail:
        return True
    return outcome.reason in hostile.reasons and any(
        part in outcome.detail for part in hostile.detail.split("|")
    )


HOSTILE = [
    Hostile(
        "forks_without_end",
        "import os, time\nfor _ in range(200):\n    if os.fork() == 0:\n        time.sleep(5)\n"
        "        os._exit(0)",
        detail="BlockingIOError",
    ),
    Hostile(
        "starts_threads_without_end",
        "import threading, time\nfor _ in range(200):\n"
        "    threading.Thread(target=time.sleep, args=(5,), daemon=True).start()",
        detail="RuntimeError: can't start new thread",
    ),
    Hostile("takes_four_gigabytes", "x = bytearray(4 << 30)", ("memory",)),
    Hostile(
        "grows_until_memory_ends", "x = [0]\nwhile True: x += x", ("memory",), takes_seconds=True
    ),
    Hostile("formats_a_huge_text", "x = format(1, '2000000000d')", ("memory",)),
    Hostile(
        "keeps_memory_in_a_file_without_a_name",
        "import os\nos.memfd_create('x')",
        detail=_DENIED,
    ),
    Hostile(
        "loops_for_a_minute",
        "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass",
        ("cpu time",),
        takes_seconds=True,
    ),
    Hostile(
        "sleeps_for_a_minute",
        "import time\ntime.sleep(60)",
        ("wall time",),
        wall_seconds=1.0,
        takes_seconds=True,
    ),
    Hostile(
        "ignores_signals",
        "import signal, time\nfor n in (signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU):\n"
        "    signal.signal(n, signal.SIG_IGN)\n"
        "end = time.monotonic() + 60\nwhile time.monotonic() < end: pass",
        ("cpu time",),
        takes_seconds=True,
    ),
    Hostile(
        "raises_its_own_limit",
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY,) * 2)",
        detail="ValueError|PermissionError",
    ),
    Hostile(
        "lowers_another_process_s_limit",
        "import os, resource\nresource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
        detail="PermissionError",
    ),
    Hostile("writes_a_file_outside", "open('[[outside]]/new', 'w').write('x')", detail=_GONE),
    Hostile("appends_to_a_file_outside", "open('[[secret]]', 'a').write('x')", detail=_GONE),
    Hostile("deletes_a_file_outside", "import os\nos.remove('[[secret]]')", detail=_GONE),
    Hostile("reads_a_secret_file", "open('[[secret]]').read()", detail=_GONE),
    Hostile(
        "changes_a_file_s_mode_outside",
        "import os\nos.chmod('[[secret]]', 0o777)",
        detail=_GONE + "|" + _DENIED,
    ),
    Hostile(
        "writes_through_a_symbolic_link",
        "import os\nos.symlink('[[outside]]', 'link')\nopen('link/new', 'w').write('x')",
        detail=_GONE,
    ),
    Hostile(
        "makes_a_hard_link_of_a_secret",
        "import os\nos.link('[[secret]]', 'mine')\nopen('mine').read()",
        detail=_GONE + "|Errno 18",
    ),
    Hostile(
        "climbs_out_of_its_folder",
        "import os\nos.chdir('../../../../../..')\nopen('.[[outside]]/new', 'w').write('x')",
        detail=_GONE,
    ),
    Hostile(
        "spoils_the_standard_library",
        "import os\nopen(os.__file__, 'a').write('')",
        detail=_GONE,
    ),
    Hostile(
        "leaves_a_file_for_all",
        "for folder in ('/usr', '/var/tmp', '/dev/shm', '/'):\n"
        "    try:\n        open(folder + '/otr-[[marker]]', 'w')\n        break\n"
        "    except OSError: pass\nelse: raise PermissionError('nowhere')",
        detail="nowhere",
    ),
    Hostile(
        "reads_the_environment",
        "import glob, os\ntexts = [str(dict(os.environ))]\n"
        "for path in glob.glob('/proc/[0-9]*/environ'):\n"
        "    try: texts.append(open(path).read())\n    except OSError: pass\n"
        "if 'TOP-SECRET' not in str(texts): raise LookupError('no secret')",
        detail="no secret",
    ),
    Hostile(
        "calls_a_listener",
        "import socket\nsocket.create_connection(('127.0.0.1', [[port]]), timeout=2)",
        detail="PermissionError|OSError",
    ),
    Hostile(
        "sends_a_datagram",
        "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "s.sendto(b'x', ('127.0.0.1', [[port]]))",
        detail="PermissionError|OSError",
    ),
    Hostile(
        "opens_a_unix_socket",
        "import socket\nsocket.socket(socket.AF_UNIX).connect('\\0otr-[[port]]')",
        detail="PermissionError|ConnectionRefusedError",
    ),
    Hostile(
        "sends_a_datagram_from_a_pair",
        "import socket\na, b = socket.socketpair(type=socket.SOCK_DGRAM)\n"
        "a.sendto(b'x', '\\0otr-datagrams-[[port]]')",
        detail=_DENIED,
    ),
    Hostile(
        "sends_a_raw_message_from_a_pair",
        "import socket\na, b = socket.socketpair(type=socket.SOCK_RAW | socket.SOCK_CLOEXEC)\n"
        "a.sendto(b'x', '\\0otr-datagrams-[[port]]')",
        detail=_DENIED,
    ),
    Hostile(
        "connects_half_of_a_pair",
        "import socket\na, b = socket.socketpair()\nb.close()\na.connect('\\0otr-[[port]]')",
        detail=_DENIED,
    ),
    Hostile(
        "attaches_memory_that_others_share",
        _LIBC + "libc.shmat.restype = ctypes.c_void_p\n"
        "where = libc.shmat([[segment]], None, 0)\n"
        "result = -1 if where == ctypes.c_void_p(-1).value else 0" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile("reads_input", "input()", detail="EOFError"),
    Hostile(
        "writes_a_gigabyte_to_a_file",
        "with open('big', 'wb') as f:\n    for _ in range(1024): f.write(bytes(1 << 20))",
        detail="File too large",
    ),
    Hostile(
        "writes_many_large_files",
        "import time\nfor n in range(20):\n    with open(str(n), 'wb') as f:\n"
        "        f.write(bytes(15 << 20))\n    time.sleep(0.01)",
        ("raised", "killed"),
        detail="No space left|more than 64 MB",
    ),
    Hostile(
        "writes_very_many_files",
        "import time\nfor n in range(5000):\n    open(str(n), 'w').close()\n    time.sleep(2e-4)",
        ("raised", "killed"),
        detail="No space left|or 1000 files",
    ),
    Hostile(
        "opens_very_many_files",
        "kept = [open('/dev/null') for _ in range(1000)]",
        detail="Too many open files",
    ),
    Hostile(
        "leaves_a_process_in_a_session_of_its_own",
        "import os, time\nif os.fork() == 0:\n    try: os.setsid()\n    except OSError: pass\n"
        "    os.execv('/usr/bin/sleep', ['sleep', '[[marker]]'])\ntime.sleep(0.1)",
        ("finished",),
    ),
    Hostile(
        "leaves_a_daemon_that_writes_later",
        "import os, time\nif os.fork() == 0:\n    if os.fork(): os._exit(0)\n"
        "    time.sleep(1)\n    os.chdir('[[outside]]')\n    open('late', 'w')\n"
        "    os.execv('/usr/bin/sleep', ['sleep', '[[marker]]'])\n",
        ("finished",),
    ),
    Hostile(
        "leaves_a_process_that_ignores_signals",
        "import os, signal, time\nif os.fork() == 0:\n"
        "    for n in range(1, 32):\n        try: signal.signal(n, signal.SIG_IGN)\n"
        "        except OSError: pass\n    os.execv('/usr/bin/sleep', ['sleep', '[[marker]]'])\n"
        "time.sleep(0.1)",
        ("finished",),
    ),
    Hostile(
        "outruns_whoever_hunts_it",
        "import os, time\nend = time.monotonic() + 30\nif os.fork() == 0:\n"
        "    try: os.setsid()\n    except OSError: pass\n"
        "    while time.monotonic() < end:\n        try:\n            if os.fork(): os._exit(0)\n"
        "        except OSError: pass\ntime.sleep(0.1)",
        ("finished",),
    ),
    Hostile("leaves_its_group", "import os\nos.setsid()", detail=_DENIED),
    Hostile(
        "nests_folders_too_deep_to_remove",
        "import os\nfor n in range(1100):\n    os.mkdir('d')\n    os.chdir('d')",
        ("raised", "killed", "finished"),
    ),
    Hostile(
        "makes_folders_that_forbid_all",
        "import os\nfor mode in (0o300, 0o500, 0):\n    name = f'm{mode}'\n    os.mkdir(name)\n"
        "    os.mkdir(f'{name}/inner', mode)\n    if mode & 0o200: open(f'{name}/inner/f', 'w')\n"
        "os.mkdir('all', 0)",
        ("finished", "killed"),
    ),
    Hostile("empties_a_file_outside", "import os\nos.truncate('[[secret]]', 0)", detail=_DENIED),
    Hostile(
        "empties_a_file_that_it_may_read",
        "import os\nos.open(os.__file__, os.O_RDONLY | os.O_TRUNC)",
        detail=_DENIED,
    ),
    Hostile("becomes_root", "import os\nos.setuid(0)", detail=_DENIED + "|OSError: [Errno 22]"),
    Hostile(
        "makes_a_set_user_id_file",
        "import os\nopen('x', 'w').close()\nos.chmod('x', 0o4755)",
        detail=_DENIED,
    ),
    Hostile("kills_its_parent", "import os\nos.kill(os.getppid(), 9)", detail=_DENIED),
    Hostile("kills_everything", "import os\nos.kill(-1, 9)", detail=_DENIED),
    Hostile(
        "signals_through_a_process_file",
        "import os\nos.pidfd_open(os.getppid())",
        detail=_DENIED,
    ),
    Hostile(
        "signals_its_parent_by_a_pipe",
        "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, os.getppid())",
        detail=_DENIED,
    ),
    Hostile(
        "chooses_a_pipe_s_signal",
        "import fcntl, os\nr, w = os.pipe()\nfcntl.fcntl(r, 10, 9)",
        detail=_DENIED,
    ),
    Hostile("types_at_a_terminal", "import fcntl\nfcntl.ioctl(1, 0x5412, b'x')", detail=_DENIED),
    Hostile(
        "opens_a_file_for_neither_reading_nor_writing",
        "import os\nos.open('[[secret]]', 3)",
        detail=_DENIED,
    ),
    Hostile(
        "empties_a_file_opened_for_neither",
        "import os\nos.open('[[secret]]', 3 | os.O_TRUNC)",
        detail=_DENIED,
    ),
    Hostile(
        "changes_what_a_file_is",
        # FS_IOC_SETFLAGS, which asks for no right to write.
        "import fcntl, os\nopen('x', 'w').close()\n"
        "fcntl.ioctl(os.open('x', os.O_RDONLY), 0x40086602, (0x40).to_bytes(8, 'little'))",
        detail=_DENIED,
    ),
    Hostile(
        "keeps_others_off_a_file",
        "import fcntl, os\nopen('x', 'w').close()\n"
        "fcntl.fcntl(os.open('x', os.O_RDONLY), fcntl.F_SETLEASE, fcntl.F_RDLCK)",
        detail=_DENIED,
    ),
    Hostile(
        "watches_a_folder_outside",
        _LIBC + "result = libc.inotify_add_watch(libc.inotify_init1(0), b'/usr', 0xfff)" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "takes_the_machine_s_queues",
        _LIBC + "number = 206 if os.uname().machine == 'x86_64' else 0\n"
        "result = libc.syscall(number, 1000, ctypes.byref(ctypes.c_ulong()))" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "has_every_disk_written",
        _LIBC + "result = libc.syscall(162 if os.uname().machine == 'x86_64' else 81)" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "ends_by_a_signal_without_a_name",
        _LIBC + "timer, event = ctypes.c_void_p(), (ctypes.c_int * 16)(0, 0, 40)\n"
        "libc.timer_create(1, event, ctypes.byref(timer))\n"
        "libc.timer_settime(timer, 0, (ctypes.c_long * 4)(0, 0, 0, 1000), None)\n"
        "import time\ntime.sleep(20)",
        ("crashed",),
        detail="signal 40",
    ),
    Hostile(
        "reads_the_kernel_s_log",
        _LIBC + "result = libc.klogctl(10, None, 0)" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "calls_what_is_newer_than_the_filter",
        # setxattrat, which does what the denied setxattr does.
        _LIBC
        + "value = (ctypes.c_uint64 * 2)(ctypes.addressof(ctypes.create_string_buffer(b'x')), 1)\n"
        "result = libc.syscall(463, -100, b'[[secret]]', 0, b'user.x', value, 16)" + _CHECKED,
        detail="OSError: [Errno 38]",
    ),
    Hostile(
        "traces_its_parent",
        _LIBC + "result = libc.ptrace(16, os.getppid(), 0, 0)" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "reads_its_parent_s_memory",
        "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb')",
        detail=_GONE,
    ),
    Hostile(
        "writes_a_setting_of_the_kernel",
        "open('/proc/sys/kernel/core_pattern', 'w').write('x')",
        detail=_GONE,
    ),
    Hostile(
        "makes_a_user_namespace",
        _LIBC + "result = libc.unshare(0x10000000)" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "makes_one_by_clone",
        _LIBC + "result = libc.syscall(56 if os.uname().machine == 'x86_64' else 220, "
        "0x10000000 | 17, 0, 0, 0, 0)\nif result == 0: os._exit(0)" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "mounts",
        _LIBC + "result = libc.mount(b't', b'.', b'tmpfs', 0, b'')" + _CHECKED,
        detail=_DENIED,
    ),
    Hostile(
        "recurses_without_end",
        "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(): return f() + 1\nf()",
        ("memory", "crashed", "raised", "cpu time"),
        takes_seconds=True,
    ),
    Hostile(
        "recurses_in_c",
        "import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n"
        "    def __getattr__(self, n): return getattr(self, n)\nA().x",
        ("memory", "crashed", "raised", "cpu time"),
    ),
    Hostile("exits_before_its_tests", "import sys\nsys.exit(0)", ("exited",), tests="assert False"),
    Hostile(
        "ends_itself_before_its_tests", "import os\nos._exit(0)", ("exited",), tests="assert False"
    ),
    Hostile(
        "ends_itself_inside_its_tests",
        "import os\ndef f(): os._exit(0)",
        ("exited",),
        tests="assert f() == 1",
    ),
    Hostile(
        "prints_that_it_finished",
        "import os\nfor n in range(256):\n    try: os.write(n, b'0' * 32 + b' finished')\n"
        "    except OSError: pass\nos._exit(0)",
        ("exited",),
        tests="assert False",
    ),
    Hostile(
        "floods_every_pipe",
        "import os\nfor _ in range(64):\n    for n in range(1, 256):\n"
        "        try: os.write(n, b'finished ' * 7000)\n        except OSError: pass\nos._exit(0)",
        ("exited",),
        tests="assert False",
    ),
    Hostile(
        "replaces_what_tests_use",
        "import builtins, os\nclass Never(BaseException): pass\nAssertionError = Never\n"
        "builtins.AssertionError = Never\nbuiltins.exec = builtins.compile = lambda *_: None\n"
        "def check(f): pass\nos.write = lambda *_: 0\n__debug = False\ndef f(): return 2",
        detail="AssertionError",
        tests="def check(f): assert f() == 1\ncheck(f)",
    ),
    Hostile(
        "replaces_what_the_runner_uses",
        "import builtins, os, sys\nclass Never(Exception): pass\n"
        "builtins.BaseException = builtins.Exception = Never\n"
        "builtins.str = builtins.type = builtins.exec = lambda *_: 0\n"
        "os._exit = sys.exit = lambda *_: None\ndef f(): return 2",
        detail="AssertionError",
        tests="assert f() == 1",
    ),
    Hostile(
        "swallows_its_tests_in_a_text",
        "def f(): return 2\nx = '''",
        detail="SyntaxError",
        tests="assert f() == 1, '''x'''",
    ),
    Hostile(
        "closes_every_file",
        "import os\nos.closerange(0, 1000)",
        ("exited",),
        tests="assert True",
    ),
]
